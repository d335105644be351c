"""Growth of decoding with a video's duration: milliseconds per frame, and memory."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from benchmarks.compare import BACKENDS, Backend
from vitascope.errors import ModelError
from vitascope.evaluate.measures.resources import memory_now, peak_memory
from vitascope.kernels.allocator import keep_freed_memory

GROWTH_GOAL = 1.1  # largest accepted cost per frame of a long video, relative to a short one


@dataclass(frozen=True)
class Decoding:
    """The cost of decoding a number of frames once."""

    num_frames: int
    seconds: float
    memory: float  # peak bytes above the process's memory before decoding; NaN where the system doesn't report it

    @property
    def ms_per_frame(self) -> float:
        """Wall time in milliseconds per frame."""
        return 1000 * self.seconds / self.num_frames


@dataclass(frozen=True)
class Growth:
    """One backend's decoding of a short and of a long video."""

    backend: Backend
    short: Decoding
    long: Decoding

    @property
    def time(self) -> float:
        """Ratio of the long video's time per frame to the short one's."""
        return self.long.ms_per_frame / self.short.ms_per_frame

    @property
    def memory(self) -> float:
        """Ratio of the long video's memory to the short one's; NaN where it isn't known."""
        known = self.short.memory > 0 and self.long.memory > 0
        return self.long.memory / self.short.memory if known else float("nan")

    @property
    def verdict(self) -> str:
        """`reached` if both ratios are known and within the goal, else `not reached`."""
        return "reached" if self.time <= GROWTH_GOAL and self.memory <= GROWTH_GOAL else "not reached"


def measure_growth(
    make: Callable[[Backend, int], Callable[[], object]],
    lengths: tuple[int, int],
    repeats: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Growth, ...]:
    """Median decoding costs of both backends at two lengths, from `repeats` alternating new processes each.

    `make` returns a function that decodes a number of frames once; it must be picklable. A process reports the memory
    of its first decoding. It then times repeated decodings, about the long video's number of frames in total.

    Raises:
        ModelError: a process has ended.
    """
    cases: list[tuple[Backend, int]] = [(backend, num_frames) for backend in BACKENDS for num_frames in lengths]
    measured: dict[tuple[Backend, int], list[Decoding]] = {case: [] for case in cases}
    for number, (backend, num_frames) in enumerate(cases * repeats, start=1):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            future = process.submit(_measure, make, backend, num_frames, round(lengths[1] / num_frames))
            try:
                measured[backend, num_frames].append(future.result())
            except BrokenProcessPool:
                name = BACKENDS[backend]
                raise ModelError(
                    f"{name}: the process decoding {num_frames} frames has ended; memory may be short"
                ) from None
        if on_progress is not None:
            on_progress(number, len(cases) * repeats)
    short, long = lengths
    return tuple(
        Growth(backend, _median(measured[backend, short]), _median(measured[backend, long])) for backend in BACKENDS
    )


def _measure(
    make: Callable[[Backend, int], Callable[[], object]], backend: Backend, num_frames: int, num_decodings: int
) -> Decoding:
    if backend == "ours":
        keep_freed_memory()  # the `vitascope` command does the same
    decode = make(backend, num_frames)
    before = memory_now()
    decode()
    memory = peak_memory() - before
    begin = time.perf_counter()
    for _ in range(num_decodings):
        decode()
    return Decoding(num_frames, (time.perf_counter() - begin) / num_decodings, memory)


def _median(decodings: list[Decoding]) -> Decoding:
    """Separate medians of each figure over decodings of the same length."""
    seconds = statistics.median(decoding.seconds for decoding in decodings)
    memory = statistics.median(decoding.memory for decoding in decodings)
    return Decoding(decodings[0].num_frames, seconds, memory)
