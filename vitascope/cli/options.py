"""What the verbs' options share: their types, their help, and the checks made before anything is loaded."""

from __future__ import annotations

import enum
import math
import os
import re
from pathlib import Path
from typing import Annotated, NoReturn

import typer

MAX_SEED = 2**63 - 1
MODEL_HELP = "A bundled model, a model's folder, or a Hugging Face id (owner/name), which is downloaded."

Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same result.")]


class Dtype(enum.StrEnum):
    """What the transformer's weights are held in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Of the transformer; bfloat16 halves its memory.")]


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


def check_size(value: str | None) -> str | None:
    """Refuse what is not WIDTHxHEIGHT."""
    if value is not None and not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", value, re.ASCII):
        raise typer.BadParameter(f"{value!r} is not WIDTHxHEIGHT in pixels, such as 128x96.")
    return value


def check_sizes(values: list[str] | None) -> list[str] | None:
    """Refuse a list in which one is not WIDTHxHEIGHT."""
    for value in values or []:
        check_size(value)
    return values


def check_folder(out: Path) -> None:
    """Refuse a folder that can't be made or written to."""
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        refuse(f"--out {out}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK):
        refuse(f"--out {out}: the folder {nearest} can't be written to")
