"""Given pictures and videos, made to fit what is to be made."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitascope.video import Video, read_video


def fit_image(image: Video | str | Path, height: int, width: int) -> Video:
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
