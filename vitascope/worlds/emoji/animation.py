"""Animations of emoji, decoded from animated WebP."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vitascope.errors import MediaError, reason

DECODED = 6  # cached animations, about 20 MB each
DEFAULT_MILLISECONDS = 42  # per frame: 24 frames per second


@dataclass(frozen=True)
class Picture:
    """One frame of an animation in premultiplied RGBA (Pillow's RGBa), with the extent of its visible pixels.

    `centre` is the (row, column) centroid of the opacity; `box` is top, left, bottom and right. `footing` is the middle
    column and half-width of the lowest part, above the shadow.
    """

    image: Any
    centre: tuple[float, float]
    box: tuple[int, int, int, int]
    footing: tuple[float, float]


@dataclass(frozen=True)
class Animation:
    """Frames and the end time of each in seconds; `box` encloses the visible pixels of all frames."""

    pictures: tuple[Picture, ...]
    ends: tuple[float, ...]
    box: tuple[int, int, int, int]

    def at(self, seconds: float) -> Picture:
        """Frame at a time; the animation loops."""
        index = int(np.searchsorted(self.ends, seconds % self.ends[-1], side="right"))
        return self.pictures[min(index, len(self.pictures) - 1)]


@lru_cache(maxsize=DECODED)
def read_animation(path: Path) -> Animation:
    """Decoded animation of an emoji. Pillow decodes it, because FFmpeg reads animated WebP only from version 8.1.

    Raises:
        MediaError: the file can't be decoded, or every frame is transparent.
    """
    from PIL import Image, UnidentifiedImageError

    pictures, ends, elapsed = [], [], 0.0
    try:
        with Image.open(path) as file:
            for index in range(getattr(file, "n_frames", 1)):
                file.seek(index)
                picture = _picture(file.convert("RGBA"), pictures[-1] if pictures else None)
                elapsed += (file.info.get("duration") or DEFAULT_MILLISECONDS) / 1000
                if picture is not None:
                    pictures.append(picture)
                    ends.append(elapsed)
    except (OSError, EOFError, ValueError, UnidentifiedImageError) as error:
        raise MediaError(f"{path} can't be decoded: {reason(error)}; unpack the packages again") from None
    if not pictures:
        raise MediaError(f"{path} has only transparent frames; unpack the packages again")
    boxes = np.array([picture.box for picture in pictures])
    top, left = boxes[:, :2].min(axis=0)
    bottom, right = boxes[:, 2:].max(axis=0)
    return Animation(tuple(pictures), tuple(ends), (int(top), int(left), int(bottom), int(right)))


def _picture(rgba: Any, before: Picture | None) -> Picture | None:
    """A frame with its extent; a transparent frame repeats the one `before` it."""
    alpha = np.asarray(rgba)[..., 3].astype(np.float32)
    rows, columns = (np.flatnonzero(alpha.max(axis=axis) > 24) for axis in (1, 0))
    if not rows.size:
        return before
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    weight = alpha.sum()
    centre = (
        float((alpha.sum(axis=1) * (np.arange(alpha.shape[0]) + 0.5)).sum() / weight),
        float((alpha.sum(axis=0) * (np.arange(alpha.shape[1]) + 0.5)).sum() / weight),
    )
    lowest = alpha[box[2] - max(1, (box[2] - box[0]) // 6) : box[2]].max(axis=0)
    feet = np.flatnonzero(lowest > 24)
    footing = (0.5 * float(feet[0] + feet[-1] + 1), 0.5 * float(feet[-1] + 1 - feet[0]))
    return Picture(rgba.convert("RGBa"), centre, box, footing)
