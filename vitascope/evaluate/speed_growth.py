"""How decoding grows with a video's duration: milliseconds a frame, and memory (`vitascope evaluate speed growth`)."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from vitascope.errors import ModelError
from vitascope.evaluate.resources import memory_now, peak_memory
from vitascope.evaluate.speed import SIDES, Decoding, Growth, Side
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

    Raises:
        ModelError: a process has ended.
    """
    cases: list[tuple[Side, int]] = [(side, num_frames) for side in SIDES for num_frames in lengths]
    taken: dict[tuple[Side, int], Decoding] = {}
    for number, (side, num_frames) in enumerate(cases, start=1):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            num_decodings = round(lengths[1] / num_frames)
            future = process.submit(_measure, make, side, num_frames, num_decodings, repeats)
            try:
                taken[side, num_frames] = future.result()
            except BrokenProcessPool:
                what = f"the process in which {SIDES[side]} decoded {num_frames} frames"
                raise ModelError(f"{what} has ended: perhaps memory was short") from None
        if on_progress is not None:
            on_progress(number, len(cases))
    short, long = lengths
    return tuple(Growth(side, taken[side, short], taken[side, long]) for side in SIDES)


def _measure(
    make: Callable[[Side, int], Callable[[], object]], side: Side, num_frames: int, num_decodings: int, repeats: int
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
        for _ in range(num_decodings):
            decode()
        seconds.append((time.perf_counter() - begin) / num_decodings)
    return Decoding(num_frames, statistics.median(seconds), memory)
