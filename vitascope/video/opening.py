"""Opening of media files of unknown origin, and the limits of the work that they may cause."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.error import FFmpegError

from vitascope.errors import MediaError, SizeError, reason
from vitascope.types import Number
from vitascope.video.clip import MAX_PIXELS
from vitascope.video.timing import TimedFrame

# Work that a file may cause. Real footage has below 200 pixels per byte, still screens below 20,000.
LARGE_PIXELS = 4096 * 2304  # frames above it must have enough data for their pixels
_LARGE_PIXELS_PER_BYTE = 256
_PIXELS_PER_BYTE, _FREE_PIXELS = 20_000, 2 * 10**9
_FREE_SECONDS, _SLOWEST_PIXELS, _SLOWEST_BYTES = 6.0, 4e6, 1e6  # the slowest decoding and parsing, per second

# Formats of pictures. FFmpeg's other formats are rejected, such as playlists (they open other files) and text art.
_DEMUXERS = (
    "mov,mp4,matroska,webm,avi,gif,apng,mpeg,mpegts,mpegvideo,m4v,flv,asf,ogg,h264,hevc,av1,obu,ivf,yuv4mpegpipe,nut,"
    "dv,mxf,rm,mjpeg,png_pipe,jpeg_pipe,webp_pipe,webp,webp_anim,bmp_pipe,tiff_pipe,gif_pipe,ppm_pipe,jpegxl_pipe"
)
_PYAV = int(av.__version__.split(".")[0])


class Watch:
    """Watch over a process that decodes; this one does nothing."""

    def work(self, silent_seconds: float) -> None:
        """Note that work goes on; the next call of FFmpeg may take `silent_seconds`."""

    def hold(self, num_bytes: int) -> None:
        """Allow the memory of `num_bytes` of decoded frames."""


class Effort:
    """Limits of the work that a file may cause, by its bytes: a small file that asks for much is refused.

    Raises:
        SizeError: from `read`, `counting` and `check`, as soon as a limit is passed.
    """

    watch = Watch()  # of this process

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.num_bytes = os.fstat(file.fileno()).st_size
        self.max_pixels = min(MAX_PIXELS, max(LARGE_PIXELS, self.num_bytes * _LARGE_PIXELS_PER_BYTE))
        self.seek, self.tell = file.seek, file.tell
        self._read, self._bytes, self._pixels = file.read, 0, 0
        self._begun, self._paused = time.monotonic(), 0.0
        self._check_time()

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
        self.watch.work(_FREE_SECONDS + self.max_pixels / _SLOWEST_PIXELS)
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


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise MediaError(f"{path} is a folder; give a video file")
    if not path.exists():
        raise MediaError(f"no file {path}; check the path")
    if not path.is_file():
        raise MediaError(f"{path} is not a regular file; give a video file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes)")
