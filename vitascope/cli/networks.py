"""`vitascope train`: the training of each network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitascope.cli.options import check_folder

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


def _run_folder(out: Path | None, config: Path) -> Path:
    run = out or Path("runs") / config.stem
    check_folder(run)
    return run
