"""`vitascope render` and `vitascope prepare`: make datasets for training."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vitascope.cli.options import check_folder, check_positive, check_seed, check_size_texts, refuse
from vitascope.data.sources import SOURCES, Source
from vitascope.progress import progress

prepare = typer.Typer(
    help="Make a dataset from existing footage. Run the same command again to resume.",
    add_completion=False,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Write the dataset here.", show_default=False)]
Seed = Annotated[int | None, typer.Option(callback=check_seed, help="Seed the dataset; clip k depends on it and k.")]
MixedSizes = Annotated[
    list[str] | None,
    typer.Option(metavar="WxH", callback=check_size_texts, help="Set the size; repeat for a mixture."),
]
MixedFrames = Annotated[list[int] | None, typer.Option(min=1, help="Set the frames per video; repeat for a mixture.")]
MixedRates = Annotated[
    list[float] | None, typer.Option(min=0.1, max=1000, help="Set the frames per second; repeat for a mixture.")
]
ImageShare = Annotated[float | None, typer.Option(min=0, max=1, help="Set the share of clips that are images.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Set the number of processes.", show_default="one per core")]


class Split(StrEnum):
    """Combinations of colour, object, motion and setting that a dataset may show."""

    train = "train"
    held_out = "held_out"


Truth = Annotated[
    str | None,
    typer.Option(
        metavar="MAP,...", help="Store ground truth per pixel as ID.maps.npz: masks, depth, flow, or several."
    ),
]
SplitOption = Annotated[Split | None, typer.Option(help="Choose ordinary combinations or only held-out ones.")]


def render(
    out: Out,
    clips: Annotated[
        int | None, typer.Option(min=1, help="Set the number of clips; required without --config.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="TOML", help="Read settings; options override it.")] = None,
    seed: Seed = None,
    size: MixedSizes = None,
    frames: MixedFrames = None,
    fps: MixedRates = None,
    image_share: ImageShare = None,
    split: SplitOption = None,
    truth: Truth = None,
    variety: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Set the complexity of scenes; 0 is a single action in one shot.", show_default="1"
        ),
    ] = None,
    workers: Workers = None,
) -> None:
    """Render captioned clips of a simulated world. Run the same command again to resume."""
    if clips is None and config is None:
        refuse("the number of clips is missing; give --clips or a --config")
    check_folder(out)
    from vitascope.config import load_config, parse_config
    from vitascope.data.render import RenderConfig, render_dataset

    given = _production(clips, seed, size, frames, fps, image_share, split, truth)
    if variety is not None:
        given["variety"] = variety
    if config is not None:
        resolved = load_config(config, RenderConfig, [f"{key}={_toml(value)}" for key, value in given.items()])
    else:
        resolved = parse_config(given, RenderConfig, source="render")
    with progress(str(out)) as on_progress:
        render_dataset(resolved, out, num_workers=workers or os.cpu_count() or 1, on_progress=on_progress)
    typer.echo(out)


def _add_source(kind: str, entry: Source) -> None:
    """Add the command that prepares one kind of source."""

    def prepare_source(
        source: Path,
        out: Out,
        size: Annotated[
            list[str] | None,
            typer.Option(
                metavar="WxH",
                callback=check_size_texts,
                help="Set the size; repeat it and each video takes the nearest aspect ratio.",
            ),
        ] = None,
        fps: Annotated[float | None, typer.Option(callback=check_positive, help="Set the frames per second.")] = None,
        frames: Annotated[int | None, typer.Option(min=1, help="Limit the frames of a clip.")] = None,
        max_clips: Annotated[int | None, typer.Option(min=1, help="Limit the clips per video.")] = None,
        max_bad: Annotated[
            float | None, typer.Option(min=0, max=1, help="Stop when more than this share of files is unusable.")
        ] = None,
    ) -> None:
        check_folder(out)
        from vitascope.config import parse_config
        from vitascope.data.prepare import PrepareConfig, prepare_videos

        options: dict[str, Any] = {
            "sizes": size,
            "fps": fps,
            "num_frames": frames,
            "max_clips": max_clips,
            "max_bad_share": max_bad,
        }
        config = parse_config(_given(options), PrepareConfig, source=f"prepare {kind}")
        with progress(str(out)) as on_progress:
            prepared = prepare_videos(source, out, config, on_progress, kind)
        typer.echo(prepared, err=True)
        typer.echo(out)

    argument = typer.Argument(metavar=entry.metavar, help=entry.help, show_default=False)
    prepare_source.__annotations__["source"] = Annotated[Path, argument]
    prepare.command(kind, help=entry.summary)(prepare_source)


for _kind, _entry in SOURCES.items():
    _add_source(_kind, _entry)


@prepare.command("emoji")
def prepare_emoji(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Read the unpacked npm packages here.", show_default=False)
    ],
    out: Out,
    clips: Annotated[int, typer.Option(min=1, help="Set the number of clips.", show_default=False)],
    seed: Seed = None,
    size: MixedSizes = None,
    frames: MixedFrames = None,
    fps: MixedRates = None,
    image_share: ImageShare = None,
    split: SplitOption = None,
    truth: Truth = None,
    workers: Workers = None,
) -> None:
    """Make captioned clips of Microsoft's animated emoji on painted backdrops."""
    check_folder(out)
    from vitascope.config import parse_config
    from vitascope.data.production import ProductionConfig
    from vitascope.data.render_emoji import prepare_emoji as prepare_clips

    given = _production(clips, seed, size, frames, fps, image_share, split, truth)
    config = parse_config(given, ProductionConfig, source="prepare emoji")
    with progress(str(out)) as on_progress:
        prepare_clips(source, out, config, workers or os.cpu_count() or 1, on_progress)
    typer.echo(out)


@prepare.command("shards")
def prepare_shards(
    source: Annotated[
        Path,
        typer.Argument(metavar="DATASET", help="Read a dataset made by `render` or `prepare`.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Write the shards here.", show_default=False)],
    clips: Annotated[int, typer.Option(min=1, help="Set the clips per shard.")] = 256,
) -> None:
    """Pack a dataset into a few tar files in WebDataset's layout, with an index; training reads them directly."""
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
    truth: str | None,
) -> dict[str, Any]:
    """Fields of a `ProductionConfig` for the options that were set."""
    options = {
        "num_clips": clips,
        "seed": seed,
        "sizes": size,
        "num_frames": frames,
        "fps": fps,
        "image_share": image_share,
        "split": split.value if split else None,
        "truth": truth.split(",") if truth else None,
    }
    return _given(options)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value not in (None, [])}


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
