"""Videos in memory: frames and frame rate, with their limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vitascope.errors import SizeError
from vitascope.types import Number
from vitascope.video.pixels import resized

MIN_SIDE = 16  # pixels; codecs refuse smaller pictures
MAX_PIXELS = 64 * 2**20  # per frame; larger files are rejected before decoding
MIN_FPS, MAX_FPS = 0.01, 1000.0
IMAGE_FPS = 1.0  # nominal rate of a still picture
MAX_CLIP_BYTES = 8 * 2**30  # of pixels in memory; read longer footage in parts
MAX_CLIP_FRAMES = 2**16  # 36 minutes at 30 frames per second
_STEP = 2**24  # bytes by which a clip of unknown length grows


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        """Size, length and rate; not the pixels."""
        frames = "1 frame" if self.num_frames == 1 else f"{self.num_frames} frames"
        return f"Video({frames} of {self.width}x{self.height} at {float(self.fps):g} per second)"

    def _repr_html_(self) -> str:
        """A player, or an image for one frame, as notebooks show it."""
        from vitascope.video.sheet import notebook_html  # deferred: writing imports this module

        return notebook_html(self)

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


def check_clip(path: Path, count: int, num_bytes: int) -> None:
    """Reject clips of `count` frames of `num_bytes` that exceed memory.

    Raises:
        SizeError: more than 8 GiB, or more than 65,536 frames.
    """
    if count * num_bytes > MAX_CLIP_BYTES or count > MAX_CLIP_FRAMES:
        limit = f"{MAX_CLIP_BYTES // 2**30} GiB of memory or {MAX_CLIP_FRAMES} frames"
        raise SizeError(f"{path} exceeds {limit}; read a part with start= and seconds=")


class Pictures:
    """Frames that `decode_video` emits, collected in one growing array [t, h, w, 3].

    Raises:
        SizeError: the array exceeds the limits.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frames = np.empty((0, 0, 0, 3), np.uint8)
        self._count = 0

    def receive(self, head: list[Any]) -> np.ndarray | None:
        """Place in memory for the pixels that `head` describes; None if it comes without pixels."""
        kind, *numbers = head
        if kind == "block":
            top, left, rows, columns = numbers
            return self._frames[self._count - 1, top : top + rows, left : left + columns]
        if kind == "start":
            self._start(*numbers)
            return None
        self._grow()
        if kind == "repeat":
            self._frames[self._count - 1] = self._frames[self._count - 2]
        return None

    def finish(self) -> np.ndarray:
        """The frames; the array is theirs alone."""
        self._frames.resize((self._count, *self._frames.shape[1:]), refcheck=False)
        return self._frames

    def _start(self, height: int, width: int, expected: int) -> None:
        check_size(height, width, what=str(self._path))
        ahead = max(1, min(expected, 64 * _STEP // (height * width * 3)))  # pages are taken when written
        self._frames = np.empty((ahead, height, width, 3), np.uint8)
        self._count = 0

    def _grow(self) -> None:
        num_bytes = self._frames.itemsize * int(np.prod(self._frames.shape[1:]))
        check_clip(self._path, self._count + 1, num_bytes)
        if self._count == len(self._frames):
            more = max(1, min(self._count, _STEP // num_bytes), self._count // 16)
            self._frames.resize((self._count + more, *self._frames.shape[1:]), refcheck=False)
        self._count += 1
