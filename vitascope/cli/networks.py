"""`vitascope train`, `evaluate`, `info` and `export`: what is done with networks besides generating."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import vitascope
from vitascope.cli.options import MODEL_HELP, Dtype, DtypeOption, Seed, check_folder, refuse
from vitascope.progress import progress

train = typer.Typer(help="Train a network. To resume, run the same command again.", rich_markup_mode=None)
evaluate = typer.Typer(
    help="Measure a model. Every figure in the documentation comes from here.", rich_markup_mode=None
)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, such as optimizer.lr=1e-4.", show_default=False),
]
RunFolder = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="RUN", help="Run folder.", show_default="runs/<config name>")
]


@train.command("codec")
def train_codec(config: ConfigFile, overrides: Overrides = None, out: RunFolder = None) -> None:
    """Train the video compression network, and print its folder."""
    run = _run_folder(out, config)
    from vitascope.train.codec import train as train_network

    typer.echo(train_network(config, run, overrides or []))


@train.command("transformer")
def train_transformer(config: ConfigFile, overrides: Overrides = None, out: RunFolder = None) -> None:
    """Train the diffusion transformer, and print the folder of the finished model."""
    run = _run_folder(out, config)
    from vitascope.train.transformer import train as train_network

    typer.echo(train_network(config, run, overrides or []))


@train.command("judge")
def train_judge(config: ConfigFile, overrides: Overrides = None, out: RunFolder = None) -> None:
    """Train the network that reads attributes off videos and captions them, and print its folder."""
    run = _run_folder(out, config)
    from vitascope.train.judge import train as train_network

    typer.echo(train_network(config, run, overrides or []))


@evaluate.command("codec")
def evaluate_codec(
    sources: Annotated[
        list[Path], typer.Argument(metavar="VIDEO|DATASET...", help="Video files, or folders that `render` made.")
    ],
    model: Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    rows: Annotated[int | None, typer.Option(min=16, help="Resize to this height first, aspect kept.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="At most this many frames of each clip.")] = 49,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Also write codec.json and codec.png here.")
    ] = None,
) -> None:
    """Encode and decode clips: PSNR and SSIM of each, and their means."""
    if out is not None:
        check_folder(out)
    for source in sources:
        if not source.exists():
            refuse(f"{source}: no such file or folder")
    from vitascope.evaluate.codec import evaluate_codec as evaluate_clips

    codec = vitascope.load(model).codec
    with progress("codec") as on_progress:
        report = evaluate_clips(codec, sources, rows=rows, max_frames=frames, on_progress=on_progress)
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


@evaluate.command("physics")
def evaluate_physics(
    model: Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    trials: Annotated[
        int, typer.Option("-n", min=1, max=1000, help="Experiments of each law, within and beyond what is usual.")
    ] = 4,
    seed: Seed = 0,
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
    for folder in (out, write_given):
        if folder is not None:
            check_folder(folder)
    if videos is not None and not videos.is_dir():
        refuse(f"--videos {videos}: no such folder")
    from vitascope.evaluate import physics

    pipeline = vitascope.load(model, weights=videos is None and write_given is None)
    config = pipeline.config
    size = {"height": config.height, "width": config.width, "fps": config.fps, "num_frames": config.num_frames}
    made = physics.make_trials(trials, seed=seed, num_given=given, **size)
    if write_given is not None:
        typer.echo(physics.write_given(made, write_given))
        return
    go_on = physics.extended_by(pipeline, seed) if videos is None else physics.continuations(videos)
    with progress("physics") as on_progress:
        report = physics.evaluate_physics(made, go_on, on_progress=on_progress)
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


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
    num_videos: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many videos a model makes.")] = 12,
    seed: Seed = 0,
    frames: Annotated[int, typer.Option(min=6, help="At most this many frames of each file.")] = 241,
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
    for source in sources or []:
        if not source.exists():
            refuse(f"{source}: no such file or folder")
    from vitascope.evaluate import coherence

    if sources:
        clips = coherence.files(sources, frames)
    else:
        clips = coherence.generated(vitascope.load(model or "playground").generate, num_videos, seed)
    with progress("coherence") as on_progress:
        report = coherence.evaluate_coherence(clips, num_cuts=cuts, loops=loop, on_progress=on_progress)
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


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
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


def info(
    model: Annotated[str, typer.Argument(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    dtype: DtypeOption = Dtype.FLOAT32,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Print a model's card: its networks, how it was trained, and what a video takes. Its weights aren't read."""
    card = vitascope.load(model, dtype=dtype.value, weights=False).card(measure=True)
    if as_json:
        import json

        typer.echo(json.dumps(card, indent=2, ensure_ascii=False, default=str))
        return
    for key, value in _flat(card):
        typer.echo(f"{key}: {value}")


def export(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; one that exists is refused.")],
    model: Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    dtype: DtypeOption = Dtype.FLOAT32,
) -> None:
    """Write a model in diffusers' layout, with diffusers' classes where it has them, and print its folder."""
    check_folder(out)
    if out.exists():
        refuse(f"{out} exists; name a new folder")
    from vitascope.generate.model_folder import find_model
    from vitascope.interop.export import export_model
    from vitascope.weights import torch_dtype

    for note in export_model(find_model(model), out, torch_dtype(dtype.value)):
        typer.echo(note, err=True)
    typer.echo(out)


def _run_folder(out: Path | None, config: Path) -> Path:
    run = out or Path("runs") / config.stem
    check_folder(run)
    return run


def _flat(card: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in card.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
