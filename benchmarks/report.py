"""The report of a run: results as lines, as JSON and as the tables of docs/performance.md."""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.compare import BACKENDS, Result
from benchmarks.growth import GROWTH_GOAL, Growth
from vitascope.files import write_text
from vitascope.kernels.device import is_cpu


@dataclass(frozen=True)
class BenchmarkReport:
    """All results of a run, and the machine."""

    results: list[Result]
    machine: dict[str, Any]
    growths: tuple[Growth, ...] = ()

    def lines(self) -> list[str]:
        """A table with one benchmark per line, then the machine."""
        head = (
            f"{'work':36} {'ours ms':>9} {'diffusers':>9} {'ratio':>6} {'quartiles':>12} {'goal':>5} "
            f"{'difference':>10} {'ceiling':>7}"
        )
        rows = [head, *(_line(result) for result in self.results)] if self.results else []
        return [*rows, *map(_growth_line, self.growths), *(f"{k}: {v}" for k, v in self.machine.items())]

    def write(self, out: Path) -> None:
        """Write benchmarks.json and benchmarks.md into a folder."""
        out.mkdir(parents=True, exist_ok=True)
        rows = [{**asdict(result), "verdict": result.verdict} for result in self.results]
        growths = [_growth_tree(growth) for growth in self.growths]
        tree = {"machine": self.machine, "results": rows, "growths": growths}
        write_text(out / "benchmarks.json", json.dumps(tree, indent=2) + "\n")
        write_text(out / "benchmarks.md", "\n".join(self.markdown()) + "\n")

    def markdown(self) -> list[str]:
        """The tables in Markdown, as docs/performance.md shows them."""
        tables = [self._result_table()] if self.results else []
        tables += [self._growth_table()] if self.growths else []
        return [line for table in tables for line in (*table, "")][:-1]

    def _result_table(self) -> list[str]:
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
        columns = ["decoding", *(f"ms per frame of {n:,}" for n in (short, long)), "ratio"]
        columns += [*(f"MB for {n:,} frames" for n in (short, long)), "ratio", "goal"]
        table = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        for growth in self.growths:
            both = growth.short, growth.long
            cells = [BACKENDS[growth.backend], *(f"{each.ms_per_frame:.2f}" for each in both), f"**{growth.time:.2f}**"]
            cells += [*(f"{each.memory / 1e6:.0f}" for each in both), f"**{growth.memory:.2f}**"]
            goal = f"at most {GROWTH_GOAL:g}, {growth.verdict}" if growth.backend == "ours" else ""
            table.append("| " + " | ".join([*cells, goal]) + " |")
        return table


def describe_machine(device: torch.device, dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    """Processor, load, versions and settings of a run."""
    import diffusers

    on_gpu = torch.cuda.is_available() and not is_cpu(device)
    return {
        "device": str(device),
        "processor": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "load before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "repetitions": repeats,
        "dtype": str(dtype).removeprefix("torch."),
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
    verdict = {"goal": GROWTH_GOAL, "verdict": growth.verdict} if growth.backend == "ours" else {}
    backend = {"backend": BACKENDS[growth.backend]}
    return {**backend, **lengths, "time": growth.time, "memory": known(growth.memory), **verdict}


def _growth_line(growth: Growth) -> str:
    return (
        f"decoding by {BACKENDS[growth.backend]}, {growth.long.num_frames:,} frames against {growth.short.num_frames}: "
        f"{growth.time:.2f} times the time per frame, {growth.memory:.2f} times the memory"
        + (f"  {growth.verdict}" if growth.backend == "ours" else "")
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f}"


def _difference(difference: float | None) -> str:
    return "" if difference is None else f"{difference:.1e}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
