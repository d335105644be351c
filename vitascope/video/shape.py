"""Sizes, lengths and rates of videos, and the limits for generating them."""

from __future__ import annotations

import math
from typing import NamedTuple

from vitascope.errors import SizeError

MIN_SIDE, MAX_SIDE = 16, 4096
MAX_FRAMES = 30 * 60 * 10
MAX_VIDEO_PIXELS = 2**32  # one minute of 1920x1080 at 30 frames per second; 12 GiB as uint8


class FrameShape(NamedTuple):
    """Height and width in pixels, and frames per second."""

    height: int
    width: int
    fps: float

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at {self.fps:g} frames a second"


class VideoShape(NamedTuple):
    """Length, rate and size of a clip, and its start in seconds of scene time."""

    num_frames: int
    fps: float
    height: int
    width: int
    start: float

    @property
    def is_image(self) -> bool:
        """True if the clip is a single frame."""
        return self.num_frames == 1

    @property
    def seconds(self) -> float:
        """Seconds from the first frame to the last; infinite for an image, which may show any time of its scene."""
        return math.inf if self.is_image else (self.num_frames - 1) / self.fps


def check_makeable(height: int, width: int, num_frames: int, fps: float) -> None:
    """Reject sizes that can't be generated, before anything is allocated.

    Raises:
        SizeError: a value is out of range.
    """
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise SizeError(f"{width}x{height} pixels: each side must be {MIN_SIDE} to {MAX_SIDE}")
    if not 1 <= num_frames <= MAX_FRAMES:
        raise SizeError(f"{num_frames} frames: must be 1 to {MAX_FRAMES}")
    if height * width * num_frames > MAX_VIDEO_PIXELS:
        most = MAX_VIDEO_PIXELS // (height * width)
        raise SizeError(
            f"{num_frames} frames of {width}x{height} exceed memory; use at most {most} frames of that size"
        )
    if not 1 <= fps <= 240:
        raise SizeError(f"{fps} frames per second: must be 1 to 240")
