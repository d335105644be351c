"""Reading of video, animation and image files that FFmpeg decodes, as players show them."""

from __future__ import annotations

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
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from vitascope.errors import MediaError, SizeError, reason
from vitascope.types import Number
from vitascope.video.clip import IMAGE_FPS, MAX_FPS, MAX_PIXELS, MIN_FPS, Video, check_size, exact_fps
from vitascope.video.pixels import colour_note, displayed_size, upright_pixels
from vitascope.video.timing import SeekMissed, TimedFrame, deinterlaced, may_restart, shown_frames, timed_frames

MAX_CLIP_BYTES = 8 * 2**30  # of pixels in memory; read longer footage in parts
MAX_CLIP_FRAMES = 2**16  # 36 minutes at 30 frames per second
SEEK_FROM = Fraction(1)  # seconds; earlier starts decode from the beginning

# Work that a file may cause. Real footage has below 200 pixels per byte, still screens below 20,000.
LARGE_PIXELS = 4096 * 2304  # frames above it must have enough data for their pixels
_LARGE_PIXELS_PER_BYTE = 256
_PIXELS_PER_BYTE, _FREE_PIXELS = 20_000, 2 * 10**9
_FREE_SECONDS, _SLOWEST_PIXELS, _SLOWEST_BYTES = 6.0, 4e6, 1e6  # the slowest decoding and parsing, per second
_THREAD_BYTES = 32 * 2**20  # of frames that are decoded at the same time

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
    for seek in (True, False) if begin >= SEEK_FROM else (False,):
        with opened(path) as (container, effort):
            stream = video_stream(container, path)
            if seek and _restarts(container, path):
                continue
            if is_image(container, stream):
                rate, count = exact_fps(fps or IMAGE_FPS), 1
            else:
                rate = exact_fps(fps) if fps else _average_rate(stream, path)
                count = _num_wanted(rate, seconds, max_frames)
            span = _declared_span(container, stream, path, begin, None if count is None else count / rate)
            notes: list[str] = []
            pictures = _Pictures(path, stream, size or (), math.floor(span * rate), notes)
            effort.check_span(stream, span if seek else begin + span)
            timed = timed_frames(container, stream, decoder_of(stream, effort), begin, seek)
            shown = deinterlaced(effort.counting(timed), notes)
            try:
                for frame in shown_frames(shown, begin, rate, count, _slack(stream, fps, rate)):
                    pictures.add(frame)
                video = Video(pictures.finish(effort), float(rate))
            except SeekMissed:
                continue
            if notes:
                _log_once(f"{path} is {'; '.join(notes)}")
            return video
    raise AssertionError("decoding from the beginning never misses")


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


class _Pictures:
    """Frames in one growing uint8 array [t, h, w, 3] of the first frame's displayed size, or of a given size.

    Raises:
        SizeError: from `expect` and `add`: the array would exceed the limits.
    """

    def __init__(
        self, path: Path, stream: Any, size: tuple[int, int] | tuple[()], expected: int, notes: list[str]
    ) -> None:
        self._path, self._stream, self._size, self._notes = path, stream, size, notes
        self._reformatter = VideoReformatter()
        self._frames = np.empty((0, 0, 0, 3), np.uint8)
        self._count, self._expected, self._last = 0, expected, None
        height, width = size or (stream.codec_context.height, stream.codec_context.width)
        self._check(expected, height * width * 3)

    def add(self, frame: av.VideoFrame) -> None:
        """Convert and append a frame; the previous frame again is copied."""
        if not self._count:
            self._start(frame)
        num_bytes = self._frames[0].nbytes
        self._check(self._count + 1, num_bytes)
        if self._count == len(self._frames):
            more = max(1, min(self._count, 2**24 // num_bytes), self._count // 16)
            self._frames.resize((self._count + more, *self._frames.shape[1:]), refcheck=False)
        if frame is self._last:
            self._frames[self._count] = self._frames[self._count - 1]
        else:
            height, width = self._frames.shape[1:3]
            check_size(frame.height, frame.width, what=str(self._path))
            self._frames[self._count] = upright_pixels(frame, self._reformatter, (height, width))
        self._count, self._last = self._count + 1, frame

    def _start(self, frame: av.VideoFrame) -> None:
        check_size(frame.height, frame.width, what=str(self._path))
        height, width = self._size or displayed_size(frame, pixel_aspect(self._stream))
        check_size(height, width, what=str(self._path))
        if note := colour_note(frame):
            self._notes.append(note)
        ahead = max(1, min(self._expected, 2**28 // (height * width * 3)))  # the system reserves it when it is used
        self._frames = np.empty((ahead, height, width, 3), np.uint8)

    def finish(self, effort: Effort) -> np.ndarray:
        """The frames.

        Raises:
            MediaError: there are none.
        """
        self._last = None
        if not self._count:
            most = f"{effort.max_pixels / 1e6:.0f} million pixels, the limit for {effort.num_bytes} bytes"
            raise MediaError(f"{self._path} has no decodable frame of up to {most}; convert it first")
        self._frames.resize((self._count, *self._frames.shape[1:]), refcheck=False)
        return self._frames

    def _check(self, count: int, num_bytes: int) -> None:
        if count * num_bytes > MAX_CLIP_BYTES or count > MAX_CLIP_FRAMES:
            limit = f"{MAX_CLIP_BYTES // 2**30} GiB of memory or {MAX_CLIP_FRAMES} frames"
            raise SizeError(f"{self._path} exceeds {limit}; read a part with start= and seconds=")
