"""Backends in separate processes, as users run them.

In a shared process, each backend would reuse the other's freed memory, and our allocator settings would apply to both.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from benchmarks.compare import Backend, Benchmark
from vitascope.errors import ModelError
from vitascope.kernels.allocator import keep_freed_memory

SECONDS_TO_END = 5


@contextmanager
def isolated(make: Callable[[], Benchmark]) -> Iterator[Benchmark]:
    """The benchmark with each backend in its own process, one running at a time; `make` must be picklable.

    Our process keeps freed memory, as the `vitascope` command does. Exceptions of a backend are raised here.

    Raises:
        ModelError: a backend's process has ended.
    """
    ours, peer = _Process(make, "ours"), _Process(make, "peer")
    try:
        benchmark = ours.start()
        peer.start()
        yield replace(benchmark, ours=ours, peer=peer)
    finally:
        ours.stop()
        peer.stop()


class _Process:
    """One backend of a benchmark. Each call runs the work once, in a process that stays for the next call."""

    def __init__(self, make: Callable[[], Benchmark], backend: Backend):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, backend), daemon=True)
        self._theirs = theirs

    def start(self) -> Benchmark:
        """The benchmark without its work."""
        self._process.start()
        self._theirs.close()  # otherwise the end of the process would go unnoticed
        return self._receive()

    def __call__(self) -> Tensor:
        self._connection.send(None)
        return torch.from_numpy(self._receive())

    def stop(self) -> None:
        """End the process: let it exit by itself, and terminate it after a few seconds."""
        self._connection.close()
        if self._process.pid is not None:
            self._process.join(SECONDS_TO_END)
            self._process.terminate()
            self._process.join()

    def _receive(self) -> Any:
        try:
            received = self._connection.recv()
        except EOFError:
            self._process.join()
            raise ModelError(f"a backend's process has ended: exit code {self._process.exitcode}") from None
        if isinstance(received, Exception):
            raise received
        return received


def _serve(connection: Connection, make: Callable[[], Benchmark], backend: Backend) -> None:
    if backend == "ours":
        keep_freed_memory()
    try:
        benchmark = make()
        connection.send(replace(benchmark, ours=_elsewhere, peer=_elsewhere))
        work = getattr(benchmark, backend)
        while True:
            connection.recv()
            result = work()
            as_numpy = result.float() if result.dtype == torch.bfloat16 else result  # NumPy has no bfloat16
            connection.send(as_numpy.numpy())
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except Exception as error:
        connection.send(error)


def _elsewhere() -> Tensor:
    raise AssertionError("the work runs in another process")
