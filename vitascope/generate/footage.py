"""Given pictures and videos, made to fit what is to be made: cropped, resized, resampled, not longer than needed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vitascope.generate.sizes import fitted_size
from vitascope.video import Video, probe_video, read_video

MAX_SECONDS = 60.0  # of a given video; a longer one gives the part that is needed

Media = Video | str | Path

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shape:
    """Rows and columns of pixels, and frames per second."""

    height: int
    width: int
    fps: float

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at {self.fps:g} frames a second"


def fitted_shape(
    media: Media, trained: Shape, multiple: int, height: int | None, width: int | None, fps: float | None
) -> Shape:
    """The shape in which a video is gone on with: what is asked for, else its own as nearly as the model knows it.

    Raises:
        MediaError: a file that can't be read.
    """
    head = media if isinstance(media, Video) else read_video(media, max_frames=1)
    rows, columns = fitted_size(head.height, head.width, (trained.height, trained.width), multiple)
    return Shape(height or rows, width or columns, trained.fps if fps is None else fps)


def fit_video(media: Media, shape: Shape, part: Literal["beginning", "end"] = "beginning") -> Video:
    """A video, or the minute at one end of a longer one, in a shape, cropped around its centre. A note tells changes.

    Raises:
        MediaError: a file that can't be read.
    """
    if isinstance(media, Video):
        return _fit_clip(media, shape, part)
    head, seconds = read_video(media, max_frames=1), probe_video(media)
    start = max(0.0, seconds - MAX_SECONDS) if part == "end" else 0.0
    _tell(str(media), Shape(head.height, head.width, float(head.fps)), shape, seconds, part)
    scale = max(shape.height / head.height, shape.width / head.width)
    cover = (max(shape.height, round(scale * head.height)), max(shape.width, round(scale * head.width)))
    video = read_video(media, fps=shape.fps, size=cover, start=start, seconds=MAX_SECONDS)
    return video.fit(shape.height, shape.width)


def _fit_clip(video: Video, shape: Shape, part: str) -> Video:
    _tell("the video", Shape(video.height, video.width, float(video.fps)), shape, video.duration, part)
    wanted = max(1, round(video.duration * shape.fps))
    times = (np.arange(wanted) + 0.5) / shape.fps
    frames = video.frames[np.minimum((times * float(video.fps)).astype(int), video.num_frames - 1)]
    most = round(MAX_SECONDS * shape.fps)
    frames = frames[-most:] if part == "end" else frames[:most]
    return Video(frames, shape.fps).fit(shape.height, shape.width)


def _tell(name: str, found: Shape, wanted: Shape, seconds: float, part: str) -> None:
    if found != wanted:
        _log.warning("%s is %s; fitted to %s", name, found, wanted)
    if seconds > MAX_SECONDS:
        _log.warning("%s has %.0f seconds; used: the %g at its %s", name, seconds, MAX_SECONDS, part)


def fit_image(image: Media, height: int, width: int) -> Video:
    """The image (or a video's first frame), cropped to the wanted aspect around its centre and resized.

    Raises:
        MediaError: a file that can't be read.
    """
    video = image if isinstance(image, Video) else read_video(image, max_frames=1)
    return Video(video.frames[:1], video.fps).fit(height, width)


def pad_to(video: Video, height: int, width: int) -> Video:
    """The video with its last row and column repeated down to `height` and out to `width`."""
    edge = ((0, 0), (0, height - video.height), (0, width - video.width), (0, 0))
    return Video(np.pad(video.frames, edge, mode="edge"), video.fps)


def held(picture: Video, num_frames: int) -> Video:
    """A picture that stands still."""
    return Video(np.repeat(picture.frames[:1], num_frames, axis=0), picture.fps)
