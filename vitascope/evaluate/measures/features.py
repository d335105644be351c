"""Features of videos. A distance is always reported with its feature's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Float

from vitascope.judge.network import Judge
from vitascope.video import Video
from vitascope.video.pixels import resized

CELLS = 4  # cells per side of the grid
FPS = 8.0  # frame rate for measuring changes
ROWS = 64  # shorter side in pixels for measuring changes
Vector = Float[np.ndarray, " d"]


class Feature(NamedTuple):
    """A feature: its name, a description, and its function of a video of two or more frames."""

    name: str
    description: str
    of: Callable[[Video], Vector]


COLOURS = Feature(
    "colours", f"mean colour of each of {CELLS} x {CELLS} cells over the clip, percent", lambda video: colours(video)
)
CHANGES = Feature(
    "changes",
    f"mean change of the pixels of each of {CELLS} x {CELLS} cells in an eighth of a second, percent",
    lambda video: changes(video),
)


def trunk(judge: Judge) -> Feature:
    """Features of a judge's video encoder; comparable only for the same judge."""
    return Feature(
        "trunk", "mean over the tokens of the judge's video encoder", lambda video: judge.trunk(video).numpy(force=True)
    )


def colours(video: Video) -> Vector:
    """Mean red, green and blue of each cell, 0 to 100."""
    return _of_cells(video.frames.mean(axis=0)) * (100 / 255)


def changes(video: Video) -> Vector:
    """Mean absolute change per step of red, green and blue of each cell's pixels, 0 to 100.

    Videos are sampled at about 8 frames per second and resized to at most 64 pixels on the shorter side, because pixels
    of larger pictures change more.
    """
    frames = video.frames[:: max(1, round(float(video.fps) / FPS))]
    frames = frames if len(frames) > 1 else video.frames
    scale = min(1.0, ROWS / min(video.height, video.width))
    small = resized(frames, round(video.height * scale), round(video.width * scale))
    return _of_cells(np.abs(np.diff(small.astype(np.float32), axis=0)).mean(axis=0)) * (100 / 255)


def _of_cells(picture: Float[np.ndarray, "h w c"]) -> Vector:
    """The mean of each cell of a picture."""
    rows, columns = (np.linspace(0, side, CELLS + 1).astype(int) for side in picture.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(picture, rows[:-1], axis=0), columns[:-1], axis=1)
    areas = rearrange(np.diff(rows), "h -> h 1 1") * rearrange(np.diff(columns), "w -> w 1")
    return rearrange(sums / areas, "h w c -> (h w c)").astype(np.float64)
