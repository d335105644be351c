"""Videos: what one is, and how it is read from and written to real files. The only place that knows about containers,
codecs, colour matrices and timestamps.
"""

from __future__ import annotations

from vitascope.video.clip import IMAGE_FPS, MAX_FPS, MAX_PIXELS, MIN_FPS, MIN_SIDE, Video
from vitascope.video.growing import GrowingVideo
from vitascope.video.reading import MAX_CLIP_BYTES, SEEK_FROM, read_duration, read_video
from vitascope.video.sheet import contact_sheet
from vitascope.video.writing import VideoWriter, write_video

__all__ = [
    "IMAGE_FPS",
    "MAX_CLIP_BYTES",
    "MAX_FPS",
    "MAX_PIXELS",
    "MIN_FPS",
    "MIN_SIDE",
    "SEEK_FROM",
    "GrowingVideo",
    "Video",
    "VideoWriter",
    "contact_sheet",
    "read_duration",
    "read_video",
    "write_video",
]
