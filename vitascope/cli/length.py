"""`vitascope evaluate length`: a minute of video, or any other time, beside a short one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import vitascope
from vitascope.cli.options import (
    MAX_SEED,
    MODEL_HELP,
    GeneratorDtype,
    Guidance,
    Rate,
    Size,
    Steps,
    check_file,
    check_folder,
    check_positive,
    refuse,
    refuse_unused,
    sides,
)
from vitascope.cli.scores import kept_in, model_fingerprint
from vitascope.cli.usage import without_notes

PROMPT = "a red ball bounces up and down on the grass, the camera is still"
SHORT, LONG = 10.0, 60.0


def evaluate_length(
    videos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SHORT LONG]", help="Two videos that are there already.", show_default=False),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What both videos show.", show_default=PROMPT)
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(callback=check_positive, help="Of the long one.", show_default=f"{LONG:g}")
    ] = None,
    short: Annotated[
        float | None, typer.Option(callback=check_positive, help="Seconds of the other.", show_default=f"{SHORT:g}")
    ] = None,
    size: Size = None,
    fps: Rate = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same result.", show_default="0"),
    ] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|DIR|ID", help=f"Without videos: {MODEL_HELP}", show_default="playground")
    ] = None,
    dtype: GeneratorDtype = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Also write length.json and .png, and keep both videos, here."),
    ] = None,
) -> None:
    """Make a short and a long video, each in a process of its own: time, memory, drift, cuts and joins of windows."""
    if out is not None:
        check_folder(out)
    options = {
        "--prompt": prompt,
        "--seconds": seconds,
        "--short": short,
        "--size": size,
        "--fps": fps,
        "--seed": seed,
        "--steps": steps,
        "--guidance": guidance,
        "--model": model,
        "--dtype": dtype,
    }
    if videos:
        refuse_unused(options, "is for videos that a model makes; these are there already")
        if len(videos) != 2:
            refuse(f"name two videos, a short one and a long one, not {len(videos)}")
        for video in videos:
            check_file(video)
    lengths = short or SHORT, seconds or LONG
    if lengths[1] <= lengths[0]:
        refuse(f"--seconds {lengths[1]:g} is no longer than --short {lengths[0]:g}")

    from vitascope.evaluate import length

    if videos:
        report = length.measure_files(*videos)
    else:
        told = {option: value for option, value in options.items() if value is not None}
        text = str(told.pop("--prompt", PROMPT))
        for option in ("--seconds", "--short"):
            told.pop(option, None)

        def words(more: Sequence[str]) -> list[str]:
            return ["generate", *(str(word) for pair in told.items() for word in pair), *more, "--", text]

        pipeline = vitascope.load(model or "playground", dtype=dtype or "float32", weights=False)
        from vitascope.generate.planning import plan
        from vitascope.generate.requests import Generate

        height, width = sides(size)
        with without_notes():  # the process that makes it has them, too
            timeline = plan(pipeline, Generate(prompt=text, height=height, width=width, seconds=lengths[1], fps=fps))
        about = {"model": model_fingerprint(model or "playground"), "prompt": text, **told}
        with kept_in(out) as kept:
            report = length.measure_model(pipeline, timeline, words, lengths, kept, about=about, say=_say)
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
