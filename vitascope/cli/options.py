"""What the verbs' options share: their types, their help, and the checks made before anything is loaded."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from vitascope.types import Dtype, Precision

MAX_SEED = 2**63 - 1
MAX_VIDEOS = 10_000
MODEL_HELP = "A bundled model, a model's folder, or a Hugging Face id (owner/name), which is downloaded."
PRECISION_HELP = (
    "bfloat16 halves the transformer's memory; int8 computes in 8 bits: CPUs only, faster, a little rougher."
)

DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Of the transformer; bfloat16 halves its memory.")]
PrecisionOption = Annotated[Precision, typer.Option("--dtype", help=PRECISION_HELP)]
GeneratorDtype = Annotated[
    Precision | None,
    typer.Option("--dtype", help=PRECISION_HELP, show_default="float32"),
]


def refuse(message: str) -> NoReturn:
    """End the command with one line about what the user gave it."""
    raise typer.BadParameter(message)


def check_positive(value: float | None) -> float | None:
    """Refuse what is not a positive number."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value} is not a positive number.")
    return value


def check_not_negative(value: float | None) -> float | None:
    """Refuse what is neither zero nor a positive number."""
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{value} is not zero or a positive number.")
    return value


def check_size_text(value: str | None) -> str | None:
    """Refuse what is not WIDTHxHEIGHT."""
    if value is not None and not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", value, re.ASCII):
        raise typer.BadParameter(f"{value!r} is not WIDTHxHEIGHT in pixels, such as 128x96.")
    return value


def sides(size: str | None) -> tuple[int, int] | tuple[None, None]:
    """(height, width) of WIDTHxHEIGHT."""
    if size is None:
        return None, None
    width, height = map(int, size.split("x"))
    return height, width


def check_file(path: Path, option: str = "") -> None:
    """Refuse what is not a file."""
    if not path.is_file():
        refuse(f"{option} {path}: no such file".strip())


def check_size_texts(values: list[str] | None) -> list[str] | None:
    """Refuse a list in which one is not WIDTHxHEIGHT."""
    for value in values or []:
        check_size_text(value)
    return values


def check_folder(out: Path, option: str = "--out") -> None:
    """Refuse a folder that can't be made or written to."""
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    named = f"{option} {out}".strip()
    if not nearest.is_dir():
        refuse(f"{named}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK):
        refuse(f"{named}: the folder {nearest} can't be written to")


def refuse_unused(options: Mapping[str, object], reason: str) -> None:
    """Refuse options, by their names, that were given although nothing would come of them; None is not given."""
    for option, value in options.items():
        if value is not None:
            refuse(f"{option} {reason}")


Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same result.")]
OptionalPrompt = Annotated[str, typer.Argument(help="What happens, in English or Chinese.", show_default=False)]
Size = Annotated[str | None, typer.Option(metavar="WxH", callback=check_size_text, help="Width and height in pixels.")]
Rate = Annotated[float | None, typer.Option(callback=check_positive, help="Frames per second.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Sampling steps: more is slower and finer.")]
Guidance = Annotated[
    float | None,
    typer.Option(callback=check_not_negative, help="How strictly to follow the prompt; 1 is unguided."),
]
Negative = Annotated[str, typer.Option(metavar="TEXT", help="What the video should not show.")]
Model = Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)]
NumVideos = Annotated[
    int, typer.Option("-n", min=1, max=MAX_VIDEOS, help="How many videos, with seeds SEED, SEED+1, ...")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--out",
        help="File or existing folder; an existing file is replaced. Until it is finished, FILE.partial.mp4 plays.",
        show_default="a new file: <name>-<seed>.mp4",
    ),
]
Sheet = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write an image of its frames.")]
