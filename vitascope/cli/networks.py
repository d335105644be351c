"""`vitascope train`, `info` and `export`: what is done with networks besides generating and measuring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import vitascope
from vitascope.cli.options import MODEL_HELP, DtypeOption, check_folder, refuse

train = typer.Typer(
    help="Train a network. To resume, run the same command again.", add_completion=False, rich_markup_mode=None
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
    from vitascope.judge.train import train as train_network

    typer.echo(train_network(config, run, overrides or []))


def info(
    model: Annotated[str, typer.Argument(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    dtype: DtypeOption = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Print a model's card: its networks, how it was trained, and what a video takes. Its weights aren't needed."""
    card = vitascope.load(model, dtype=dtype, weights=False).card(measure=True)
    if as_json:
        import json

        typer.echo(json.dumps(card, indent=2, ensure_ascii=False, default=str))
        return
    for key, value in _flat(card):
        typer.echo(f"{key}: {value}")


def export(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; one that exists is refused.")],
    model: Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    dtype: DtypeOption = "float32",
) -> None:
    """Write a model in diffusers' layout, with diffusers' classes where it has them, and print its folder."""
    check_folder(out, option="")
    if out.exists():
        refuse(f"{out} exists; name a new folder")
    from vitascope.hub.export import export_model
    from vitascope.hub.find import find_model
    from vitascope.hub.weights import torch_dtype

    for note in export_model(find_model(model), out, torch_dtype(dtype)):
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
