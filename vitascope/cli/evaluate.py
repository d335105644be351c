"""`vitascope evaluate`: each verb measures, prints a table, and writes it down where it is told to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

import typer

import vitascope
from vitascope.cli.options import MAX_SEED, MODEL_HELP, GeneratorDtype, Seed, check_folder, refuse, refuse_unused
from vitascope.progress import progress

evaluate = typer.Typer(
    help="Measure a model. Every figure in the documentation comes from here.",
    add_completion=False,
    rich_markup_mode=None,
)


@runtime_checkable
class Report(Protocol):
    """What every measurement gives."""

    def lines(self) -> list[str]:
        """A table."""
        ...

    def write(self, out: Path) -> None:
        """JSON and a picture, into a folder."""
        ...


@evaluate.command("codec")
def evaluate_codec(
    sources: Annotated[
        list[Path], typer.Argument(metavar="VIDEO|DATASET...", help="Video files, or folders that `render` made.")
    ],
    model: Annotated[
        str | None, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP, show_default="playground")
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Score another system's copies of the same names here, not a model."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=16, help="Resize to this height first, aspect kept.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="At most this many frames of each clip.")] = 49,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Also write codec.json and codec.png here.")
    ] = None,
) -> None:
    """Encode and decode clips: PSNR, SSIM, distance of features, added flicker and seams of each, and their means."""
    if out is not None:
        check_folder(out)
    if videos is not None:
        refuse_unused({"--model": model}, "encodes and decodes; --videos are copies that are there already")
        if not videos.is_dir():
            refuse(f"--videos {videos}: no such folder")
    for source in sources:
        if not source.exists():
            refuse(f"{source}: no such file or folder")
    from vitascope.evaluate.codec import evaluate_codec as evaluate_clips
    from vitascope.hub.find import find_model
    from vitascope.hub.registry import load_codec

    codec = None
    if videos is None:
        codec = load_codec(find_model(model or "playground", part="vae")).requires_grad_(False)
    with progress("codec") as on_progress:
        report = evaluate_clips(codec, sources, copies=videos, rows=rows, max_frames=frames, on_progress=on_progress)
    _tell(report, out)


@evaluate.command("physics")
def evaluate_physics(
    model: Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    trials: Annotated[
        int, typer.Option("-n", min=1, max=1000, help="Experiments of each law, within and beyond what is usual.")
    ] = 4,
    seed: Seed = 0,
    dtype: GeneratorDtype = None,
    given: Annotated[int, typer.Option(min=2, help="Frames that the model is shown.")] = 5,
    videos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Score another system's NAME.mp4 files here, not a model.")
    ] = None,
    write_given: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Only write what another system needs: given frames, prompts.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Also write physics.json and physics.png here.")
    ] = None,
) -> None:
    """Continue experiments with rolling, thrown, bouncing, colliding and swinging balls; errors in cm and cm/s."""
    for option, folder in (("--out", out), ("--write-given", write_given)):
        if folder is not None:
            check_folder(folder, option)
    if write_given is not None:
        unused = {"--videos": videos, "--out": out, "--dtype": dtype}
        refuse_unused(unused, "is for scoring; --write-given only writes what is given")
    if videos is not None:
        refuse_unused({"--dtype": dtype}, "is for a model that goes on; --videos are there already")
        if not videos.is_dir():
            refuse(f"--videos {videos}: no such folder")
    from vitascope.evaluate import physics

    pipeline = vitascope.load(model, dtype=dtype or "float32", weights=videos is None and write_given is None)
    config = pipeline.config
    size = {"height": config.height, "width": config.width, "fps": config.fps, "num_frames": config.num_frames}
    made = physics.make_trials(trials, seed=seed, num_given=given, **size)
    if write_given is not None:
        typer.echo(physics.write_given(made, write_given))
        return
    go_on = physics.extended_by(pipeline.extend, seed) if videos is None else physics.continuations(videos)
    with progress("physics") as on_progress:
        report = physics.evaluate_physics(made, go_on, on_progress=on_progress)
    _tell(report, out)


@evaluate.command("coherence")
def evaluate_coherence(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[VIDEO|FOLDER...]", help="Video files, folders of them, or datasets.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|DIR|ID", help=f"Without videos: {MODEL_HELP}", show_default="playground")
    ] = None,
    num_videos: Annotated[
        int | None, typer.Option("-n", min=1, max=10_000, help="How many videos a model makes.", show_default="12")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same result.", show_default="0"),
    ] = None,
    dtype: GeneratorDtype = None,
    frames: Annotated[
        int | None, typer.Option(min=6, help="At most this many frames of each file.", show_default="241")
    ] = None,
    cuts: Annotated[int, typer.Option(min=0, help="Cuts that each video was asked to have.")] = 0,
    loop: Annotated[bool, typer.Option("--loop", help="The videos were asked to loop.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Also write coherence.json and coherence.png here."),
    ] = None,
) -> None:
    """Look for hidden cuts, flicker, drift, things that vanish, and bounces that gain height."""
    if out is not None:
        check_folder(out)
    if sources and model is not None:
        refuse("give videos or --model, not both")
    if sources:
        unused = {"-n": num_videos, "--seed": seed, "--dtype": dtype}
        refuse_unused(unused, "is for videos that a model makes; these are there already")
    else:
        refuse_unused({"--frames": frames}, "is for files; a model's videos are as long as it was trained on")
    for source in sources or []:
        if not source.exists():
            refuse(f"{source}: no such file or folder")
    from vitascope.evaluate import coherence

    if sources:
        clips = coherence.files(sources, frames or 241)
    else:
        pipeline = vitascope.load(model or "playground", dtype=dtype or "float32")
        clips = coherence.generated(pipeline.generate, num_videos or 12, seed or 0)
    with progress("coherence") as on_progress:
        report = coherence.evaluate_coherence(clips, num_cuts=cuts, loops=loop, on_progress=on_progress)
    _tell(report, out)


@evaluate.command("judge")
def evaluate_judge(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder that `render` made.", show_default=False)],
    judge: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A judge's folder.", show_default="the bundled one")
    ] = None,
    clips: Annotated[int | None, typer.Option("-n", min=2, help="At most this many clips, drawn by the seed.")] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Also write judge.json and judge.png here.")
    ] = None,
) -> None:
    """Read rendered clips and compare with their records: accuracy of each attribute, and of the confidence."""
    if out is not None:
        check_folder(out)
    from vitascope.evaluate.judge import evaluate_judge as evaluate_clips
    from vitascope.judge.bundled import find_judge
    from vitascope.judge.network import Judge

    reader = Judge.load(find_judge(judge))
    with progress("judge") as on_progress:
        report = evaluate_clips(reader.read, data, num_clips=clips, seed=seed, on_progress=on_progress)
    _tell(report, out)


def _tell(report: Report, out: Path | None) -> None:
    """Print a report's table; with a folder, write it there too and print where."""
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)
