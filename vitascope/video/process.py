"""A process that decodes media of unknown origin, within limits of time and memory.

A damaged or hostile file can make FFmpeg loop or allocate without end inside one call, which Python can't
interrupt. A child process therefore decodes, and its parent kills it when it stops answering. Linux also limits its
memory. After a kill, the next file gets a new process. An idle process waits for more files, and ends with its parent.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vitascope import errors
from vitascope.errors import MediaError, SizeError

Receive = Callable[[list[Any]], np.ndarray | None]

START_SECONDS = 60.0  # to import FFmpeg
SILENT_SECONDS = 10.0  # without any sign of work, before the file's own limit is known
_STEP = 0.25  # seconds between looks at a process
_PIPE_BYTES, _BUFFER = 2**20, 2**16
_ROOT = Path(__file__).resolve().parents[2]
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from vitascope.video.serving import serve
serve(parent=int(sys.argv[2]))
"""
# One thread for NumPy, which multiplies no matrices here; freed frames go back to the system at once
_SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "1048576"}

_idle: list[DecodingProcess] = []  # append and pop are atomic


def run_apart(function: str, path: Path, *arguments: Any, receive: Receive | None = None) -> Any:
    """Result of `function(path, *arguments)` of a module of this package, run in a process that decodes.

    Arguments and results are JSON values. With `receive`, the function gets a callback that hands on arrays: `receive`
    returns the memory for each, by its description. Where no process can be started, this one calls the function.

    Raises:
        MediaError: the process can't start, ended, or stopped answering.
        SizeError: the result exceeds the memory that is left. Further errors are the function's.
    """
    try:
        if not can_start():
            return _run_here(function, path, arguments, receive)
        for is_last in (False, True):
            with _process() as process:
                try:
                    return process.call(function, path, arguments, receive)
                except ProcessGoneError as error:
                    if is_last:
                        raise MediaError(f"{path} can't be read as a video: no decoder can be started") from error
    except MemoryError:
        raise SizeError(f"{path} exceeds the memory that is left; read a part with start= and seconds=") from None


def idle_processes() -> list[int]:
    """Numbers of the processes that wait for files."""
    return [process.pid for process in _idle if process.is_alive]


def can_start() -> bool:
    """True if this interpreter can start another one like it."""
    return bool(sys.executable) and not getattr(sys, "frozen", False) and sys.platform not in ("emscripten", "wasi")


def find_function(name: str) -> Callable[..., Any]:
    """The function `module.name` of this package."""
    module, _, function = name.rpartition(".")
    return getattr(import_module(module if "." in module else f"vitascope.video.{module}"), function)


def _run_here(function: str, path: Path, arguments: tuple[Any, ...], receive: Receive | None) -> Any:
    def emit(head: list[Any], array: np.ndarray | None) -> None:
        assert receive is not None
        place = receive(head)
        if place is not None and array is not None:
            place[...] = array

    return find_function(function)(str(path), *arguments, *([] if receive is None else [emit]))


class ProcessGoneError(Exception):
    """End of a process before it accepted a call, such as of an idle one that ran out of memory with others."""


@contextmanager
def _process() -> Iterator[DecodingProcess]:
    """A process for one call, kept for others if the call leaves it usable."""
    process = _take()
    try:
        yield process
    finally:
        process.keep_or_close()


def _take() -> DecodingProcess:
    """An idle process that is alive, or a new one."""
    while True:
        try:
            process = _idle.pop()
        except IndexError:
            return DecodingProcess()
        if process.is_alive:
            return process
        process.close()


class DecodingProcess:
    """A child process that calls functions for its parent, one at a time."""

    def __init__(self) -> None:
        options: dict[str, Any] = {"process_group": 0}  # an interrupt at the terminal is the parent's alone
        if sys.platform == "win32":
            options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._owner = os.getpid()
        self._is_spent = self._was_silent = False
        self._silent, self._limit = 0.0, START_SECONDS
        paths = json.dumps([*sys.path, str(_ROOT)])
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, paths, str(self._owner)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=_BUFFER,
            env={**os.environ, **_SETTINGS},
            **options,
        )
        self._requests: Any = self._process.stdin
        self._answers: Any = self._process.stdout
        if sys.platform == "linux":
            with suppress(OSError):  # a user may hold only so many pages
                import fcntl

                fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """True in the process that started it, until it ends."""
        return self._owner == os.getpid() and self._process.poll() is None

    def call(self, function: str, path: Path, arguments: tuple[Any, ...], receive: Receive | None) -> Any:
        """Result of a function; as `run_apart`, except that an unfinished call leaves the process unusable."""
        self._silent, is_accepted = 0.0, False
        self._is_spent = True  # until the answer is complete
        with self._watched():
            try:
                request = [function, str(path), list(arguments), receive is not None, _folder()]
                write_message(self._requests, request)
                self._requests.flush()
                while True:
                    kind, *content = read_message(self._answers)
                    self._silent, is_accepted = 0.0, True
                    if kind == "array":
                        assert receive is not None
                        self._fill(receive(content[0]), content[1])
                    elif kind == "working":
                        self._limit = float(content[0])
                    else:
                        break
            except (EOFError, OSError):
                if not (is_accepted or self._was_silent):
                    raise ProcessGoneError from None
                raise MediaError(self._end_of(path)) from None
        if kind == "failed":
            name, message, self._is_spent = content
            raise getattr(errors, name)(message) if name else RuntimeError(message)
        self._is_spent = False
        return content[0]

    def keep_or_close(self) -> None:
        """Keep the process for other files, if it is ready for them."""
        if self._is_spent or not self.is_alive or len(_idle) >= (os.cpu_count() or 1):
            self.close()
        else:
            _idle.append(self)

    def close(self) -> None:
        """End the process."""
        atexit.unregister(self.close)
        if self._owner != os.getpid():
            self._process.returncode = 0  # after a fork it is another's child, and is not waited for
        else:
            self._process.kill()
            self._process.wait()
        for file in (self._requests, self._answers):
            with suppress(OSError):  # a request that was not sent
                file.close()

    def _fill(self, place: np.ndarray | None, num_bytes: int) -> None:
        """Read an array into its place."""
        if not num_bytes:
            return
        if place is None or place.nbytes != num_bytes:
            raise EOFError
        target = place if place.flags.c_contiguous else np.empty(place.shape, place.dtype)
        left = bytes_of(target)
        while left:
            count = self._answers.readinto(left)
            if not count:
                raise EOFError
            self._silent = 0.0
            left = left[count:]
        if target is not place:
            place[...] = target

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """End the process if it is silent for longer than its limit."""
        done = threading.Event()
        watch = threading.Thread(target=self._watch, args=(done,), daemon=True)
        watch.start()
        try:
            yield
        finally:
            done.set()
            watch.join()
            self._limit = SILENT_SECONDS

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(_STEP):  # steps are counted, since this process may have been stopped meanwhile
            self._silent += _STEP
            if self._silent > self._limit:
                self._was_silent = True
                self._process.kill()
                return

    def _end_of(self, path: Path) -> str:
        """Description of the end of the process."""
        if self._was_silent:
            return f"{path} takes too long to decode: nothing for {self._silent:.0f} s; convert it first"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.returncode
        ends = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        return f"{path} can't be read as a video: its decoder ended with {ends}; convert it first"


def _folder() -> str | None:
    """The current folder, in which relative paths are looked up; None if it was removed."""
    with suppress(OSError):
        return os.getcwd()
    return None


def write_message(file: BinaryIO, message: list[Any]) -> None:
    """Write a JSON value and its length to a buffered file."""
    content = json.dumps(message).encode()
    file.write(len(content).to_bytes(4, "big") + content)


def read_message(file: BinaryIO) -> list[Any]:
    """The next JSON value of a file.

    Raises:
        EOFError: there is none.
    """
    return json.loads(_read(file, int.from_bytes(_read(file, 4), "big")))


def bytes_of(array: np.ndarray) -> memoryview:
    """The memory of a contiguous array."""
    memory: Any = array
    return memoryview(memory).cast("B")


def _read(file: BinaryIO, num_bytes: int) -> bytes:
    content = file.read(num_bytes)
    if len(content) < num_bytes:
        raise EOFError
    return content
