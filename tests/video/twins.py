"""Twins of a decoder that misbehave inside one call; each runs in a process that decodes."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
from collections.abc import Iterator
from typing import Any

from vitascope.video import opening, timing
from vitascope.video.decoding import decode_video

SILENT_SECONDS = 0.5


def _decode_with(call: Any, path: str, emit: Any) -> Any:
    original = timing._decodable

    def decodable(*arguments: Any) -> Iterator[Any]:
        for frame in original(*arguments):
            call()
            yield frame

    opening._FREE_SECONDS, opening._SLOWEST_PIXELS = SILENT_SECONDS, 1e12
    timing._decodable = decodable
    return decode_video(path, None, None, "0", None, None, emit)


def wait(path: str, emit: Any) -> Any:
    """Wait for ever, as in a lock, in C and without Python's lock."""
    return _decode_with(ctypes.CDLL(None).pause, path, emit)


def loop(path: str, emit: Any) -> Any:
    """Loop for ever in C, with Python's lock."""
    return _decode_with(lambda: sum(itertools.repeat(1)), path, emit)


def allocate(path: str, emit: Any) -> Any:
    """Allocate in C without end."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]

    def fill() -> None:
        while library.malloc(2**24):
            pass
        raise MemoryError

    return _decode_with(fill, path, emit)


def crash(path: str, emit: Any) -> Any:
    """End by a fault of memory."""
    return _decode_with(lambda: os.kill(os.getpid(), signal.SIGSEGV), path, emit)


def print_text(path: str, emit: Any) -> Any:
    """Print to the standard output, as libraries do."""
    return _decode_with(lambda: os.write(1, b"x265 [info]: frame I\n"), path, emit)


def fail(path: str) -> Any:
    """Fail by a fault of the package."""
    raise KeyError(path)
