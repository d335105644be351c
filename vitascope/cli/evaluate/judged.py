"""`vitascope evaluate judge|faithful|abilities|storyboards`: measures read by a judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitascope.cli.evaluate.options import (
    MODEL_ONLY,
    Judge,
    KeptOut,
    Model,
    OptionalModel,
    Out,
    given_computing,
    show_report,
)
from vitascope.cli.options import Device, PrecisionOption, Seed, check_folder, refuse_unused
from vitascope.progress import progress


def evaluate_judge(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Read the clips of this rendered folder.", show_default=False)
    ],
    judge: Judge = None,
    clips: Annotated[int | None, typer.Option("-n", min=2, help="Use at most this many clips, chosen by seed.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
) -> None:
    """Compare a judge's readings of rendered clips with the truth: accuracy by attribute, and calibration."""
    from vitascope.evaluate.judge import run

    show_report(run(data, judge=judge, num_clips=clips, seed=seed, device=device, progress=progress), out)


def evaluate_faithful(
    videos: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="Measure another system's videos, captioned with their prompts."),
    ] = None,
    model: OptionalModel = None,
    num_prompts: Annotated[
        int, typer.Option("-n", min=2, max=10_000, help="Use this many prompts, English and Chinese in turn.")
    ] = 48,
    seed: Seed = 0,
    variety: Annotated[float, typer.Option(min=0, max=1, help="Set the complexity of scenes, as in `render`.")] = 1.0,
    judge: Judge = None,
    baseline: Annotated[bool, typer.Option(help="Also render the scenes: upper bound and chance.")] = True,
    write_prompts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Only write the prompts, for another system.")
    ] = None,
    device: Device = "auto",
    dtype: PrecisionOption = "auto",
    out: KeptOut = None,
) -> None:
    """Prompt faithfulness, scored by the bundled judge. Run it again to resume."""
    if write_prompts is not None:
        check_folder(write_prompts, "--write-prompts")
    if videos is not None:
        refuse_unused({"--model": model, **given_computing("auto", dtype)}, MODEL_ONLY)
    from vitascope.evaluate import faithful

    if write_prompts is not None:
        typer.echo(faithful.write_prompts(write_prompts, num_prompts, seed, variety))
        return
    report = faithful.run(
        videos,
        model=model or "playground",
        num_prompts=num_prompts,
        seed=seed,
        variety=variety,
        judge=judge,
        baseline=baseline,
        device=device,
        dtype=dtype,
        out=out,
        progress=progress,
    )
    show_report(report, out)


def evaluate_abilities(
    model: Model = "playground",
    clips: Annotated[int, typer.Option("-n", min=2, max=1000, help="Use this many rendered clips per verb.")] = 8,
    strength: Annotated[float, typer.Option(min=0.01, max=1, help="Edit with this strength.")] = 0.8,
    seed: Seed = 0,
    judge: Judge = None,
    device: Device = "auto",
    dtype: PrecisionOption = "auto",
    out: KeptOut = None,
) -> None:
    """Extend, fill, connect, loop and edit clips: given frames, joins, and generated frames. Run again to resume."""
    from vitascope.evaluate import conditioning

    chosen = {"model": model, "seed": seed, "judge": judge, "device": device, "dtype": dtype, "out": out}
    show_report(conditioning.run(num_clips=clips, strength=strength, progress=progress, **chosen), out)


def evaluate_storyboards(
    model: Model = "playground",
    boards: Annotated[int, typer.Option("-n", min=2, max=1000, help="Use this many storyboards.")] = 20,
    seed: Seed = 0,
    judge: Judge = None,
    device: Device = "auto",
    dtype: PrecisionOption = "auto",
    out: KeptOut = None,
) -> None:
    """Storyboards of held-out scenes: cuts where requested and nowhere else, and the cast. Run again to resume."""
    from vitascope.evaluate import storyboards

    chosen = {"model": model, "seed": seed, "judge": judge, "device": device, "dtype": dtype, "out": out}
    show_report(storyboards.run(num_boards=boards, progress=progress, **chosen), out)
