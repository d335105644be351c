"""What reports are made of: the clips to measure, intervals of confidence, bars, and the two files that are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitascope.data.clips import list_clips
from vitascope.files import write_text
from vitascope.video import IMAGE_FPS, Video, read_video, write_video
from vitascope.video.formats import MOVING

BAR, LIMIT, ABSENT = (70, 110, 170), (200, 40, 40), (230, 230, 230)
NUM_RESAMPLED = 2000


def list_media(source: Path) -> list[tuple[str, Callable[..., Video]]]:
    """The name of each video in a file, a folder of video files or a dataset's folder, and how to read it.

    Raises:
        DatasetError: a folder with neither.
    """
    if not source.is_dir():
        return [(source.name, partial(read_video, source))]
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in MOVING and path.is_file())
    if files:
        return [(path.name, partial(read_video, path)) for path in files]
    return [(clip.member.name if clip.member else clip.path.name, clip.read) for clip in list_clips(source)]


def confidence(
    values: Float[np.ndarray, " n"], counts: Float[np.ndarray, " n"] | None = None, seed: int = 0, share: float = 0.95
) -> tuple[float, float]:
    """The interval that holds the mean, by drawing the clips anew with replacement; NaN without values.

    With `counts`, a clip's value is a sum of so many, which hang together: the mean is that of all of them.
    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (the percentile interval).
    """
    counts = np.ones(len(values)) if counts is None else counts
    if counts.sum() == 0:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(len(values), size=(NUM_RESAMPLED, len(values)))
    sums, nums = values[drawn].sum(axis=1), counts[drawn].sum(axis=1)
    low, high = np.percentile(sums[nums > 0] / nums[nums > 0], [50 * (1 - share), 50 * (1 + share)])
    return float(low), float(high)


def bars(values: Sequence[float], limit: float, height: int, width: int) -> Video:
    """A picture of values in ascending order, and of the limit as a red line; grey where there are none."""
    ordered = np.sort([value for value in values if not np.isnan(value)])
    picture = np.full((height, width, 3), 255, np.uint8)
    if len(ordered) == 0:
        picture[:] = ABSENT
        return Video(picture[None], IMAGE_FPS)
    most = 1.1 * max(float(ordered[-1]), limit, 1e-9)
    tall = np.clip(ordered, 0, most)[np.arange(width) * len(ordered) // width] / most * height
    picture[np.arange(height)[::-1, None] < tall] = BAR
    line = height - 1 - int(limit / most * (height - 1))
    picture[max(0, line - 1) : line + 1] = LIMIT
    return Video(picture[None], IMAGE_FPS)


def curve(values: Sequence[float], low: float, high: float, height: int, width: int) -> Video:
    """A picture of values from left to right, `low` at the bottom and `high` at the top; beyond these they are cut."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[[0, height // 2, height - 1]] = ABSENT
    shares = (np.clip(values, low, high) - low) / (high - low)
    rows = ((1 - shares) * (height - 3)).round().astype(int)[np.arange(width) * len(values) // width]
    for column, pair in enumerate(zip(np.concatenate([rows[:1], rows]), rows, strict=False)):
        picture[min(pair) : max(pair) + 3, column] = BAR  # from the last one's height, so that a step is a line
    return Video(picture[None], IMAGE_FPS)


def or_none(value: Any) -> Any:
    """A value as JSON has it, which knows neither NaN nor infinity."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def curves(
    lines: Sequence[Float[np.ndarray, " t"]], colours: Sequence[tuple[int, int, int]], height: int, width: int
) -> Video:
    """A picture of lines from the first value to the last, from 0 at the bottom to just above the largest of all."""
    picture = np.full((height, width, 3), 255, np.uint8)
    most = 1.1 * max(1e-9, *(float(values.max()) for values in lines))
    rows = np.arange(height)[::-1, None]
    for values, colour in zip(lines, colours, strict=True):
        places = np.linspace(0, len(values) - 1, width + 1)
        ways = np.interp(places, np.arange(len(values)), values) / most * (height - 1)
        low, high = np.minimum(ways[:-1], ways[1:]), np.maximum(ways[:-1], ways[1:])
        picture[(rows >= np.floor(low)) & (rows <= np.ceil(high))] = colour
    return Video(picture[None], IMAGE_FPS)


def write_report(out: Path, name: str, tree: dict[str, Any], sheet: Video) -> None:
    """Write NAME.json and NAME.png into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / f"{name}.json", json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
    write_video(sheet, out / f"{name}.png")
