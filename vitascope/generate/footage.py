"""Given images and videos, fitted to a request: cropped, resized, resampled and shortened to the part in use."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from vitascope.generate.requests import Media
from vitascope.generate.sizes import fitted_size
from vitascope.video import SoundPart, Video, probe, read_duration, read_video
from vitascope.video.shape import FrameShape

MAX_SECONDS = 60.0  # longest part of a given video that is used

_log = logging.getLogger(__name__)


def fitted_shape(
    media: Media, trained: FrameShape, multiple: int, height: int | None, width: int | None, fps: float | None
) -> FrameShape:
    """The shape of the result. Defaults: the video's size, fitted to the model, and the model's frame rate.

    Raises:
        MediaError: a file that can't be read.
    """
    head = media if isinstance(media, Video) else read_video(media, max_frames=1)
    rows, columns = fitted_size(head.height, head.width, (trained.height, trained.width), multiple)
    return FrameShape(height or rows, width or columns, trained.fps if fps is None else fps)


def part_of(media: Media, instant: float) -> tuple[float, float]:
    """(start, stop) in seconds of the part of a video that is used: all of it, or the minute around an instant.

    Raises:
        MediaError: a file that can't be read.
    """
    seconds = _duration(media)
    start = max(0.0, min(instant - MAX_SECONDS / 2, seconds - MAX_SECONDS))
    return start, min(seconds, start + MAX_SECONDS)


def fit_video(media: Media, shape: FrameShape, instant: float = 0.0) -> Video:
    """The video in a shape, cropped around its centre; of a long video, the part around an instant. Logs each change.

    Raises:
        MediaError: a file that can't be read.
    """
    start, stop = part_of(media, instant)
    head = media if isinstance(media, Video) else read_video(media, max_frames=1)
    found = FrameShape(head.height, head.width, float(head.fps))
    name = "the video" if isinstance(media, Video) else str(media)
    if is_image(media):
        _note_size(name, head, shape.height, shape.width)
    elif found != shape:
        _log.warning("%s is %s; fitted to %s", name, found, shape)
    if stop - start < _duration(media):
        _log.warning("%s is long; using seconds %g to %g", name, start, stop)
    if isinstance(media, Video):
        return _cut(media, shape.fps, start, stop).fit(shape.height, shape.width)
    scale = max(shape.height / head.height, shape.width / head.width)
    cover = (max(shape.height, round(scale * head.height)), max(shape.width, round(scale * head.width)))
    max_frames = 1 if is_image(media) else None
    video = read_video(media, fps=shape.fps, size=cover, start=start, seconds=MAX_SECONDS, max_frames=max_frames)
    return video.fit(shape.height, shape.width)


def sound_of(media: Media, fitted: Video, instant: float = 0.0, at: float = 0.0) -> tuple[SoundPart, ...]:
    """The sound of footage that `fit_video` fitted with the same instant, from second `at` of the result on.

    Empty for footage in memory or without sound.

    Raises:
        MediaError: a file that can't be read.
    """
    if isinstance(media, Video) or not probe(media).has_sound or is_image(media):
        return ()
    return (SoundPart(Path(media), part_of(media, instant)[0], fitted.duration, at),)


def is_image(media: Media) -> bool:
    """True if the footage decodes as one frame, whatever its file's name and format.

    Raises:
        MediaError: a file that can't be read.
    """
    return (media if isinstance(media, Video) else read_video(media, max_frames=2)).num_frames == 1


def _duration(media: Media) -> float:
    return media.duration if isinstance(media, Video) else read_duration(media)


def _cut(video: Video, fps: float, start: float, stop: float) -> Video:
    """The part between two times at another rate: each new frame is the one on screen at its start.

    A single frame stays one frame.
    """
    count = 1 if is_image(video) else max(1, round((stop - start) * fps))
    times = start + np.arange(count) / fps
    shown = (times * float(video.fps) + 1e-6).astype(int)
    return Video(video.frames[np.minimum(shown, video.num_frames - 1)], fps)


def fit_image(image: Media, height: int, width: int) -> Video:
    """The image (or a video's first frame), cropped around its centre to the aspect and resized. Logs a change of size.

    Raises:
        MediaError: a file that can't be read.
    """
    video = image if isinstance(image, Video) else read_video(image, max_frames=1)
    _note_size("the image" if isinstance(image, Video) else str(image), video, height, width)
    return Video(video.frames[:1], video.fps).fit(height, width)


def _note_size(name: str, picture: Video, height: int, width: int) -> None:
    """Warn if a picture has another size."""
    if (picture.height, picture.width) != (height, width):
        _log.warning("%s is %dx%d; fitted to %dx%d", name, picture.width, picture.height, width, height)


def pad_to(video: Video, height: int, width: int) -> Video:
    """The video padded to `height` and `width` by repeating its last row and column."""
    if (video.height, video.width) == (height, width):
        return video
    edge = ((0, 0), (0, height - video.height), (0, width - video.width), (0, 0))
    return Video(np.pad(video.frames, edge, mode="edge"), video.fps)


def freeze_frame(picture: Video, num_frames: int) -> Video:
    """A video of one picture, repeated."""
    return Video(np.repeat(picture.frames[:1], num_frames, axis=0), picture.fps)
