"""Where the verbs' videos go: names, checks made before the work, and files written as the frames are made."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

import vitascope
from vitascope.cli.options import MAX_SEED, refuse
from vitascope.progress import progress
from vitascope.video.formats import MOVING, STILL, partial_path

if TYPE_CHECKING:
    import numpy as np

    from vitascope.generate.pipeline import Pipeline
    from vitascope.generate.timeline import Timeline

_SHEET_FRAMES = 8
_SHEET_ROWS = 128  # smaller frames are enlarged to about this height


class Terminated(BaseException):
    """SIGTERM, as an exception, so that files being written are cleaned up, or finished, on the way out."""


@dataclass(frozen=True)
class Outputs:
    """A file for each seed, and perhaps an image that shows frames of all of them."""

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
    """The files, after finding out that they can be written; `name` is for those that are given none.

    None of them may be one of the inputs: an interrupt would leave the user with a piece of it.
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
            refuse(f"--out {path} is also what is given; name another file")
    if sheet in paths:
        refuse(f"--sheet {sheet} is also the output; name another file")
    return Outputs(paths, seeds, sheet)


def write_videos(
    pipeline: Pipeline,
    timeline: Timeline,
    outputs: Outputs,
    *,
    steps: int | None,
    guidance: float | None,
    negative: str,
) -> None:
    """A video of the timeline for each seed, and the sheet; each path is printed when its file is there."""
    from vitascope.generate.pipeline import Sampling

    shown: list[vitascope.Video] = []
    for seed, path in zip(outputs.seeds, outputs.paths, strict=True):
        with progress(str(path)) as on_progress:
            frames = pipeline.stream(timeline, Sampling(seed, steps, guidance, negative), on_progress)
            video = _write(frames, timeline, path, num_given=pipeline.lattice.num_given_first(timeline))
        typer.echo(path)
        if outputs.sheet is not None:
            shown.append(video)
    if outputs.sheet is not None:
        _save_sheet(shown, outputs.sheet)
        typer.echo(outputs.sheet)


def _write(frames: Iterable[np.ndarray], timeline: Timeline, path: Path, num_given: int) -> vitascope.Video:
    """Write frames as they come, and return a few of them. An interrupt leaves a file of those that are there.

    But none if they are the given ones alone: nothing was made that isn't there already. A kill leaves them, too, in
    `partial_path(path)`.
    """
    import numpy as np

    from vitascope.video import GrowingVideo, Video, VideoWriter

    num_sampled = min(_SHEET_FRAMES, timeline.num_frames)
    wanted = set(np.linspace(0, timeline.num_frames - 1, num_sampled).round().astype(int).tolist())
    sampled: list[np.ndarray] = []
    if path.suffix.lower() in STILL:
        picture = Video(np.concatenate(list(frames)), timeline.fps)
        picture.save(path)
        return picture
    interruption: BaseException | None = None
    form = (path, timeline.fps, timeline.height, timeline.width)
    with GrowingVideo(*form) as growing, VideoWriter(*form) as writer:
        stored = writer.stored_size
        if stored != (timeline.height, timeline.width):
            made = f"{timeline.width}x{timeline.height}"
            print(
                f"{path}: {made} is stored as {stored[1]}x{stored[0]}, because H.264 needs even sides", file=sys.stderr
            )
        try:
            for chunk in frames:
                growing.write(chunk)
                sampled += [frame for index, frame in enumerate(chunk, start=writer.num_frames) if index in wanted]
                writer.write(chunk)
        except (KeyboardInterrupt, Terminated) as stop:
            if writer.num_frames <= num_given:
                raise
            interruption = stop
    if interruption is not None:
        print(f"{path}: the first {writer.num_frames / timeline.fps:.1f} seconds", file=sys.stderr)
        raise interruption
    return Video(np.stack(sampled), timeline.fps)


def _output_paths(out: Path | None, name: str, seeds: range, *, is_image: bool) -> list[Path]:
    """One path a seed. Without a file name, `name` and the seed make one. Only a file that `out` names may exist."""
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
    """The path with a number appended, from `first` on, those left out that exist."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(first))
    return (each for each in numbered if not os.path.lexists(each))


def slug(name: str, max_characters: int = 40) -> str:
    """The name's letters and digits in any script, words joined by hyphens."""
    text = unicodedata.normalize("NFC", name).lower()
    words = "".join(mark if unicodedata.category(mark)[0] in "LMN" else " " for mark in text).split()
    return "-".join(words)[:max_characters].strip("-") or "video"


def _check_writable(paths: Sequence[Path]) -> None:
    """Find out before the work, not after it."""
    for path in paths:
        if path.is_dir():
            refuse(f"{path} is a folder; name a file")
        if not path.parent.is_dir():
            refuse(f"no folder {path.parent}; make it first")
        if not os.access(path.parent, os.W_OK):
            refuse(f"the folder {path.parent} can't be written to")


def _save_sheet(videos: Sequence[vitascope.Video], path: Path) -> None:
    from vitascope.video import contact_sheet

    num_frames = max(video.num_frames for video in videos)
    scale = max(1, _SHEET_ROWS // videos[0].height)
    contact_sheet(videos, columns=1, frames_per_video=num_frames, scale=scale).save(path)
