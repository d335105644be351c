"""Videos in memory: frames and frame rate, with their limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vitascope.errors import SizeError
from vitascope.types import Number
from vitascope.video.pixels import resized

MIN_SIDE = 16  # pixels; codecs refuse smaller pictures
MAX_PIXELS = 64 * 2**20  # per frame; larger files are rejected before decoding
MIN_FPS, MAX_FPS = 0.01, 1000.0
IMAGE_FPS = 1.0  # nominal rate of a still picture


@dataclass(frozen=True, eq=False)
class Video:
    """A video in memory: `frames` is uint8 RGB [t, h, w, 3] with t >= 1, `fps` its constant rate.

    Raises:
        SizeError: the frames have another shape or type, or the rate is out of range.
    """

    frames: np.ndarray
    fps: Number

    def __post_init__(self) -> None:
        """Check shape, type and rate."""
        shape, dtype = np.shape(self.frames), getattr(self.frames, "dtype", type(self.frames).__name__)
        if len(shape) != 4 or shape[3] != 3 or 0 in shape or dtype != np.uint8:
            raise SizeError(f"frames are {dtype} {list(shape)}; a video has uint8 [t, h, w, 3] with t, h, w >= 1")
        exact_fps(self.fps)
        object.__setattr__(self, "fps", float(self.fps))

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return self.frames.shape[0]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.frames.shape[2]

    @property
    def duration(self) -> float:
        """Duration in seconds, including the last frame's display time."""
        return self.num_frames / float(self.fps)

    def save(self, path: str | Path) -> Path:
        """Write the video with `write_video` and return the path."""
        from vitascope.video.writing import write_video  # deferred: writing imports this module

        return write_video(self, path)

    def fit(self, height: int, width: int) -> Video:
        """The video, centre-cropped to the aspect ratio of width x height and resized to it.

        Raises:
            SizeError: below 16x16 or above 64 Mpx.
        """
        check_size(height, width, what="the size to fit")
        rows = max(1, min(self.height, round(self.width * height / width)))
        columns = max(1, min(self.width, round(self.height * width / height)))
        top, left = (self.height - rows) // 2, (self.width - columns) // 2
        return Video(resized(self.frames[:, top : top + rows, left : left + columns], height, width), self.fps)


def exact_fps(fps: Number) -> Fraction:
    """Frame rate as a fraction with a small denominator: 29.97 becomes 30000/1001.

    Raises:
        SizeError: the rate is out of range.
    """
    if not (math.isfinite(fps) and MIN_FPS <= fps <= MAX_FPS):
        raise SizeError(f"fps must be {MIN_FPS:g} to {MAX_FPS:g}, got {float(fps):g}")
    return Fraction(fps).limit_denominator(1001)


def check_size(height: int, width: int, what: str) -> None:
    """Reject frame sizes out of range; `what` names their origin in the message.

    Raises:
        SizeError: below 16x16 or above 64 Mpx.
    """
    if height < MIN_SIDE or width < MIN_SIDE:
        raise SizeError(f"{what} is {width}x{height}; the minimum is {MIN_SIDE}x{MIN_SIDE} pixels")
    if height * width > MAX_PIXELS:
        raise SizeError(f"{what} is {width}x{height}; the maximum is {MAX_PIXELS // 2**20} million pixels per frame")
