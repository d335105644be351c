"""`vitascope train`: codec, transformer and judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vitascope.cli.options import check_folder

train = typer.Typer(
    help="Train a network. To resume, run the same command again.", add_completion=False, rich_markup_mode=None
)

CODEC_CONFIGS = ("playground-codec", "tiny-codec")
TRANSFORMER_CONFIGS = ("playground-transformer", "tiny-transformer")
JUDGE_CONFIGS = ("judge", "tiny-judge")


def _config_argument(names: tuple[str, ...]) -> Any:
    text = f"Read settings from a TOML file or a bundled config: {', '.join(names)}."
    return typer.Argument(metavar="CONFIG", help=text, show_default=False)


CodecConfigFile = Annotated[Path, _config_argument(CODEC_CONFIGS)]
TransformerConfigFile = Annotated[Path, _config_argument(TRANSFORMER_CONFIGS)]
JudgeConfigFile = Annotated[Path, _config_argument(JUDGE_CONFIGS)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Change settings, for example steps=500 codec.base_width=64.", show_default=False
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="RUN", help="Write the run to this folder.", show_default="runs/<config name>"),
]
DeviceName = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Train on auto, cpu, cuda, cuda:N or mps; auto prefers a GPU.",
        show_default="the config's",
    ),
]


@train.command("codec")
def train_codec(
    config: CodecConfigFile, overrides: Overrides = None, out: RunFolder = None, device: DeviceName = None
) -> None:
    """Train the video compression network and print its folder."""
    run = _run_folder(out, config)
    from vitascope.train.codec import train as train_network

    typer.echo(train_network(config, run, _overrides(overrides, device)))


@train.command("transformer")
def train_transformer(
    config: TransformerConfigFile, overrides: Overrides = None, out: RunFolder = None, device: DeviceName = None
) -> None:
    """Train the diffusion transformer and print the model's folder. Generate from it at any checkpoint."""
    run = _run_folder(out, config)
    from vitascope.train.transformer import train as train_network

    typer.echo(train_network(config, run, _overrides(overrides, device)))


@train.command("judge")
def train_judge(
    config: JudgeConfigFile, overrides: Overrides = None, out: RunFolder = None, device: DeviceName = None
) -> None:
    """Train the network that reads attributes off videos and captions them, and print its folder."""
    run = _run_folder(out, config)
    from vitascope.judge.train import train as train_network

    typer.echo(train_network(config, run, _overrides(overrides, device)))


def _overrides(overrides: list[str] | None, device: str | None) -> list[str]:
    return [*(overrides or []), *([] if device is None else [f"device={device}"])]


def _run_folder(out: Path | None, config: Path) -> Path:
    run = out or Path("runs") / config.stem
    check_folder(run)
    return run
