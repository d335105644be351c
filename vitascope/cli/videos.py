"""`vitascope generate`: from a prompt to files."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import vitascope
from vitascope.cli.options import (
    MAX_SEED,
    MODEL_HELP,
    Dtype,
    DtypeOption,
    Seed,
    check_not_negative,
    check_positive,
    check_size,
    refuse,
)
from vitascope.formats import MOVING, STILL
from vitascope.progress import progress

_MANY_FRAMES = 1e9  # more than any model makes: the pipeline refuses it and says its own limit
_MAX_VIDEOS = 10_000
_SHEET_FRAMES = 8
_SHEET_ROWS = 128  # smaller frames are enlarged to about this height


def generate(
    prompt: Annotated[str, typer.Argument(help="What the video shows, in English or Chinese.", show_default=False)],
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="First frame, to be animated.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", callback=check_size, help="Width and height in pixels.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(callback=check_positive, help="Duration; or give --frames.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Number of frames; 1 makes an image.")] = None,
    fps: Annotated[float | None, typer.Option(callback=check_positive, help="Frames per second.")] = None,
    seed: Seed = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps: more is slower and finer.")] = None,
    guidance: Annotated[
        float | None,
        typer.Option(callback=check_not_negative, help="How strictly to follow the prompt; 1 is unguided."),
    ] = None,
    negative: Annotated[str, typer.Option(metavar="TEXT", help="What the video should not show.")] = "",
    model: Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    dtype: DtypeOption = Dtype.FLOAT32,
    num_videos: Annotated[
        int, typer.Option("-n", min=1, max=_MAX_VIDEOS, help="How many videos, with seeds SEED, SEED+1, ...")
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="File or existing folder; an existing file is replaced.",
            show_default="<prompt>-<seed>.mp4",
        ),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write an image of its frames.")] = None,
) -> None:
    """Make a video, or an image, from a prompt."""
    if seconds is not None and frames is not None:
        refuse("give --seconds or --frames, not both")
    if seed + num_videos - 1 > MAX_SEED:
        refuse(f"--seed {seed} leaves no room for {num_videos} seeds")
    if image is not None and not image.is_file():
        refuse(f"--image {image}: no such file")
    if out is not None and out.suffix.lower() in STILL and not out.is_dir():
        if seconds is not None or (frames or 1) > 1:
            refuse(f"{out} is an image and holds one frame; name a video, such as {out.with_suffix('.mp4')}")
        frames = 1
    seeds = range(seed, seed + num_videos)
    paths = _output_paths(out, prompt, seeds, is_image=frames == 1)
    _check_writable([*paths, *([sheet] if sheet else [])])
    if sheet is not None and sheet.suffix.lower() not in STILL:
        refuse(f"--sheet {sheet}: name an image, one of {' '.join(STILL)}")
    if sheet in paths:
        refuse(f"--sheet {sheet} is also the output; name another file")

    pipeline = vitascope.load(model, dtype=dtype.value)
    if seconds is not None:
        frames = max(1, round(min(seconds * (fps or pipeline.config.fps), _MANY_FRAMES)))
    width, height = map(int, size.split("x")) if size else (None, None)
    videos = []
    for this_seed, path in zip(seeds, paths, strict=True):
        with progress(str(path)) as on_progress:
            video = pipeline.generate(
                prompt,
                image=image,
                height=height,
                width=width,
                num_frames=frames,
                fps=fps,
                seed=this_seed,
                num_steps=steps,
                guidance=guidance,
                negative=negative,
                on_progress=on_progress,
            )
        video.save(path)
        typer.echo(path)
        if sheet is not None:
            videos.append(video)
    if sheet is not None:
        _save_sheet(videos, sheet)
        typer.echo(sheet)


def _output_paths(out: Path | None, prompt: str, seeds: range, *, is_image: bool) -> list[Path]:
    """One path a seed. Without a file name, the prompt and the seed name it."""
    if out is None or out.is_dir():
        suffix = ".png" if is_image else ".mp4"
        return [(out or Path()) / f"{_slug(prompt)}-{seed}{suffix}" for seed in seeds]
    kinds = [*MOVING, *STILL]
    if out.suffix.lower() not in kinds:
        known = " ".join(kinds)
        refuse(f"--out {out}: name a file that ends in one of {known}, or a folder that exists")
    if len(seeds) == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{count}{out.suffix}") for count in range(1, len(seeds) + 1)]


def _slug(prompt: str, max_characters: int = 40) -> str:
    """The prompt's letters and digits in any script, words joined by hyphens."""
    text = unicodedata.normalize("NFC", prompt).lower()
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

    num_frames = min(_SHEET_FRAMES, max(video.num_frames for video in videos))
    scale = max(1, _SHEET_ROWS // videos[0].height)
    contact_sheet(videos, columns=1, frames_per_video=num_frames, scale=scale).save(path)
