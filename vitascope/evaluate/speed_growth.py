"""How decoding grows with a video's duration: milliseconds a frame, and memory (`vitascope evaluate speed growth`)."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from vitascope.errors import ModelError
from vitascope.evaluate.measures.resources import memory_now, peak_memory
from vitascope.evaluate.speed import SIDES, Decoding, Growth, Side
from vitascope.kernels.allocator import keep_freed_memory


def measure_growth(
    make: Callable[[Side, int], Callable[[], object]],
    lengths: tuple[int, int],
    repeats: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Growth, ...]:
    """Both sides' decoding of videos of two lengths, in turns, `repeats` times each, each time in a new process.

    `make` gives what decodes so many frames once; it must be picklable. A process tells the memory that its first
    decoding takes, and times about as many frames as the long video has. What is returned are medians.

    Raises:
        ModelError: a process has ended.
    """
    cases: list[tuple[Side, int]] = [(side, num_frames) for side in SIDES for num_frames in lengths]
    taken: dict[tuple[Side, int], list[Decoding]] = {case: [] for case in cases}
    for number, (side, num_frames) in enumerate(cases * repeats, start=1):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            future = process.submit(_measure, make, side, num_frames, round(lengths[1] / num_frames))
            try:
                taken[side, num_frames].append(future.result())
            except BrokenProcessPool:
                what = f"the process in which {SIDES[side]} decoded {num_frames} frames"
                raise ModelError(f"{what} has ended: perhaps memory was short") from None
        if on_progress is not None:
            on_progress(number, len(cases) * repeats)
    short, long = lengths
    return tuple(Growth(side, _median(taken[side, short]), _median(taken[side, long])) for side in SIDES)


def _measure(
    make: Callable[[Side, int], Callable[[], object]], side: Side, num_frames: int, num_decodings: int
) -> Decoding:
    if side == "ours":
        keep_freed_memory()  # as the command does
    decode = make(side, num_frames)
    before = memory_now()
    decode()
    memory = peak_memory() - before
    begin = time.perf_counter()
    for _ in range(num_decodings):
        decode()
    return Decoding(num_frames, (time.perf_counter() - begin) / num_decodings, memory)


def _median(decodings: list[Decoding]) -> Decoding:
    """Of decodings of as many frames; of each figure by itself."""
    seconds = statistics.median(decoding.seconds for decoding in decodings)
    memory = statistics.median(decoding.memory for decoding in decodings)
    return Decoding(decodings[0].num_frames, seconds, memory)
