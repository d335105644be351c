"""How decoding grows with a video's duration: milliseconds a frame, and memory (`vitascope evaluate speed growth`)."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import get_args

from vitascope.evaluate.resources import memory_now, peak_memory
from vitascope.evaluate.speed import Decoding, Growth, Side
from vitascope.memory import keep_freed_memory


def measure_growth(
    make: Callable[[Side, int], Callable[[], object]],
    lengths: tuple[int, int],
    repeats: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Growth, ...]:
    """Both sides' decoding of videos of two lengths, each in a process of its own, one after the other.

    `make` gives what decodes so many frames once; it must be picklable. A time is the median of `repeats`, each of
    about as many frames as the long video has, after a first decoding of which the memory is told.
    """
    cases = [(side, num_frames) for side in get_args(Side) for num_frames in lengths]
    taken = []
    for number, (side, num_frames) in enumerate(cases, start=1):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            at_once = round(lengths[1] / num_frames)
            taken.append(process.submit(_measure, make, side, num_frames, at_once, repeats).result())
        if on_progress is not None:
            on_progress(number, len(cases))
    return Growth("ours", *taken[:2]), Growth("peer", *taken[2:])


def _measure(
    make: Callable[[Side, int], Callable[[], object]], side: Side, num_frames: int, at_once: int, repeats: int
) -> Decoding:
    if side == "ours":
        keep_freed_memory()  # as the command does
    decode = make(side, num_frames)
    before = memory_now()
    decode()
    memory = peak_memory() - before
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        for _ in range(at_once):
            decode()
        seconds.append((time.perf_counter() - begin) / at_once)
    return Decoding(num_frames, statistics.median(seconds), memory)
