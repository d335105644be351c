"""`vitascope info` and `export`: a model's card, and a model as a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import vitascope
from vitascope.cli.options import MODEL_HELP, DtypeOption, check_folder, refuse


def info(
    model: Annotated[str, typer.Argument(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    dtype: DtypeOption = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Print a model's card: its networks, how it was trained, and what a video takes. Its weights aren't needed."""
    card = vitascope.load(model, dtype=dtype, weights=False).card()
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
    """Write a model's folder, with diffusers' classes where it has them. Print how to load it, and the folder."""
    check_folder(out, option="")
    if out.exists():
        refuse(f"{out} exists; name a new folder")
    from vitascope.hub.export import export_model, how_to_load
    from vitascope.hub.find import find_model
    from vitascope.hub.weights import torch_dtype

    for note in export_model(find_model(model), out, torch_dtype(dtype)):
        typer.echo(note, err=True)
    typer.echo(how_to_load(out), err=True)
    typer.echo(out)


def _flat(card: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in card.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
