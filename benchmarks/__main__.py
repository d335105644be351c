"""`python -m benchmarks`: compare Vitascope with diffusers in one run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from vitascope.cli.options import DtypeOption, check_folder, refuse
from vitascope.errors import VitascopeError
from vitascope.progress import progress

GROWTH = "growth"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Run these, such as steps, decode-32, growth.", show_default="all"),
    ] = None,
    scale: Annotated[
        Literal["tiny", "small", "1.3B"],
        typer.Option(help="tiny for tests, small for a CPU, 1.3B (Wan's, 480x832) for a GPU."),
    ] = "small",
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Pairs of runs per benchmark.")] = 5,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Compute both backends on this device.")
    ] = "cpu",
    dtype: DtypeOption = "float32",
    tuned: Annotated[bool, typer.Option("--tuned", help="Compile diffusers' networks first (takes minutes).")] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Write benchmarks.json and benchmarks.md here.")
    ] = None,
) -> None:
    """Time our networks and diffusers' with the same weights, in turns."""
    if out is not None:
        check_folder(out)
    if importlib.util.find_spec("diffusers") is None:
        refuse("diffusers is not installed; install it with: pip install diffusers==0.42.1")
    from benchmarks.compare import compare_all, in_process
    from benchmarks.growth import measure_growth
    from benchmarks.isolation import isolated
    from benchmarks.networks import SCALES
    from benchmarks.report import BenchmarkReport, describe_machine
    from benchmarks.suite import Suite
    from vitascope.hub.weights import torch_dtype
    from vitascope.kernels.device import is_cpu, resolve_device

    place, number_format = resolve_device(device), torch_dtype(dtype)
    machine = describe_machine(place, number_format, repeats)
    with TemporaryDirectory() as folder, progress("benchmarks") as on_progress:
        suite = Suite(SCALES[scale], Path(folder), place, number_format, tuned=tuned)
        builders = suite.all()
        has_growth = is_cpu(place) and dtype == "float32" and not tuned
        available = [*builders, *([GROWTH] if has_growth else [])]
        chosen = names or available
        if GROWTH in chosen and not has_growth:
            refuse("growth needs a CPU, float32, and no --tuned")
        if unknown := [name for name in chosen if name not in available]:
            refuse(f"no benchmark {unknown[0]!r} at this scale; give {', '.join(available)}")
        selected = [builders[name] for name in chosen if name != GROWTH]
        num_decodings = 4 * repeats * (GROWTH in chosen)
        total = num_decodings + len(selected)
        growths = ()
        if GROWTH in chosen:  # first: if memory is too short for a minute at once, no other result is lost
            growths = measure_growth(
                suite.decoding,
                SCALES[scale].lengths,
                repeats,
                on_progress=lambda done, _: on_progress(done, total),
            )
        results = compare_all(
            selected,
            repeats,
            device=place,
            dtype=number_format,
            hosted=isolated if is_cpu(place) else in_process,
            on_progress=lambda done, _: on_progress(num_decodings + done, total),
        )
    report = BenchmarkReport(results, machine, growths)
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


def main() -> int:
    """The exit code of one command; a user's mistake is one line on stderr."""
    try:
        app(prog_name="python -m benchmarks", standalone_mode=True)
    except VitascopeError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
