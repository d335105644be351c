"""`vitascope evaluate speed`: beside diffusers, in one run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from vitascope.cli.options import DtypeOption, check_folder, refuse
from vitascope.progress import progress

GROWTH = "growth"


def evaluate_speed(
    contests: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONTEST...]", help="Such as steps, decode-32, growth.", show_default="all"),
    ] = None,
    scale: Annotated[
        Literal["tiny", "small", "1.3B"],
        typer.Option(help="A check of a second; what a CPU can do; Wan's at 480x832, for a GPU."),
    ] = "small",
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Pairs of runs that the medians are of.")] = 5,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where both sides run.")] = "cpu",
    dtype: DtypeOption = "float32",
    tuned: Annotated[bool, typer.Option("--tuned", help="Compile diffusers' networks first: takes minutes.")] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Also write speed.json and speed.md here.")
    ] = None,
) -> None:
    """Time our networks and diffusers' with the same weights, in turns. Needs `pip install diffusers`."""
    if out is not None:
        check_folder(out)
    import importlib.util
    from tempfile import TemporaryDirectory

    import torch

    if importlib.util.find_spec("diffusers") is None:
        refuse("evaluate speed compares with diffusers, which isn't installed: pip install diffusers==0.42.1")
    if device == "cuda" and not torch.cuda.is_available():
        refuse("--device cuda: PyTorch finds no GPU")
    from vitascope.evaluate.speed import evaluate_speed as measure
    from vitascope.evaluate.speed import in_place
    from vitascope.evaluate.speed_contests import SCALES, Contests
    from vitascope.evaluate.speed_growth import measure_growth
    from vitascope.evaluate.speed_sides import apart
    from vitascope.hub.weights import torch_dtype

    with TemporaryDirectory() as folder, progress("speed") as on_progress:
        all_contests = Contests(SCALES[scale], Path(folder), device, torch_dtype(dtype), tuned=tuned)
        makers = all_contests.all()
        names = [*makers, *([GROWTH] if device == "cpu" and dtype == "float32" and not tuned else [])]
        if GROWTH in (contests or []) and GROWTH not in names:
            refuse("growth is measured on a CPU, in float32 and without --tuned only")
        unknown = [name for name in contests or [] if name not in names]
        if unknown:
            refuse(f"no contest {unknown[0]!r} at this scale; there are {', '.join(names)}")
        races = [makers[name] for name in contests or names if name != GROWTH]
        made, grows = apart if device == "cpu" else in_place, GROWTH in (contests or names)
        num_decodings = 4 * repeats * grows
        total = num_decodings + len(races)
        growths = ()
        if grows:  # first: should memory be short for a minute at once, nothing else is lost
            growths = measure_growth(
                all_contests.decoding,
                SCALES[scale].lengths,
                repeats,
                on_progress=lambda done, _: on_progress(done, total),
            )
        report = measure(
            races,
            repeats,
            device=device,
            dtype=torch_dtype(dtype),
            made=made,
            on_progress=lambda done, _: on_progress(num_decodings + done, total),
        )
        report = replace(report, growths=growths)
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)
