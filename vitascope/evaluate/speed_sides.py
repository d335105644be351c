"""Both sides of a contest in processes of their own, as those who use them run them.

Within one process each would find the memory that the other has freed, and not the rules that ours sets for it.
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

from vitascope.errors import ModelError
from vitascope.evaluate.speed import Contest, Side
from vitascope.kernels.allocator import keep_freed_memory

SECONDS_TO_END = 5


@contextmanager
def apart(make: Callable[[], Contest]) -> Iterator[Contest]:
    """The contest that `make` makes, whose sides run in a process each, one at a time; `make` must be picklable.

    Ours keeps freed memory, as the command does. What a side raises is raised here.

    Raises:
        ModelError: a side's process has ended.
    """
    ours, peer = _Process(make, "ours"), _Process(make, "peer")
    try:
        contest = ours.start()
        peer.start()
        yield replace(contest, ours=ours, peer=peer)
    finally:
        ours.stop()
        peer.stop()


class _Process:
    """A side of a contest: called, it does its work once, in a process that stays for the next call."""

    def __init__(self, make: Callable[[], Contest], side: Side):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, side), daemon=True)
        self._theirs = theirs

    def start(self) -> Contest:
        """The contest, but for what does its work."""
        self._process.start()
        self._theirs.close()  # or the end of the process wouldn't be noticed
        return self._receive()

    def __call__(self) -> Tensor:
        self._connection.send(None)
        return torch.from_numpy(self._receive())

    def stop(self) -> None:
        """End the process: by itself, which tidies up, or after some seconds in spite of what it does."""
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
            raise ModelError(f"a side's process has ended: exit code {self._process.exitcode}") from None
        if isinstance(received, Exception):
            raise received
        return received


def _serve(connection: Connection, make: Callable[[], Contest], side: Side) -> None:
    if side == "ours":
        keep_freed_memory()
    try:
        contest = make()
        connection.send(replace(contest, ours=_elsewhere, peer=_elsewhere))
        work = getattr(contest, side)
        while True:
            connection.recv()
            connection.send(work().numpy())
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except Exception as error:
        connection.send(error)


def _elsewhere() -> Tensor:
    raise AssertionError("the work is done in another process")
