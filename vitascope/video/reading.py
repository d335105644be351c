"""Reading of video, animation and image files that FFmpeg decodes, as players show them."""

from __future__ import annotations

import gc
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.error import FFmpegError

from vitascope.errors import MediaError, SizeError, reason
from vitascope.types import Number
from vitascope.video.clip import IMAGE_FPS, MAX_FPS, MAX_PIXELS, MIN_FPS, Pictures, Video, check_size, exact_fps
from vitascope.video.timing import SeekMissed, TimedFrame, deinterlaced, may_restart, shown_frames, timed_frames

SEEK_FROM = Fraction(1)  # seconds; earlier starts decode from the beginning

# Work that a file may cause. Real footage has below 200 pixels per byte, still screens below 20,000.
LARGE_PIXELS = 4096 * 2304  # frames above it must have enough data for their pixels
_LARGE_PIXELS_PER_BYTE = 256
_PIXELS_PER_BYTE, _FREE_PIXELS = 20_000, 2 * 10**9
_FREE_SECONDS, _SLOWEST_PIXELS, _SLOWEST_BYTES = 6.0, 4e6, 1e6  # the slowest decoding and parsing, per second
_THREAD_BYTES = 16 * 2**20  # of frames that are decoded at the same time

# Formats of pictures. FFmpeg's other formats are rejected, such as playlists (they open other files) and text art.
_DEMUXERS = (
    "mov,mp4,matroska,webm,avi,gif,apng,mpeg,mpegts,mpegvideo,m4v,flv,asf,ogg,h264,hevc,av1,obu,ivf,yuv4mpegpipe,nut,"
    "dv,mxf,rm,mjpeg,png_pipe,jpeg_pipe,webp_pipe,webp,webp_anim,bmp_pipe,tiff_pipe,gif_pipe,ppm_pipe,jpegxl_pipe"
)
_PYAV = int(av.__version__.split(".")[0])
_PICTURES = 0x400 | 0x800 | 0x80000  # dispositions: attached picture, timed thumbnails, tile or layer of an image
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders ignore the alpha channel
_MAX_ASPECT = 16  # of stored pixels; others are damaged

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
    begin = Fraction(start).limit_denominator(10**6)
    video = _read_part(path, fps, size, begin, seconds, max_frames, seek=True) if begin >= SEEK_FROM else None
    if video is None:
        video = _read_part(path, fps, size, begin, seconds, max_frames, seek=False)
    assert video is not None, "decoding from the beginning never misses"
    if video.height * video.width > 512 * 512:
        gc.collect(1)  # PyAV's objects refer to each other, and would keep the decoder's frames
    return video


def _read_part(
    path: Path,
    fps: Number | None,
    size: tuple[int, int] | None,
    begin: Fraction,
    seconds: Number | None,
    max_frames: int | None,
    seek: bool,
) -> Video | None:
    """The part from `begin`; None if `seek` is set and seeking fails."""
    with opened(path) as (container, effort):
        stream = video_stream(container, path)
        if seek and _restarts(container, path):
            return None
        if is_image(container, stream):
            rate, count = exact_fps(fps or IMAGE_FPS), 1
        else:
            rate = exact_fps(fps) if fps else _average_rate(stream, path)
            count = _num_wanted(rate, seconds, max_frames)
        span = _declared_span(container, stream, path, begin, None if count is None else count / rate)
        stored = (stream.codec_context.height, stream.codec_context.width)
        pictures = Pictures(path, size, stored, pixel_aspect(stream), expected=math.floor(span * rate))
        effort.check_span(stream, span if seek else begin + span)
        timed = timed_frames(container, stream, decoder_of(stream, effort), begin, seek)
        notes: list[str] = []
        shown = deinterlaced(effort.counting(timed), notes)
        try:
            for frame in shown_frames(shown, begin, rate, count, _slack(stream, fps, rate)):
                pictures.add(frame)
        except SeekMissed:
            return None
        if not len(pictures):
            most = f"{effort.max_pixels / 1e6:.0f} million pixels, the limit for {effort.num_bytes} bytes"
            raise MediaError(f"{path} has no decodable frame of up to {most}; convert it first")
        video = Video(pictures.finish(), float(rate))
    if notes := [note for note in (pictures.note, *notes) if note]:
        _log_once(f"{path} is {'; '.join(notes)}")
    return video


class Effort:
    """Limits of the work that a file may cause, by its bytes: a small file that asks for much is refused.

    Raises:
        SizeError: from `read`, `counting` and `check`, as soon as a limit is passed.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.num_bytes = os.fstat(file.fileno()).st_size
        self.max_pixels = min(MAX_PIXELS, max(LARGE_PIXELS, self.num_bytes * _LARGE_PIXELS_PER_BYTE))
        self.seek, self.tell = file.seek, file.tell
        self._read, self._bytes, self._pixels = file.read, 0, 0
        self._begun, self._paused = time.monotonic(), 0.0

    def read(self, size: int) -> bytes:
        """Bytes for the demuxer. It gets no file name: FFmpeg interprets a%03d.png, concat: and http: specially."""
        self._check_time()
        content = self._read(size)
        self._bytes += len(content)
        return content

    def counting(self, timed: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        """Yield the frames, and count their pixels and the time that they take."""
        for item in timed:
            pixels = item.frame.height * item.frame.width
            self._pixels += pixels
            self.check(pixels, self._pixels)
            self._check_time()
            handed = time.monotonic()
            yield item
            self._paused += time.monotonic() - handed

    def check_span(self, stream: Any, seconds: Fraction) -> None:
        """Reject a stream if `seconds` of it are too many pixels."""
        pixels = stream.codec_context.height * stream.codec_context.width
        self.check(pixels, max(pixels, float(pixels * seconds * (stream.average_rate or 0))))

    def check(self, pixels: int, total: Number) -> None:
        """Reject `total` pixels in frames of `pixels`."""
        if pixels > LARGE_PIXELS:
            most = self.num_bytes * _LARGE_PIXELS_PER_BYTE
        else:
            most = _FREE_PIXELS + self.num_bytes * _PIXELS_PER_BYTE
        if total > most:
            raise SizeError(
                f"{self.path} has {self.num_bytes} bytes for {total / 1e6:.0f} million pixels, above the "
                f"{most / 1e6:.0f} allowed; read a shorter part or convert it to a smaller size"
            )

    def _check_time(self) -> None:
        spent = time.monotonic() - self._begun - self._paused
        if spent > _FREE_SECONDS + self._pixels / _SLOWEST_PIXELS + self._bytes / _SLOWEST_BYTES:
            raise SizeError(f"{self.path} takes too long to decode, {spent:.0f} s so far; convert it first")


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Effort]]:
    """The container of a file, and the limits of its work.

    Raises:
        MediaError: the file is missing or unreadable; also for FFmpeg's errors inside the block.
    """
    try:
        _check_readable(path)
        with path.open("rb") as file:
            effort = Effort(path, file)
            with _container(effort) as container:
                yield container, effort
    except MemoryError:
        raise SizeError(f"{path} exceeds the memory that is left; read a part with start= and seconds=") from None
    except (FFmpegError, OSError, IndexError, ValueError, OverflowError) as error:  # ValueError includes Unicode errors
        raise MediaError(f"{path} can't be read as a video: {reason(error)}") from None


def _container(effort: Effort) -> Any:
    formats = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"}  # files may not name other files
    decoder = {"max_pixels": str(effort.max_pixels)}
    # Before PyAV 18, decoder options crash on MPEG streams; before 19, non-UTF-8 tags must be allowed explicitly.
    if _PYAV >= 19:
        return av.open(effort, "r", options=formats | decoder)
    if _PYAV == 18:
        return av.open(effort, "r", options=formats | decoder, metadata_errors="replace")
    return av.open(effort, "r", container_options=formats, metadata_errors="replace")


def is_image(container: Any, stream: Any) -> bool:
    """True for an image format, and for an animation of a single frame."""
    name = container.format.name
    if name.endswith("_pipe"):
        return name != "yuv4mpegpipe"
    return stream.frames == 1 and (container.duration is None or name in ("gif", "apng"))


def video_stream(container: Any, path: Path) -> Any:
    """The stream that players show: the default one, then the largest. Cover art and thumbnails don't count.

    Raises:
        MediaError: there is none, or its codec is unknown.
        SizeError: its frames are below 16x16 or above 64 Mpx.
    """
    streams = [stream for stream in container.streams.video if not int(stream.disposition) & _PICTURES]
    if not streams:
        only = " but cover art or tiles" if container.streams.video else ""
        raise MediaError(f"{path} has no video stream{only}; give a file with pictures")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise MediaError(f"{path} holds video of an unknown codec")
    stream = max(known, key=_prominence)
    check_size(stream.codec_context.height or 16, stream.codec_context.width or 16, what=str(path))
    return stream


def _prominence(stream: Any) -> tuple[bool, bool, int]:
    """Rank of a stream: moving, default, size."""
    area = stream.codec_context.height * stream.codec_context.width
    return stream.frames != 1, bool(int(stream.disposition) & 1), area


def decoder_of(stream: Any, effort: Effort) -> Any:
    """Decoder of a stream, within the limits of memory: libvpx's for VP8 and VP9 with an alpha channel.

    Raises:
        SizeError: the frames are too large for the file's bytes.
    """
    decoder = stream.codec_context
    pixels = decoder.height * decoder.width
    name = _ALPHA_DECODERS.get(decoder.codec.canonical_name if decoder.codec else "")
    tags = {key.lower(): value for key, value in stream.metadata.items()}  # some muxers write ALPHA_MODE
    if tags.get("alpha_mode") == "1" and name in av.codecs_available:
        decoder = av.CodecContext.create(name, "r")
    decoder.options = {"max_pixels": str(effort.max_pixels)}
    if pixels > 512 * 512:  # threads cost more than they gain for smaller frames
        most = max(1, _THREAD_BYTES // (2 * pixels))
        decoder.thread_type = "AUTO" if most > 1 else "SLICE"
        decoder.thread_count = 0 if most > (os.cpu_count() or 1) else most
    return decoder


def pixel_aspect(stream: Any) -> Fraction:
    """Width of a stored pixel by its height; 1 if unknown, for images, and within rounding errors of 1."""
    if stream.container.format.name.endswith("_pipe"):
        return Fraction(1)  # viewers ignore the aspect of a scan's resolution
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, _MAX_ASPECT) <= aspect <= _MAX_ASPECT or abs(aspect - 1) < Fraction(1, 200):
        return Fraction(1)
    return Fraction(aspect)


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


def _restarts(container: Any, path: Path) -> bool:
    """True if a file's timestamps restart or jump, so that seeking is ambiguous."""
    if "mp4" in container.format.name:
        return False  # its index lists all frames in order
    from vitascope.video.probing import may_be_joined, packets_of  # deferred: few formats can restart

    return may_be_joined(container, path) and packets_of(path).num_parts > 1


def _average_rate(stream: Any, path: Path) -> Fraction:
    rate = stream.average_rate
    untimed = int(stream.container.format.flags) & 0x80  # AVFMT_NOTIMESTAMPS: the average is a default
    if untimed or not rate:  # None or Fraction(0), depending on the version of PyAV
        from vitascope.video.probing import packets_of  # deferred: most headers give the rate

        rate = packets_of(path).rate or rate or 0
    if not MIN_FPS <= rate <= MAX_FPS:
        raise MediaError(
            f"{path} has {float(rate):g} frames per second, outside {MIN_FPS:g} to {MAX_FPS:g}; set a rate with fps="
        )
    return Fraction(rate)


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


def _declared_span(container: Any, stream: Any, path: Path, begin: Fraction, seconds: Fraction | None) -> Fraction:
    """Seconds from `begin`, at most `seconds`, by the header or, for large frames, by the packets; 0 if unknown."""
    total = Fraction(0)
    if not may_restart(container):
        if stream.duration and stream.time_base:
            total = Fraction(stream.duration) * Fraction(stream.time_base)
        elif container.duration:
            total = Fraction(container.duration, av.time_base)
    if not total and stream.codec_context.height * stream.codec_context.width > 2**20:
        from vitascope.video.probing import packets_of  # deferred: most headers give the duration

        total = packets_of(path).seconds
    if not total:
        return seconds or Fraction(0)
    left = max(Fraction(0), total - begin)
    return left if seconds is None else min(left, seconds)


@lru_cache(maxsize=256)
def _log_once(note: str) -> None:
    """Log a note on a file, but not again for the other parts that are read of it."""
    _log.warning("%s", note)
