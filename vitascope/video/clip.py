"""What a video is: frames and their rate, and which sizes and rates there are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vitascope.errors import SizeError
from vitascope.types import Number
from vitascope.video.pixels import resized

MIN_SIDE = 16  # pixels; smaller is not a picture that a codec takes
MAX_PIXELS = 64 * 2**20  # a frame; more is refused before it is decoded
MIN_FPS, MAX_FPS = 0.01, 1000.0
IMAGE_FPS = 1.0  # the rate that a still picture is given


@dataclass(frozen=True, eq=False)
class Video:
    """A clip in memory: `frames` uint8 [t, h, w, 3], RGB, t >= 1; `fps` frames per second, constant.

    Raises:
        SizeError: frames of another shape or type, or a rate that is no rate.
    """

    frames: np.ndarray
    fps: Number

    def __post_init__(self) -> None:
        """Refuse what is no clip."""
        shape, dtype = np.shape(self.frames), getattr(self.frames, "dtype", type(self.frames).__name__)
        if len(shape) != 4 or shape[3] != 3 or 0 in shape or dtype != np.uint8:
            raise SizeError(f"frames are {dtype} {list(shape)}; a video has uint8 [t, h, w, 3] with t, h, w >= 1")
        exact_fps(self.fps)
        object.__setattr__(self, "fps", float(self.fps))

    @property
    def num_frames(self) -> int:
        """How many frames."""
        return self.frames.shape[0]

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.frames.shape[2]

    @property
    def duration(self) -> float:
        """Seconds, the last frame's own time on screen included."""
        return self.num_frames / float(self.fps)

    def save(self, path: str | Path) -> Path:
        """The path written, as `write_video` does it."""
        from vitascope.video.writing import write_video  # which needs this class

        return write_video(self, path)

    def fit(self, height: int, width: int) -> Video:
        """The clip cropped around its centre to the shape of height x width, then resized to it.

        Raises:
            SizeError: below 16x16 or above 64 Mpx.
        """
        check_size(height, width, what="the size to fit")
        rows = max(1, min(self.height, round(self.width * height / width)))
        columns = max(1, min(self.width, round(self.height * width / height)))
        top, left = (self.height - rows) // 2, (self.width - columns) // 2
        return Video(resized(self.frames[:, top : top + rows, left : left + columns], height, width), self.fps)


def exact_fps(fps: Number) -> Fraction:
    """The rate as a fraction of small terms: 29.97 as a float from a file becomes 30000/1001 again.

    Raises:
        SizeError: a rate that no file has.
    """
    if not (math.isfinite(fps) and MIN_FPS <= fps <= MAX_FPS):
        raise SizeError(f"fps is {float(fps):g}; it goes from {MIN_FPS:g} to {MAX_FPS:g}")
    return Fraction(fps).limit_denominator(1001)


def check_size(height: int, width: int, what: str) -> None:
    """Refuse frames too small or too large; `what` names whose they are.

    Raises:
        SizeError: below 16x16 or above 64 Mpx.
    """
    if height < MIN_SIDE or width < MIN_SIDE:
        raise SizeError(f"{what} is {width}x{height}; the least is {MIN_SIDE}x{MIN_SIDE} pixels")
    if height * width > MAX_PIXELS:
        raise SizeError(f"{what} is {width}x{height}; a frame has {MAX_PIXELS // 2**20} million pixels at most")
