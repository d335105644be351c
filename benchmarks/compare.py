"""Compare the results of two backends on the same work, and their alternating times within one run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vitascope.kernels.device import CPU, is_cpu, synchronize
from vitascope.kernels.linear import Linear

Backend = Literal["ours", "peer"]
BACKENDS: dict[Backend, str] = {"ours": "ours", "peer": "diffusers"}
Work = Callable[[], Tensor]
"""Runs the work once and returns the result to compare."""


def max_difference(ours: Tensor, peer: Tensor) -> float:
    """The largest absolute difference."""
    return (ours - peer).abs().max().item()


def relative_difference(ours: Tensor, peer: Tensor) -> float:
    """The norm of the difference as a share of the peer's norm."""
    return ((ours - peer).norm() / peer.norm()).item()


def difference_beyond_rounding(ours: Tensor, peer: Tensor) -> float:
    """The largest difference beyond rounding to 8 bits: ours are levels of 255 as shares, the peer's exact shares."""
    return ((ours - peer).abs() - 0.5 / 255).clamp_min(0).max().item()


def root_mean_square(ours: Tensor, peer: Tensor) -> float:
    """Root mean square of the differences; for pixels in [-1, 1], 0.02 is a PSNR of 40 dB."""
    return (ours - peer).square().mean().sqrt().item()


@dataclass(frozen=True)
class Benchmark:
    """One piece of work for two backends."""

    name: str
    ours: Work
    peer: Work
    tolerance: float  # largest accepted difference between the two results
    goal: float  # smallest accepted ratio of the peer's time to ours
    flops: int = 0  # of matrix products and convolutions, by direct algorithms; 0: unknown
    difference: Callable[[Tensor, Tensor], float] | None = max_difference  # None: nothing to compare


@dataclass(frozen=True)
class Result:
    """Medians over the paired repetitions, in seconds; the ratio's median and quartiles."""

    name: str
    ours: float
    peer: float
    ratio: float
    quartiles: tuple[float, float]
    goal: float
    difference: float | None
    tolerance: float
    share_of_ceiling: float | None  # our FLOP/s relative to the machine's matrix products

    @property
    def verdict(self) -> str:
        """`reached`, `not reached`, or `DIFFERS` if the results are further apart than the tolerance."""
        if self.difference is not None and not self.difference <= self.tolerance:
            return "DIFFERS"
        return "reached" if self.ratio >= self.goal else "not reached"


def compare(
    benchmark: Benchmark, repeats: int, device: torch.device = CPU, rate_now: Callable[[], float] | None = None
) -> Result:
    """Run both backends in turns, `repeats` times after a warm-up whose results are compared.

    Each ratio is of two neighbours in time, so other load on the machine affects both. `rate_now` measures the
    machine's FLOP/s at the moment; the ceiling is the highest of these.
    """
    ours, peer = benchmark.ours(), benchmark.peer()
    difference = None if benchmark.difference is None else benchmark.difference(ours.to(CPU), peer.to(CPU))
    backends = {"ours": benchmark.ours, "peer": benchmark.peer}
    seconds: dict[str, list[float]] = {name: [] for name in backends}
    rates = []
    for number in range(repeats):
        if benchmark.flops and rate_now is not None:
            rates.append(rate_now())
        in_turn = list(backends.items())
        for name, work in in_turn if number % 2 == 0 else reversed(in_turn):
            seconds[name].append(_seconds(work, device))
    ratios = np.array(seconds["peer"]) / np.array(seconds["ours"])
    low, high = np.quantile(ratios, [0.25, 0.75])
    median = float(np.median(seconds["ours"]))
    return Result(
        name=benchmark.name,
        ours=median,
        peer=float(np.median(seconds["peer"])),
        ratio=float(np.median(ratios)),
        quartiles=(float(low), float(high)),
        goal=benchmark.goal,
        difference=difference,
        tolerance=benchmark.tolerance,
        share_of_ceiling=benchmark.flops / median / max(rates) if rates else None,
    )


@contextmanager
def in_process(make: Callable[[], Benchmark]) -> Iterator[Benchmark]:
    """The benchmark with both backends in this process."""
    yield make()


def compare_all(
    benchmarks: Sequence[Callable[[], Benchmark]],
    repeats: int,
    *,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    hosted: Callable[[Callable[[], Benchmark]], AbstractContextManager[Benchmark]] = in_process,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Results of all benchmarks; each is built when its turn comes and freed after it, so memory holds one.

    `hosted` decides where the backends run: `in_process`, or `benchmarks.isolation.isolated`.
    """
    rate_now = partial(matmul_rate, dtype) if is_cpu(device) else None
    results = []
    for number, make in enumerate(benchmarks, start=1):
        with hosted(make) as benchmark:
            results.append(compare(benchmark, repeats, device, rate_now))
        if on_progress is not None:
            on_progress(number, len(benchmarks))
    return results


def _seconds(work: Work, device: torch.device) -> float:
    synchronize(device)
    begin = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - begin


@torch.inference_mode()
def matmul_rate(dtype: torch.dtype, seconds: float = 0.3, side: int = 1024) -> float:
    """Floating-point operations a second of this machine at large matrix products, the most a network can reach.

    The fastest product within `seconds` counts, because other programs may have slowed others.
    """
    layer = Linear(side, side, bias=False).to(dtype)
    x = torch.ones(side, side, dtype=dtype)
    layer(x)
    begin, quickest = time.perf_counter(), math.inf
    while (start := time.perf_counter()) - begin < seconds:
        layer(x)
        quickest = min(quickest, time.perf_counter() - start)
    return 2 * side**3 / quickest
