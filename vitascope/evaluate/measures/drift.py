"""How a video goes from its beginning to its end: levels frame by frame, how fast they change, and cuts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitascope.errors import SizeError
from vitascope.evaluate.coherence import CUT_STRENGTH, MIN_FRAMES, ROWS
from vitascope.evaluate.measures.stability import drift, sure_slope
from vitascope.video import Video, read_duration, read_video
from vitascope.video.cuts import LUMA_BT709, find_cuts

MAX_SECONDS = 600.0


class Pace(NamedTuple):
    """How fast a part of a video changes for good, in percent per second; NaN where it can't be told."""

    still_colour: float  # of what stands still, where the camera does, too
    still_contrast: float
    colour: float  # of whole frames
    contrast: float
    detail: float


@dataclass(frozen=True)
class Course:
    """A video, and the levels of each frame, of 255."""

    video: Video
    colour: Float[np.ndarray, ...]  # means
    contrast: Float[np.ndarray, " t"]  # standard deviation of brightness
    detail: Float[np.ndarray, " t"]  # mean difference of neighbouring pixels' brightness
    steps: Float[np.ndarray, " steps"]  # mean difference of neighbouring frames
    cuts: list[int]  # the frames that begin a new shot

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.video.num_frames / float(self.video.fps)

    def first(self, seconds: float) -> slice:
        """The frames of the beginning."""
        return slice(0, round(seconds * self.video.fps))

    def last(self, seconds: float) -> slice:
        """The frames of the end."""
        return slice(self.video.num_frames - round(seconds * self.video.fps), self.video.num_frames)

    def pace(self, part: slice) -> Pace:
        """How fast its frames change: slopes of lines through the levels, less twice their standard errors."""
        fps = float(self.video.fps)
        colour = max((sure_slope(channel, fps) for channel in self.colour[part].T), key=abs) / _level(self.colour[part])
        contrast, detail = (sure_slope(each[part], fps) / _level(each[part]) for each in (self.contrast, self.detail))
        return Pace(*drift(self.video.frames[part], fps), 100 * colour, 100 * contrast, 100 * detail)

    def change(self, before: slice, after: slice) -> Pace:
        """What has become of whole frames' levels from one part to another, in percent of what they were."""
        colour, contrast, detail = (
            float(max(np.atleast_1d(each[after].mean(axis=0) - each[before].mean(axis=0)), key=abs))
            / _level(each[before])
            for each in (self.colour, self.contrast, self.detail)
        )
        return Pace(float("nan"), float("nan"), 100 * colour, 100 * contrast, 100 * detail)

    def motion(self, part: slice) -> float:
        """The mean difference of neighbouring frames in a part."""
        return float(self.steps[part.start : part.stop - 1].mean())


def _level(values: Float[np.ndarray, ...]) -> float:
    """What a change is a share of; black has none to speak of."""
    return max(float(values.mean()), 1.0)


def follow_course(video: Video) -> Course:
    """Measure every frame of a video."""
    brightness = [frame @ LUMA_BT709 for frame in video.frames]
    return Course(
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
    """A file's video, of 96 pixels on the shorter side if it has more.

    Raises:
        MediaError: nothing that can be read as a video.
        SizeError: fewer than 6 frames, or more than ten minutes.
    """
    seconds = read_duration(path)
    if seconds > MAX_SECONDS:
        raise SizeError(f"{path} has {seconds:.0f} seconds; at most {MAX_SECONDS:.0f} are measured")
    picture = read_video(path, max_frames=1)
    scale = ROWS / min(picture.height, picture.width)
    size = None if scale >= 1 else (round(picture.height * scale), round(picture.width * scale))
    video = read_video(path, size=size)
    if video.num_frames < MIN_FRAMES:
        raise SizeError(f"{path} has {video.num_frames} frames; at least {MIN_FRAMES} are needed")
    return video
