"""Drift of a video from its beginning to its end: levels of each frame, their rates of change, and cuts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitascope.errors import SizeError
from vitascope.evaluate.measures.stability import CUT_STRENGTH, MIN_FRAMES, ROWS, drift, significant_slope
from vitascope.video import Video, read_duration, read_video
from vitascope.video.cuts import LUMA_BT709, find_cuts

MAX_SECONDS = 600.0


class DriftRates(NamedTuple):
    """Rates of lasting change in a part of a video, in percent per second; NaN where they can't be measured."""

    still_colour: float  # of static regions; NaN if the camera moves
    still_contrast: float
    colour: float  # of whole frames
    contrast: float
    detail: float


@dataclass(frozen=True)
class VideoLevels:
    """A video and the levels of each frame, of 255."""

    video: Video
    colour: Float[np.ndarray, ...]  # means
    contrast: Float[np.ndarray, " t"]  # standard deviation of brightness
    detail: Float[np.ndarray, " t"]  # mean difference of neighbouring pixels' brightness
    steps: Float[np.ndarray, " steps"]  # mean difference of neighbouring frames
    cuts: list[int]  # first frames of new shots

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.video.num_frames / float(self.video.fps)

    def first(self, seconds: float) -> slice:
        """The frames of the first seconds."""
        return slice(0, round(seconds * self.video.fps))

    def last(self, seconds: float) -> slice:
        """The frames of the last seconds."""
        return slice(self.video.num_frames - round(seconds * self.video.fps), self.video.num_frames)

    def drift(self, part: slice) -> DriftRates:
        """Rates of change in a part: slopes of lines through the levels, reduced by twice their standard errors."""
        fps = float(self.video.fps)
        colour = max((significant_slope(channel, fps) for channel in self.colour[part].T), key=abs) / _level(
            self.colour[part]
        )
        contrast, detail = (
            significant_slope(each[part], fps) / _level(each[part]) for each in (self.contrast, self.detail)
        )
        return DriftRates(*drift(self.video.frames[part], fps), 100 * colour, 100 * contrast, 100 * detail)

    def change(self, before: slice, after: slice) -> DriftRates:
        """Change of whole frames' mean levels from one part to another, in percent."""
        colour, contrast, detail = (
            float(max(np.atleast_1d(each[after].mean(axis=0) - each[before].mean(axis=0)), key=abs))
            / _level(each[before])
            for each in (self.colour, self.contrast, self.detail)
        )
        return DriftRates(float("nan"), float("nan"), 100 * colour, 100 * contrast, 100 * detail)

    def motion(self, part: slice) -> float:
        """Mean difference of neighbouring frames in a part."""
        return float(self.steps[part.start : part.stop - 1].mean())


def _level(values: Float[np.ndarray, ...]) -> float:
    """The level that changes are relative to; at least 1, so that black divides."""
    return max(float(values.mean()), 1.0)


def measure_levels(video: Video) -> VideoLevels:
    """The levels of every frame of a video."""
    brightness = [frame @ LUMA_BT709 for frame in video.frames]
    return VideoLevels(
        video,
        colour=video.frames.mean(axis=(1, 2)),
        contrast=np.array([luma.std() for luma in brightness]),
        detail=np.array([_detail(luma) for luma in brightness]),
        steps=np.array([np.abs(after.astype(np.int16) - before).mean() for before, after in pairwise(video.frames)]),
        cuts=find_cuts(video.frames, CUT_STRENGTH),
    )


def _detail(luma: Float[np.ndarray, ...]) -> float:
    return float(np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean()) / 2


def read_small(path: Path) -> Video:
    """A file's video, resized to 96 pixels on the shorter side if it has more.

    Raises:
        MediaError: the file can't be read as a video.
        SizeError: fewer than 6 frames, or more than ten minutes.
    """
    seconds = read_duration(path)
    if seconds > MAX_SECONDS:
        raise SizeError(f"{path} lasts {seconds:.0f} s; give at most {MAX_SECONDS:.0f} s")
    picture = read_video(path, max_frames=1)
    scale = ROWS / min(picture.height, picture.width)
    size = None if scale >= 1 else (round(picture.height * scale), round(picture.width * scale))
    video = read_video(path, size=size)
    if video.num_frames < MIN_FRAMES:
        raise SizeError(f"{path} has {video.num_frames} frames; give at least {MIN_FRAMES}")
    return video
