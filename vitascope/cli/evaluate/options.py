"""Options and checks that the verbs of `vitascope evaluate` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitascope.cli.options import MODEL_HELP, check_folder, check_seed, refuse

if TYPE_CHECKING:
    from vitascope.evaluate.report import Report


def _check_out(out: Path | None) -> Path | None:
    """Refuse a report's folder that can't be created."""
    if out is not None:
        check_folder(out)
    return out


Model = Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)]
OptionalModel = Annotated[
    str | None, typer.Option("--model", metavar="NAME|DIR|ID", help=MODEL_HELP, show_default="playground")
]
OptionalSeed = Annotated[
    int | None,
    typer.Option("--seed", callback=check_seed, help="The same seed gives the same result.", show_default="0"),
]
Judge = Annotated[
    Path | None, typer.Option("--judge", metavar="DIR", help="Read with this judge.", show_default="the bundled one")
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="DIR", callback=_check_out, help="Write the report, JSON and a picture, here."),
]
KeptOut = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", metavar="DIR", callback=_check_out, help="Write the report here and keep videos, to resume."
    ),
]
Theirs = Annotated[
    Path | None, typer.Option("--videos", metavar="DIR", help="Measure another system's NAME.mp4 files instead.")
]
MODEL_ONLY = "is for a model; the given videos exist already"


def given_computing(device: str, dtype: str) -> dict[str, str | None]:
    """The options of computing that were given; None at their defaults."""
    return {option: None if value == "auto" else value for option, value in (("--device", device), ("--dtype", dtype))}


def check_exists(path: Path, option: str = "", *, folder: bool = False) -> None:
    """Refuse a missing file or folder."""
    if not (path.is_dir() if folder else path.exists()):
        refuse(f"{option} {path}: no such {'folder' if folder else 'file or folder'}".strip())


def show_report(report: Report, out: Path | None) -> None:
    """Print a report's table; with a folder, also write the report and print the folder."""
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)
