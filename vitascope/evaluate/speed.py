"""How fast, beside diffusers: the same work, the same weights, in turns within one run (`vitascope evaluate speed`)."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vitascope.files import write_text
from vitascope.generate.cost import matmul_rate

Side = Literal["ours", "peer"]
SIDES: dict[Side, str] = {"ours": "ours", "peer": "diffusers"}
GROWTH_GOAL = 1.1  # of a long video's cost, as a multiple of a short one's
Work = Callable[[], Tensor]
"""Does the work once. What it returns is compared with what the other side returns."""


def greatest_difference(ours: Tensor, peer: Tensor) -> float:
    """The greatest distance of two equal places."""
    return (ours - peer).abs().max().item()


def relative_difference(ours: Tensor, peer: Tensor) -> float:
    """The length of the difference, as a share of the peer's."""
    return ((ours - peer).norm() / peer.norm()).item()


def difference_beyond_rounding(ours: Tensor, peer: Tensor) -> float:
    """How far the peer's numbers from 0 to 1 lie outside what rounds to our levels of 255 (as shares); the greatest."""
    return ((ours - peer).abs() - 0.5 / 255).clamp_min(0).max().item()


def root_mean_square(ours: Tensor, peer: Tensor) -> float:
    """Of the differences; of pixels from -1 to 1, 0.02 are 40 dB of PSNR."""
    return (ours - peer).square().mean().sqrt().item()


@dataclass(frozen=True)
class Contest:
    """One piece of work, done by us and by the peer."""

    name: str
    ours: Work
    peer: Work
    tolerance: float  # of the difference between the two results
    goal: float  # how many times as fast we want to be
    flops: int = 0  # matrix multiplications and convolutions that the work needs when done plainly; 0 is unknown
    difference: Callable[[Tensor, Tensor], float] | None = greatest_difference  # None: there is nothing to compare


@dataclass(frozen=True)
class Result:
    """Medians of the paired repetitions, in seconds, and what the ratios are: the median and the quartiles."""

    name: str
    ours: float
    peer: float
    ratio: float
    quartiles: tuple[float, float]
    goal: float
    difference: float | None
    tolerance: float
    share_of_ceiling: float | None  # of what this machine's matrix products reach

    @property
    def verdict(self) -> str:
        """Whether the goal is reached, or the results differ."""
        if self.difference is not None and not self.difference <= self.tolerance:
            return "DIFFERS"
        return "reached" if self.ratio >= self.goal else "not reached"


@dataclass(frozen=True)
class Decoding:
    """What decoding so many frames takes."""

    num_frames: int
    seconds: float
    memory: float  # bytes at the most, beyond what the process held before; NaN where the system doesn't tell

    @property
    def ms_per_frame(self) -> float:
        """Of the clock on the wall."""
        return 1000 * self.seconds / self.num_frames


@dataclass(frozen=True)
class Growth:
    """One side's decoding of a short and of a long video."""

    side: Side
    short: Decoding
    long: Decoding

    @property
    def time(self) -> float:
        """A long video's time a frame, as a multiple of a short one's."""
        return self.long.ms_per_frame / self.short.ms_per_frame

    @property
    def memory(self) -> float:
        """A long video's memory, as a multiple of a short one's; NaN where it isn't known."""
        known = self.short.memory > 0 and self.long.memory > 0
        return self.long.memory / self.short.memory if known else float("nan")

    @property
    def verdict(self) -> str:
        """Whether both are known to be within the goal."""
        return "reached" if self.time <= GROWTH_GOAL and self.memory <= GROWTH_GOAL else "not reached"


@dataclass(frozen=True)
class SpeedReport:
    """All contests of a run, and the machine that they ran on."""

    results: list[Result]
    machine: dict[str, Any]
    growths: tuple[Growth, ...] = ()

    def lines(self) -> list[str]:
        """A table, one contest a line."""
        head = (
            f"{'work':36} {'ours ms':>9} {'diffusers':>9} {'ratio':>6} {'quartiles':>12} {'goal':>5} "
            f"{'difference':>10} {'ceiling':>7}"
        )
        rows = [head, *(_line(result) for result in self.results)] if self.results else []
        return [*rows, *map(_growth_line, self.growths), *(f"{k}: {v}" for k, v in self.machine.items())]

    def write(self, out: Path) -> None:
        """Write speed.json and speed.md into a folder."""
        out.mkdir(parents=True, exist_ok=True)
        rows = [{**asdict(result), "verdict": result.verdict} for result in self.results]
        growths = [_growth_tree(growth) for growth in self.growths]
        tree = {"machine": self.machine, "results": rows, "growths": growths}
        write_text(out / "speed.json", json.dumps(tree, indent=2) + "\n")
        write_text(out / "speed.md", "\n".join(self.markdown()) + "\n")

    def markdown(self) -> list[str]:
        """The tables as documentation shows them."""
        tables = [self._contest_table()] if self.results else []
        tables += [self._growth_table()] if self.growths else []
        return [line for table in tables for line in (*table, "")][:-1]

    def _contest_table(self) -> list[str]:
        columns = ["work", "ours, ms", "diffusers, ms", "ratio (quartiles)", "goal"]
        columns += ["difference", "share of the ceiling"]
        table = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        for result in self.results:
            cells = [result.name, _ms(result.ours), _ms(result.peer)]
            low, high = result.quartiles
            cells += [f"**{result.ratio:.2f}** ({low:.2f} to {high:.2f})", f"{result.goal:g}, {result.verdict}"]
            cells += [_difference(result.difference), _share(result.share_of_ceiling)]
            table.append("| " + " | ".join(cells) + " |")
        return table

    def _growth_table(self) -> list[str]:
        short, long = (each.num_frames for each in (self.growths[0].short, self.growths[0].long))
        columns = ["decoding", *(f"ms a frame of {n:,}" for n in (short, long)), "ratio"]
        columns += [*(f"MB for {n:,} frames" for n in (short, long)), "ratio", "goal"]
        table = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        for growth in self.growths:
            both = growth.short, growth.long
            cells = [SIDES[growth.side], *(f"{each.ms_per_frame:.2f}" for each in both), f"**{growth.time:.2f}**"]
            cells += [*(f"{each.memory / 1e6:.0f}" for each in both), f"**{growth.memory:.2f}**"]
            goal = f"{GROWTH_GOAL:g} at most, {growth.verdict}" if growth.side == "ours" else ""
            table.append("| " + " | ".join([*cells, goal]) + " |")
        return table


def race(contest: Contest, repeats: int, device: str = "cpu", rate_now: Callable[[], float] | None = None) -> Result:
    """Both sides in turns, `repeats` times after a first one that only compares results.

    The ratio is that of each pair of neighbours in time, so whatever else the machine does strikes both.
    `rate_now` tells how many FLOP/s the machine reaches at the moment; the ceiling is what it says at most.
    """
    ours, peer = contest.ours(), contest.peer()
    difference = None if contest.difference is None else contest.difference(ours, peer)
    sides = {"ours": contest.ours, "peer": contest.peer}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    rates = []
    for number in range(repeats):
        if contest.flops and rate_now is not None:
            rates.append(rate_now())
        in_turn = list(sides.items())
        for name, work in in_turn if number % 2 == 0 else reversed(in_turn):
            seconds[name].append(_seconds(work, device))
    ratios = np.array(seconds["peer"]) / np.array(seconds["ours"])
    low, high = np.quantile(ratios, [0.25, 0.75])
    median = float(np.median(seconds["ours"]))
    return Result(
        name=contest.name,
        ours=median,
        peer=float(np.median(seconds["peer"])),
        ratio=float(np.median(ratios)),
        quartiles=(float(low), float(high)),
        goal=contest.goal,
        difference=difference,
        tolerance=contest.tolerance,
        share_of_ceiling=contest.flops / median / max(rates) if rates else None,
    )


@contextmanager
def in_place(make: Callable[[], Contest]) -> Iterator[Contest]:
    """The contest that `make` makes, with both sides in this process."""
    yield make()


def evaluate_speed(
    contests: Sequence[Callable[[], Contest]],
    repeats: int,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    made: Callable[[Callable[[], Contest]], AbstractContextManager[Contest]] = in_place,
    on_progress: Callable[[int, int], None] | None = None,
) -> SpeedReport:
    """Race after race; each contest is made when its turn comes and forgotten after it, so memory holds one.

    `made` is how: within this process, or `vitascope.evaluate.speed_sides.apart`.
    """
    rate_now = partial(matmul_rate, dtype) if device == "cpu" else None
    results = []
    for number, make in enumerate(contests):
        with made(make) as contest:
            results.append(race(contest, repeats, device, rate_now))
        if on_progress is not None:
            on_progress(number + 1, len(contests))
    return SpeedReport(
        results, {**_machine(device), "repetitions": repeats, "dtype": str(dtype).removeprefix("torch.")}
    )


def _seconds(work: Work, device: str) -> float:
    begin = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _machine(device: str) -> dict[str, Any]:
    import diffusers

    return {
        "processor": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "load before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def _line(result: Result) -> str:
    low, high = result.quartiles
    return (
        f"{result.name:36} {_ms(result.ours):>9} {_ms(result.peer):>9} {result.ratio:6.2f} "
        f"{f'{low:.2f}-{high:.2f}':>12} {result.goal:5g} {_difference(result.difference):>10} "
        f"{_share(result.share_of_ceiling):>7}  {result.verdict}"
    )


def _growth_tree(growth: Growth) -> dict[str, Any]:
    def known(number: float) -> float | None:  # JSON has no NaN
        return None if math.isnan(number) else number

    lengths = {
        name: {"num_frames": each.num_frames, "seconds": each.seconds, "memory": known(each.memory)}
        for name, each in (("short", growth.short), ("long", growth.long))
    }
    verdict = {"goal": GROWTH_GOAL, "verdict": growth.verdict} if growth.side == "ours" else {}
    return {"side": SIDES[growth.side], **lengths, "time": growth.time, "memory": known(growth.memory), **verdict}


def _growth_line(growth: Growth) -> str:
    return (
        f"decoding by {SIDES[growth.side]}, {growth.long.num_frames:,} frames beside {growth.short.num_frames}: "
        f"{growth.time:.2f} of the time a frame, {growth.memory:.2f} of the memory"
        + (f"  {growth.verdict}" if growth.side == "ours" else "")
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f}"


def _difference(difference: float | None) -> str:
    return "" if difference is None else f"{difference:.1e}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
