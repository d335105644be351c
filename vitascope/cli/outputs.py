"""Output files of the verbs: names, checks before any work, and writing of videos."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

import vitascope
from vitascope.cli.options import MAX_SEED, refuse
from vitascope.errors import reason
from vitascope.files import remove_leftovers
from vitascope.progress import progress
from vitascope.video.formats import MOVING, STILL, partial_path

if TYPE_CHECKING:
    from vitascope.generate.pipeline import Pipeline
    from vitascope.generate.requests import Request

_SHEET_ROWS = 128  # pixels; smaller frames are enlarged to about this height


@dataclass(frozen=True)
class Outputs:
    """One file per seed, and optionally an image with frames of all of them."""

    paths: list[Path]
    seeds: range
    sheet: Path | None


def plan_outputs(
    out: Path | None,
    name: str,
    seed: int,
    num_videos: int,
    sheet: Path | None,
    *,
    is_image: bool,
    inputs: Sequence[Path] = (),
) -> Outputs:
    """The output files, after checking that they can be written; without --out, `name` gives their names.

    An output that is also an input is refused: an interrupt would leave only part of the input.
    """
    if seed + num_videos - 1 > MAX_SEED:
        refuse(f"--seed {seed} leaves no room for {num_videos} seeds")
    seeds = range(seed, seed + num_videos)
    paths = _output_paths(out, name, seeds, is_image=is_image)
    _check_writable([*paths, *([sheet] if sheet else [])])
    if sheet is not None and sheet.suffix.lower() not in STILL:
        refuse(f"--sheet {sheet}: name an image, one of {' '.join(STILL)}")
    growing = [partial_path(path) for path in paths if path.suffix.lower() in MOVING]
    for path in [*paths, *([sheet] if sheet else []), *growing]:
        if path.exists() and any(path.samefile(given) for given in inputs if given.exists()):
            refuse(f"--out {path} is also an input; name another file")
    if sheet in paths:
        refuse(f"--sheet {sheet} is also the output; name another file")
    return Outputs(paths, seeds, sheet)


def write_videos(pipeline: Pipeline, request: Request, outputs: Outputs) -> None:
    """Write a video of the request for each seed, and the sheet; print each path once its file exists."""
    from vitascope.generate.recording import record

    shown: list[vitascope.Video] = []
    timeline = pipeline.plan(request)
    for seed, path in zip(outputs.seeds, outputs.paths, strict=True):
        seeded = request.replaced(seed=seed)
        with progress(str(path)) as on_progress:
            sampled = record(pipeline, seeded, path, timeline=timeline, on_progress=on_progress)
        typer.echo(path)
        if outputs.sheet is not None:
            shown.append(sampled)
    if outputs.sheet is not None:
        _save_sheet(shown, outputs.sheet)
        typer.echo(outputs.sheet)


def _output_paths(out: Path | None, name: str, seeds: range, *, is_image: bool) -> list[Path]:
    """One path per seed, from `name` and the seed unless `out` is a file. Only a file named by `out` may exist."""
    if out is not None:
        _check_name(out)
    if out is None or out.is_dir():
        suffix = ".png" if is_image else ".mp4"
        paths = [(out or Path()) / f"{slug(name)}-{seed}{suffix}" for seed in seeds]
        return [next(_new_names(path, first=2)) if os.path.lexists(path) else path for path in paths]
    kinds = [*MOVING, *STILL]
    if out.suffix.lower() not in kinds:
        known = " ".join(kinds)
        refuse(f"--out {out}: name a file that ends in one of {known}, or a folder that exists")
    if out.suffix.lower() in STILL and not is_image:
        refuse(f"{out} is an image and holds one frame; name a video, such as {out.with_suffix('.mp4')}")
    if len(seeds) == 1:
        return [out]
    return list(islice(_new_names(out, first=1), len(seeds)))


def _new_names(path: Path, first: int) -> Iterator[Path]:
    """The path with numbers appended, from `first` on, without those that exist."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(first))
    return (each for each in numbered if not os.path.lexists(each))


def slug(name: str, max_characters: int = 40) -> str:
    """The name's letters and digits in any script, words joined by hyphens."""
    text = unicodedata.normalize("NFC", name).lower()
    words = "".join(mark if unicodedata.category(mark)[0] in "LMN" else " " for mark in text).split()
    return "-".join(words)[:max_characters].strip("-") or "video"


def _check_name(path: Path) -> None:
    """Refuse a name that no file can have, such as an overlong one."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        refuse(f"{path} can't be written: {reason(error)}; name another file")


def _check_writable(paths: Sequence[Path]) -> None:
    """Refuse paths that can't be written, before the work; remove what killed commands left next to them."""
    for path in paths:
        _check_name(path)
        if path.is_dir():
            refuse(f"{path} is a folder; name a file")
        if not path.parent.is_dir():
            refuse(f"no folder {path.parent}; make it first")
        if not os.access(path.parent, os.W_OK):
            refuse(f"the folder {path.parent} can't be written to")
    for folder in {path.parent for path in paths}:
        remove_leftovers(folder)


def _save_sheet(videos: Sequence[vitascope.Video], path: Path) -> None:
    from vitascope.video import contact_sheet

    num_frames = max(video.num_frames for video in videos)
    scale = max(1, _SHEET_ROWS // videos[0].height)
    contact_sheet(videos, columns=1, frames_per_video=num_frames, scale=scale).save(path)
