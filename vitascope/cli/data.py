"""`vitascope render` and `vitascope prepare`: datasets to train on."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vitascope.cli.options import MAX_SEED, check_folder, check_positive, check_size_texts, refuse
from vitascope.progress import progress

prepare = typer.Typer(
    help="Make a dataset of what you have. To go on after an interruption, run it again.",
    add_completion=False,
    rich_markup_mode=None,
)


class Split(StrEnum):
    """Which combinations of colour, object, motion and setting a render may show."""

    train = "train"
    held_out = "held_out"


def render(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the dataset.", show_default=False)],
    clips: Annotated[int | None, typer.Option(min=1, help="How many clips; needed unless the config says it.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="TOML", help="Settings; options given here win.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Clip k of a seed is always the same.")] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="WxH", callback=check_size_texts, help="Repeat it for a mixture of sizes."),
    ] = None,
    frames: Annotated[list[int] | None, typer.Option(min=1, help="Frames per video; repeatable.")] = None,
    fps: Annotated[list[float] | None, typer.Option(min=0.1, max=1000, help="Frames per second; repeatable.")] = None,
    image_share: Annotated[float | None, typer.Option(min=0, max=1, help="Share of clips that are images.")] = None,
    split: Annotated[Split | None, typer.Option(help="Ordinary combinations, or only those held out.")] = None,
    variety: Annotated[
        float | None, typer.Option(min=0, max=1, help="How much goes on: 0 is one thing in one shot.", show_default="1")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one a core")] = None,
) -> None:
    """Render captioned clips of the simulated world. To go on after an interruption, run it again."""
    if clips is None and config is None:
        refuse("say how many with --clips, or give a --config")
    check_folder(out)
    from vitascope.config import load_config, parse_config
    from vitascope.data.render import RenderConfig, render_dataset

    given = _production(clips, seed, size, frames, fps, image_share, split)
    if variety is not None:
        given["variety"] = variety
    if config is not None:
        resolved = load_config(config, RenderConfig, [f"{key}={_toml(value)}" for key, value in given.items()])
    else:
        resolved = parse_config(given, RenderConfig, source="render")
    with progress(str(out)) as on_progress:
        render_dataset(resolved, out, num_workers=workers or os.cpu_count() or 1, on_progress=on_progress)
    typer.echo(out)


@prepare.command("videos")
def prepare_videos(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of videos and images with captions.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the dataset.", show_default=False)],
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="WxH", callback=check_size_texts, help="Repeat it: each video takes the nearest shape."),
    ] = None,
    fps: Annotated[float | None, typer.Option(callback=check_positive, help="Frames per second.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Most frames of a clip.")] = None,
    max_clips: Annotated[int | None, typer.Option(min=1, help="Most clips of one video.")] = None,
    max_bad: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of files that may be unusable before the run stops.")
    ] = None,
) -> None:
    """Cut your own videos into clips to train on. Captions: FILE.txt or FILE.json, or metadata.csv or .jsonl."""
    check_folder(out)
    from vitascope.config import parse_config
    from vitascope.data.prepare import PrepareConfig
    from vitascope.data.prepare import prepare_videos as prepare_folder

    options: dict[str, Any] = {
        "sizes": size,
        "fps": fps,
        "num_frames": frames,
        "max_clips": max_clips,
        "max_bad_share": max_bad,
    }
    given = {key: value for key, value in options.items() if value not in (None, [])}
    with progress(str(out)) as on_progress:
        prepared = prepare_folder(source, out, parse_config(given, PrepareConfig, source="prepare videos"), on_progress)
    typer.echo(prepared, err=True)
    typer.echo(out)


@prepare.command("emoji")
def prepare_emoji(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder with the unpacked npm packages.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the dataset.", show_default=False)],
    clips: Annotated[int, typer.Option(min=1, help="How many clips.", show_default=False)],
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Clip k of a seed is always the same.")] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="WxH", callback=check_size_texts, help="Repeat it for a mixture of sizes."),
    ] = None,
    frames: Annotated[list[int] | None, typer.Option(min=1, help="Frames per video; repeatable.")] = None,
    fps: Annotated[list[float] | None, typer.Option(min=0.1, max=1000, help="Frames per second; repeatable.")] = None,
    image_share: Annotated[float | None, typer.Option(min=0, max=1, help="Share of clips that are images.")] = None,
    split: Annotated[Split | None, typer.Option(help="Ordinary combinations, or only those held out.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one a core")] = None,
) -> None:
    """Make captioned clips of Microsoft's animated emoji on generated settings."""
    check_folder(out)
    from vitascope.config import parse_config
    from vitascope.data.production import ProductionConfig
    from vitascope.data.render_emoji import prepare_emoji as prepare_clips

    given = _production(clips, seed, size, frames, fps, image_share, split)
    config = parse_config(given, ProductionConfig, source="prepare emoji")
    with progress(str(out)) as on_progress:
        prepare_clips(source, out, config, workers or os.cpu_count() or 1, on_progress)
    typer.echo(out)


@prepare.command("shards")
def prepare_shards(
    source: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder that `render` or `prepare` made.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the shards.", show_default=False)],
    clips: Annotated[int, typer.Option(min=1, help="Clips in a shard.")] = 256,
) -> None:
    """Pack a dataset into few large files, to be trained on as they are: tar, in WebDataset's layout, with an index."""
    check_folder(out)
    from vitascope.data.shards import write_shards

    with progress(str(out)) as on_progress:
        typer.echo(write_shards(source, out, clips, on_progress))


def _production(
    clips: int | None,
    seed: int | None,
    size: list[str] | None,
    frames: list[int] | None,
    fps: list[float] | None,
    image_share: float | None,
    split: Split | None,
) -> dict[str, Any]:
    """What of a `ProductionConfig` was given as options."""
    options = {
        "num_clips": clips,
        "seed": seed,
        "sizes": size,
        "num_frames": frames,
        "fps": fps,
        "image_share": image_share,
        "split": split.value if split else None,
    }
    return {key: value for key, value in options.items() if value not in (None, [])}


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
