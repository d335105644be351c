"""Reading of video, animation and image files that FFmpeg decodes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from vitascope.errors import MediaError, SizeError, reason
from vitascope.types import Number
from vitascope.video.clip import IMAGE_FPS, MAX_FPS, MAX_PIXELS, MIN_FPS, Video, check_size, exact_fps
from vitascope.video.pixels import upright_pixels
from vitascope.video.timing import SeekMissed, shown_frames, timed_frames

MAX_CLIP_BYTES = 8 * 2**30  # of pixels in memory; read longer footage in parts
SEEK_FROM = Fraction(1)  # seconds; earlier starts decode from the beginning

# Formats of pictures. FFmpeg's other formats are rejected, such as playlists (they open other files) and text art.
_DEMUXERS = (
    "mov,mp4,matroska,webm,avi,gif,apng,mpeg,mpegts,mpegvideo,m4v,flv,asf,ogg,h264,hevc,av1,obu,ivf,yuv4mpegpipe,nut,"
    "dv,mxf,rm,mjpeg,png_pipe,jpeg_pipe,webp_pipe,webp,webp_anim,bmp_pipe,tiff_pipe,gif_pipe,ppm_pipe,jpegxl_pipe"
)
_PYAV = int(av.__version__.split(".")[0])


def read_video(
    path: str | Path,
    *,
    fps: Number | None = None,
    size: tuple[int, int] | None = None,
    start: Number = 0.0,
    seconds: Number | None = None,
    max_frames: int | None = None,
) -> Video:
    """Video in a video, animation or image file, upright and at a constant rate.

    `fps`: None keeps the file's average rate (images: 1.0); otherwise frame k is the one on screen at k / fps. `size`:
    (height, width) of the result, without keeping the aspect ratio; None keeps the stored size. `start`, `seconds`: the
    part to read; long files are seeked. Of truncated files, the decodable frames are read.

    Raises:
        MediaError: the file is missing, unreadable or without pictures, or `start` is past its end.
        SizeError: an argument is out of range, frames are below 16x16 or above 64 Mpx, or the video exceeds memory.
    """
    path = Path(path)
    _check_request(fps, size, start, seconds, max_frames)
    with _errors_reading(path):
        _check_readable(path)
    begin = Fraction(start).limit_denominator(10**6)
    for seek in (True, False) if begin >= SEEK_FROM else (False,):
        with _errors_reading(path), path.open("rb") as file, _opened(file) as container:
            stream = _video_stream(container, path)
            if _is_image(container):
                rate, count = exact_fps(fps or IMAGE_FPS), 1
            else:
                rate = exact_fps(fps) if fps else _average_rate(stream, path)
                count = _num_wanted(rate, seconds, max_frames)
            timed = timed_frames(container, stream, begin, seek)
            shown = shown_frames(timed, begin, rate, count, _slack(stream, fps, rate))
            try:
                return Video(_pixels(shown, size, path), float(rate))
            except SeekMissed:
                continue
    raise AssertionError("decoding from the beginning never misses")


def read_duration(path: str | Path) -> float:
    """Duration of a file in seconds from its header or packets, without decoding; 0 for an image.

    Raises:
        MediaError: the file is missing, unreadable or without pictures.
    """
    path = Path(path)
    with _errors_reading(path):
        _check_readable(path)
        with path.open("rb") as file, _opened(file) as container:
            stream = _video_stream(container, path)
            if _is_image(container):
                return 0.0
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            if container.duration:
                return container.duration / av.time_base
        return float(_measured(path).seconds)


def read_comment(path: str | Path) -> str:
    """The comment in a file's metadata; empty if there is none.

    Raises:
        MediaError: no such file, or one that can't be read.
    """
    path = Path(path)
    with _errors_reading(path):
        _check_readable(path)
        with path.open("rb") as file, _opened(file) as container:
            tags = {key.lower(): value for key, value in container.metadata.items()}
    return str(tags.get("comment", ""))


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


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise MediaError(f"{path} is a folder; give a video file")
    if not path.exists():
        raise MediaError(f"no file {path}; check the path")
    if not path.is_file():
        raise MediaError(f"{path} is not a regular file; give a video file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes)")


@contextmanager
def _errors_reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (FFmpegError, OSError, IndexError, ValueError, OverflowError) as error:  # ValueError includes Unicode errors
        raise MediaError(f"{path} can't be read as a video: {reason(error)}") from None


class _Nameless:
    """A file's content without its name, because FFmpeg interprets a%03d.png, concat: and http: specially."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _opened(file: BinaryIO) -> Any:
    formats = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"}  # files may not name other files
    decoder = {"max_pixels": str(MAX_PIXELS)}
    # Before PyAV 18, decoder options crash on MPEG streams; before 19, non-UTF-8 tags must be allowed explicitly.
    if _PYAV >= 19:
        return av.open(_Nameless(file), "r", options=formats | decoder)
    if _PYAV == 18:
        return av.open(_Nameless(file), "r", options=formats | decoder, metadata_errors="replace")
    return av.open(_Nameless(file), "r", container_options=formats, metadata_errors="replace")


def _is_image(container: Any) -> bool:
    return container.format.name.endswith("_pipe") and container.format.name != "yuv4mpegpipe"


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise MediaError(f"{path} has no video stream; give a file with pictures")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise MediaError(f"{path} holds video of an unknown codec")
    height, width = stream.codec_context.height, stream.codec_context.width
    if height and width:
        check_size(height, width, what=str(path))
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    if height * width > 512 * 512:
        stream.thread_type = "AUTO"  # threads cost more than they gain for smaller frames
    return stream


def _average_rate(stream: Any, path: Path) -> Fraction:
    # Unknown rates are None or Fraction(0), depending on the version of PyAV.
    rate = stream.average_rate or _measured(path).rate
    if not MIN_FPS <= rate <= MAX_FPS:
        raise MediaError(
            f"{path} has {float(rate):g} frames per second, outside {MIN_FPS:g} to {MAX_FPS:g}; set a rate with fps="
        )
    return Fraction(rate)


class _Measured(NamedTuple):
    """Frames per second and duration of a stream from its packets; 0 where timestamps are missing."""

    rate: Fraction
    seconds: Fraction


def _measured(path: Path) -> _Measured:
    """Rate and duration of a file without them in its header, by counting packets."""
    with path.open("rb") as file, _opened(file) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        stamps = [(packet.pts, packet.duration or 0) for packet in packets if packet.pts is not None]
        if not stamps:
            rate = Fraction(stream.guessed_rate or stream.base_rate or 0)
            return _Measured(rate, len(packets) / rate if rate else Fraction(0))
        ticks = max(pts + duration for pts, duration in stamps) - min(pts for pts, _ in stamps)
        seconds = Fraction(ticks * (stream.time_base or 0))
        return _Measured(len(stamps) / seconds if seconds > 0 else Fraction(0), seconds)


def _num_wanted(rate: Fraction, seconds: Number | None, max_frames: int | None) -> int | None:
    counts = [] if max_frames is None else [max_frames]
    if seconds is not None:
        counts.append(max(1, math.ceil(seconds * float(rate) - 1e-6)))
    return min(counts, default=None)


def _slack(stream: Any, fps: Number | None, rate: Fraction) -> Fraction:
    """Tolerance of a frame's begin: up to this much after an instant it counts as on screen.

    At the file's own rate it is half a frame, so that rounded timestamps give every frame once. At a given rate it is
    one tick, the largest rounding error of a timestamp.
    """
    half = 1 / rate / 2
    return half if fps is None else min(Fraction(stream.time_base or 0), half)


def _pixels(shown: Iterator[av.VideoFrame], size: tuple[int, int] | None, path: Path) -> np.ndarray:
    """Frames as one uint8 array [t, h, w, 3] of the first frame's size."""
    pictures: list[np.ndarray] = []
    reformatter, last = VideoReformatter(), None
    for frame in shown:
        if frame is last:
            picture = pictures[-1]
        else:
            check_size(frame.height, frame.width, what=str(path))
            picture = upright_pixels(frame, reformatter, size or (pictures[0].shape[:2] if pictures else None))
        last = frame
        pictures.append(picture)
        if len(pictures) * picture.nbytes > MAX_CLIP_BYTES:
            limit = MAX_CLIP_BYTES // 2**30
            raise SizeError(f"{path} exceeds {limit} GiB of memory; read a part with start= and seconds=")
    if not pictures:
        raise MediaError(
            f"{path} has no decodable frame of at most {MAX_PIXELS // 2**20} million pixels; convert it first"
        )
    return np.stack(pictures)
