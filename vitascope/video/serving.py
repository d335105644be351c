"""The child's side of `process`: calls of decoding functions, one at a time."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import Any, BinaryIO, NoReturn

import numpy as np

from vitascope.errors import MediaError, VitascopeError
from vitascope.video.opening import Effort, Watch
from vitascope.video.process import SILENT_SECONDS, bytes_of, find_function, read_message, write_message

FREE_MEMORY = 512 * 2**20  # bytes that any file may take
_BEAT = 0.2  # seconds between signs of work
_BUFFER = 2**16  # bytes of small answers that are sent together
_BAND = 2**20  # bytes of an array that are copied at once


def serve(parent: int) -> NoReturn:
    """Answer the requests of the process `parent` until it ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=_BUFFER)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries that print must not disturb the answers
    requests = os.fdopen(sys.stdin.fileno(), "rb", closefd=False)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    logging.disable()  # notes on files are parts of results
    Effort.watch = watch = ReportingWatch(answers)
    with suppress(EOFError, BrokenPipeError):
        while True:
            function, path, arguments, emits, folder = read_message(requests)
            watch.begin()
            if folder is not None:
                with suppress(OSError):
                    os.chdir(folder)
            if not _answer(answers, function, path, arguments, emits):
                break
    os._exit(0)  # without flushing answers that nobody reads


def _answer(answers: BinaryIO, function: str, path: str, arguments: list[Any], emits: bool) -> bool:
    """Answer a request; False if this process must end, because its memory may be in pieces."""

    def emit(head: list[Any], array: np.ndarray | None) -> None:
        write_message(answers, ["array", head, 0 if array is None else array.nbytes])
        if array is not None:
            rows = max(1, _BAND // max(1, array[:1].nbytes))
            for top in range(0, len(array), rows):
                answers.write(bytes_of(np.ascontiguousarray(array[top : top + rows])))

    try:
        value = find_function(function)(path, *arguments, *([emit] if emits else []))
    except VitascopeError as error:
        write_message(answers, ["failed", type(error).__name__, str(error), False])
    except MemoryError:
        message = f"{path} takes too much memory to decode; convert it first"
        write_message(answers, ["failed", MediaError.__name__, message, True])
        answers.flush()
        return False
    except (BrokenPipeError, KeyboardInterrupt):
        return False
    except Exception:  # a fault of this package
        write_message(answers, ["failed", "", traceback.format_exc(), True])
        answers.flush()
        return False
    else:
        write_message(answers, ["done", value])
    answers.flush()
    return True


class ReportingWatch(Watch):
    """Reports work to the parent, and limits memory and processor time."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._reported = 0.0
        self._start = _data_bytes()

    def begin(self) -> None:
        """Accept a request: report it, limit its memory, and report its first work at once."""
        self._report(SILENT_SECONDS)
        self._reported = 0.0
        self.hold(0)

    def work(self, silent_seconds: float) -> None:
        """Report work, at most a few times per second."""
        now = time.monotonic()
        if now - self._reported > _BEAT:
            self._reported = now
            self._report(silent_seconds)
            _limit_processor_time(silent_seconds)

    def _report(self, silent_seconds: float) -> None:
        write_message(self._answers, ["working", silent_seconds])
        self._answers.flush()

    def hold(self, num_bytes: int) -> None:
        """Allow `num_bytes` of decoded frames, beyond what any file may take."""
        if self._start:
            import resource

            limit = self._start + FREE_MEMORY + num_bytes
            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def _limit_processor_time(seconds: float) -> None:
    """End this process if it takes more than `seconds` of each processor, in case its parent no longer watches."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = int(used + seconds * (os.cpu_count() or 1)) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))


def _data_bytes() -> int:
    """Bytes of this process that RLIMIT_DATA counts; 0 where they are unknown and can't be limited."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def _end_with(parent: int) -> None:
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)
