"""Reading of video, animation and image files that FFmpeg decodes, as players show them."""

from __future__ import annotations

import logging
import math
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from vitascope.errors import SizeError
from vitascope.types import Number
from vitascope.video.clip import Pictures, Video, check_size, exact_fps
from vitascope.video.process import run_apart

_log = logging.getLogger(__name__)


def read_video(
    path: str | Path,
    *,
    fps: Number | None = None,
    size: tuple[int, int] | None = None,
    start: Number = 0.0,
    seconds: Number | None = None,
    max_frames: int | None = None,
) -> Video:
    """Video in a video, animation or image file: upright, with square pixels, in SDR and at a constant rate.

    `fps`: None keeps the file's average rate (images: 1.0); otherwise frame k is the one on screen at k / fps. `size`:
    (height, width) of the result, without keeping the aspect ratio; None keeps the displayed size. `start`, `seconds`:
    the part to read; long files are seeked. Of truncated files, the decodable frames are read. Interlaced frames are
    deinterlaced. Such conversions are logged once per file.

    Raises:
        MediaError: the file is missing, unreadable or without pictures, or `start` is past its end.
        SizeError: an argument is out of range, frames are below 16x16 or above 64 Mpx, the video exceeds memory, or
            the file has too little data for the pixels that it declares.
    """
    path = Path(path)
    _check_request(fps, size, start, seconds, max_frames)
    pictures = Pictures(path)
    rate, notes = run_apart(
        "decoding.decode_video",
        path,
        str(exact_fps(fps)) if fps else None,
        [int(side) for side in size] if size else None,
        str(Fraction(start).limit_denominator(10**6)),
        float(seconds) if seconds else None,
        int(max_frames) if max_frames else None,
        receive=pictures.receive,
    )
    video = Video(pictures.finish(), rate)
    if notes:
        _log_once(f"{path} is {'; '.join(notes)}")
    return video


def _check_request(
    fps: Number | None, size: tuple[int, int] | None, start: Number, seconds: Number | None, max_frames: int | None
) -> None:
    if fps is not None:
        exact_fps(fps)
    if size is not None:
        check_size(*size, what="size")
    if not (math.isfinite(start) and start >= 0):
        raise SizeError(f"start must be 0 seconds or more, got {start}")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise SizeError(f"seconds must be positive, got {seconds}")
    if max_frames is not None and max_frames < 1:
        raise SizeError(f"max_frames must be 1 or more, got {max_frames}")


@lru_cache(maxsize=256)
def _log_once(note: str) -> None:
    """Log a note on a file, but not again for the other parts that are read of it."""
    _log.warning("%s", note)
