"""Reading of media in a process of its own, watched: crashes, hangs, untyped errors and memory are counted.

Memory is the peak of the resident set above its value before the call, less the pixels returned, of the process that
reads and of the one that decodes for it. Linux only.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, NamedTuple

SECONDS_TO_ANSWER = 10.0
OVERHEAD = 64 * 2**20  # bytes of memory that a read may take besides its result
_MAX_ADDRESS_SPACE = 24 * 2**30  # of the child: a runaway allocation must not take the machine down

Outcome = Literal["read", "refused", "untyped", "crashed", "hung"]


class Trial(NamedTuple):
    """Outcome of a call, its message, seconds, and bytes of memory beyond the result: in all, and when decoding."""

    outcome: Outcome
    message: str
    seconds: float
    overhead: int
    decoding: int = 0

    @property
    def failed(self) -> bool:
        """True for a crash, a hang, an untyped error or too much memory."""
        return self.outcome not in ("read", "refused") or self.overhead > OVERHEAD


class WatchedReader:
    """A child process that reads media files one at a time, restarted after a crash or a hang.

    Without `apart`, it also decodes them itself.
    """

    def __init__(self, *, apart: bool = True) -> None:
        self._apart = apart

    def __enter__(self) -> WatchedReader:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def read(self, path: Path, max_frames: int | None = None, size: tuple[int, int] | None = None) -> Trial:
        """Outcome of `read_video`, after `probe` for files that it reads."""
        begun = time.perf_counter()
        try:
            self._connection.send((path, max_frames, size))
            if self._connection.poll(SECONDS_TO_ANSWER):
                return Trial(*self._connection.recv())
            trial = Trial("hung", "", SECONDS_TO_ANSWER, 0)
        except (EOFError, OSError):
            trial = Trial("crashed", f"exit code {self._exit_code()}", time.perf_counter() - begun, 0)
        self._stop()
        self._start()
        return trial

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._apart), daemon=True)
        self._process.start()
        theirs.close()
        if not self._connection.poll(60):
            raise RuntimeError("the reading process didn't start within 60 s")
        self._connection.recv()

    def _stop(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _exit_code(self) -> int | None:
        self._process.join(1)
        return self._process.exitcode


def _serve(connection: Connection, apart: bool) -> None:
    import logging
    import resource

    from vitascope.video import probe, process, read_video

    if not apart:
        process.can_start = lambda: False

    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESS_SPACE, _MAX_ADDRESS_SPACE))
    _decoder()
    connection.send("ready")
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            path, max_frames, size = connection.recv()

            def call(path: Path = path, max_frames: int | None = max_frames, size: tuple | None = size) -> int:
                result = read_video(path, max_frames=max_frames, size=size)
                probe(path)
                return result.frames.nbytes

            connection.send(_measured(call))


def _measured(call: Callable[[], int]) -> tuple[Outcome, str, float, int, int]:
    from vitascope.errors import VitascopeError

    gc.collect()
    decoder = _decoder()
    before, decoding_before = _reset_peak(), 0 if decoder is None else _reset_peak(decoder)
    begun, result, message = time.perf_counter(), 0, ""
    outcome: Outcome = "read"
    try:
        result = call()
    except VitascopeError as error:
        outcome, message = ("refused" if "\n" not in str(error) else "untyped"), str(error)
    except BaseException as error:
        outcome, message = "untyped", f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - begun
    decoding = 0
    if decoder is not None:
        with suppress(OSError, RuntimeError):  # it was ended
            decoding = max(0, _status("VmHWM", decoder) - decoding_before)
    overhead = max(0, _status("VmHWM") - before - result)
    return outcome, message, seconds, overhead + decoding, decoding


def _decoder() -> int | None:
    """Number of the process that will decode, started if there is none; None if this one decodes."""
    from vitascope.video import probe, process

    if not process.can_start():
        return None
    if not process.idle_processes():
        with suppress(Exception):
            probe("/")
    return process.idle_processes()[-1]


def _reset_peak(process: int | str = "self") -> int:
    """Reset the peak of the resident set of a process, and return the present value in bytes."""
    Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS", process)


def _status(name: str, process: int | str = "self") -> int:
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{process}/status has no {name}")
