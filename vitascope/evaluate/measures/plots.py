"""Plots as pictures: bars against a limit, a curve within bounds, and several curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vitascope.video import IMAGE_FPS, Video

BAR, LIMIT, ABSENT = (70, 110, 170), (200, 40, 40), (230, 230, 230)


def bars(values: Sequence[float], limit: float, height: int, width: int) -> Video:
    """A picture of values in ascending order, with the limit as a red line; grey if there are none."""
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
    """A picture of values from left to right, clipped to `low` at the bottom and `high` at the top."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[[0, height // 2, height - 1]] = ABSENT
    shares = (np.clip(values, low, high) - low) / (high - low)
    rows = ((1 - shares) * (height - 3)).round().astype(int)[np.arange(width) * len(values) // width]
    for column, pair in enumerate(zip(np.concatenate([rows[:1], rows]), rows, strict=False)):
        picture[min(pair) : max(pair) + 3, column] = BAR  # joined to the column before, so that steps show as lines
    return Video(picture[None], IMAGE_FPS)


def curves(
    lines: Sequence[Float[np.ndarray, " t"]], colours: Sequence[tuple[int, int, int]], height: int, width: int
) -> Video:
    """A picture of lines from left to right, from 0 at the bottom to just above the largest value."""
    picture = np.full((height, width, 3), 255, np.uint8)
    most = 1.1 * max(1e-9, *(float(values.max()) for values in lines))
    rows = np.arange(height)[::-1, None]
    for values, colour in zip(lines, colours, strict=True):
        places = np.linspace(0, len(values) - 1, width + 1)
        ways = np.interp(places, np.arange(len(values)), values) / most * (height - 1)
        low, high = np.minimum(ways[:-1], ways[1:]), np.maximum(ways[:-1], ways[1:])
        picture[(rows >= np.floor(low)) & (rows <= np.ceil(high))] = colour
    return Video(picture[None], IMAGE_FPS)
