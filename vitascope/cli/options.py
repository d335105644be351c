"""Options that several verbs share: types, help texts, and checks that need no model."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_type_hints

import typer

from vitascope.types import MAX_SEED, MAX_SHIFT, Dtype, DtypeChoice

MAX_VIDEOS = 10_000
MODEL_HELP = "Use a bundled model, a model's or run's folder, or a Hugging Face id (owner/name), which is downloaded."
PRECISION_HELP = (
    "Compute the transformer in this format. auto: bfloat16 on a GPU and on CPUs with AMX, else float32. "
    "int8: CPUs only, faster, slightly less accurate."
)

DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Store the transformer in this format.")]
PrecisionOption = Annotated[DtypeChoice, typer.Option("--dtype", help=PRECISION_HELP)]
GeneratorDtype = Annotated[
    DtypeChoice | None,
    typer.Option("--dtype", help=PRECISION_HELP, show_default="auto"),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="Compute on this device; auto takes a GPU if there is one.",
    ),
]


def refuse(message: str) -> NoReturn:
    """End the command with one line about a wrong value."""
    raise typer.BadParameter(message)


def check_positive(value: float | None) -> float | None:
    """Refuse anything but a positive number."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value} is not a positive number.")
    return value


def check_not_negative(value: float | None) -> float | None:
    """Refuse negative numbers and non-numbers."""
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{value} is not zero or a positive number.")
    return value


def check_solver(value: str | None) -> str | None:
    """Refuse a name that is not a solver's."""
    from vitascope.generate.sampler import SOLVERS

    if value is not None and value not in SOLVERS:
        raise typer.BadParameter(f"{value!r} is no solver; give one of {', '.join(SOLVERS)}.")
    return value


def check_shift(value: float | None) -> float | None:
    """Refuse numbers outside the range of shifts."""
    if value is not None and not 0 < value <= MAX_SHIFT:
        raise typer.BadParameter(f"{value} is not a number above 0 and up to {MAX_SHIFT:g}.")
    return value


def check_seed(value: int | None) -> int | None:
    """Refuse seeds that a generator can't take."""
    if value is not None and not 0 <= value <= MAX_SEED:
        raise typer.BadParameter(f"{value} is not a seed; give a whole number from 0 to 2^63 - 1.")
    return value


def check_size_text(value: str | None) -> str | None:
    """Refuse anything but WIDTHxHEIGHT."""
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
    """Refuse a path that is not a file."""
    if not path.is_file():
        refuse(f"{option} {path}: no such file".strip())


def check_size_texts(values: list[str] | None) -> list[str] | None:
    """Refuse a list with an item that is not WIDTHxHEIGHT."""
    for value in values or []:
        check_size_text(value)
    return values


def check_folder(out: Path, option: str = "--out") -> None:
    """Refuse a folder that can't be created or written to."""
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    named = f"{option} {out}".strip()
    if not nearest.is_dir():
        refuse(f"{named}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK):
        refuse(f"{named}: the folder {nearest} can't be written to")


def refuse_unused(options: Mapping[str, object], reason: str) -> None:
    """Refuse options that were set but would have no effect, by name; None means not set."""
    for option, value in options.items():
        if value is not None:
            refuse(f"{option} {reason}")


Seed = Annotated[int, typer.Option(callback=check_seed, help="Set the seed; the same seed gives the same result.")]
OptionalPrompt = Annotated[str, typer.Argument(help="Describe the video, in English or Chinese.", show_default=False)]
Size = Annotated[
    str | None, typer.Option(metavar="WxH", callback=check_size_text, help="Set width and height, in pixels.")
]
Rate = Annotated[float | None, typer.Option(callback=check_positive, help="Set frames per second.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Set the sampling steps; more is slower and finer.")]
Guidance = Annotated[
    float | None,
    typer.Option(callback=check_not_negative, help="Set the guidance scale; 1 turns guidance off."),
]
SolverName = Annotated[
    str | None,
    typer.Option(
        "--solver",
        metavar="NAME",
        callback=check_solver,
        help="Use this solver, such as unipc; a wrong name lists all.",
    ),
]
Shift = Annotated[
    float | None,
    typer.Option("--shift", callback=check_shift, help="Shift noise levels; more spends more steps in the noise."),
]
Negative = Annotated[str, typer.Option(metavar="TEXT", help="Describe what the video should not show.")]
Model = Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)]
NumVideos = Annotated[
    int, typer.Option("-n", min=1, max=MAX_VIDEOS, help="Generate this many videos, with seeds SEED, SEED+1, ...")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--out",
        help="Write this file, or into this existing folder; an existing file is replaced. Meanwhile FILE.partial.mp4 "
        "plays.",
        show_default="a new file: <name>-<seed>.mp4",
    ),
]
Sheet = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write an image of its frames.")]


@dataclass(frozen=True)
class Common:
    """Options of every verb that generates."""

    size: Size = None
    fps: Rate = None
    seed: Annotated[
        int | None,
        typer.Option(callback=check_seed, help="Set the seed; the same seed gives the same video.", show_default="0"),
    ] = None
    steps: Steps = None
    guidance: Guidance = None
    negative: Annotated[str | None, typer.Option(metavar="TEXT", help="Describe what the video should not show.")] = (
        None
    )
    solver: SolverName = None
    shift: Shift = None
    model: Model = "playground"
    device: Device = "auto"
    dtype: PrecisionOption = "auto"
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the transformer first: slower to start, faster per step.")
    ] = False
    offload: Annotated[
        bool, typer.Option("--offload", help="Keep only the network in use on the device, for models larger than it.")
    ] = False
    num_videos: NumVideos = 1
    out: Out = None
    sheet: Sheet = None
    dump_request: Annotated[
        bool, typer.Option("--dump-request", help="Print the request as JSON for `vitascope run`, and exit.")
    ] = False

    def fields(self) -> dict[str, Any]:
        """The options set by the user that are fields of every request, by field name."""
        height, width = sides(self.size)
        fields = {
            "height": height,
            "width": width,
            "fps": self.fps,
            "seed": self.seed,
            "num_steps": self.steps,
            "guidance": self.guidance,
            "negative": self.negative,
            "solver": self.solver,
            "shift": self.shift,
        }
        return {name: value for name, value in fields.items() if value is not None}


def with_common_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with the options of `Common` added to its own; it receives them as one argument, `common`."""
    hints, shared = (get_type_hints(each, include_extras=True) for each in (verb, Common))
    own = [each for each in signature(verb).parameters.values() if each.name != "common"]
    added = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=shared[field.name])
        for field in fields(Common)
    ]

    @wraps(verb)
    def command(**given: Any) -> None:
        common = Common(**{field.name: given.pop(field.name) for field in fields(Common)})
        verb(**given, common=common)

    parameters = [*(each.replace(annotation=hints[each.name]) for each in own), *added]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
