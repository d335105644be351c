"""Decoding of video, animation and image files by FFmpeg, within limits of work, as players show them."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av

from vitascope.errors import MediaError
from vitascope.types import Number
from vitascope.video.clip import IMAGE_FPS, MAX_FPS, MIN_FPS, check_size, exact_fps
from vitascope.video.conversion import Conversion, Emit
from vitascope.video.opening import Effort, opened
from vitascope.video.timing import SeekMissed, deinterlaced, may_restart, shown_frames, timed_frames

SEEK_FROM = Fraction(1)  # seconds; earlier starts decode from the beginning

_THREAD_BYTES = 16 * 2**20  # of frames that are decoded at the same time
_MOST_FRAMES, _MOST_BYTES = 32, 6  # held by a decoder, and per pixel
_FULL_HD = 1920 * 1088  # pixels that any stream may have, whatever its header says
_PICTURES = 0x400 | 0x800 | 0x80000  # dispositions: attached picture, timed thumbnails, tile or layer of an image
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders ignore the alpha channel
_MAX_ASPECT = 16  # of stored pixels; others are damaged


def decode_video(
    path: str,
    fps: str | None,
    size: Sequence[int] | None,
    start: str,
    seconds: float | None,
    max_frames: int | None,
    emit: Emit,
) -> tuple[float, list[str]]:
    """Frame rate of the part that `read_video` asks for, and notes on conversions; `emit` takes its frames.

    Rates and times are fractions as text.

    Raises:
        MediaError, SizeError: as `read_video`.
    """
    begin = Fraction(start)
    part = Part(Path(path), Fraction(fps) if fps else None, begin, seconds, max_frames)
    output = Conversion(part.path, None if size is None else (size[0], size[1]), emit)
    rate = _decode(part, output, seek=True) if begin >= SEEK_FROM else None
    if rate is None:
        rate = _decode(part, output, seek=False)
    assert rate is not None, "decoding from the beginning never misses"
    if output.is_large:
        gc.collect(1)  # PyAV's objects refer to each other, and would keep the decoder's frames
    return float(rate), output.notes


class Part(NamedTuple):
    """Part of a file to decode; `fps` None is the file's rate. `begin` and `seconds` are in seconds."""

    path: Path
    fps: Fraction | None
    begin: Fraction
    seconds: float | None
    max_frames: int | None


def _decode(part: Part, output: Conversion, seek: bool) -> Fraction | None:
    """Convert the frames of a part, and return their rate; None if `seek` is set and seeking fails."""
    path, begin = part.path, part.begin
    with opened(path) as (container, effort):
        stream = video_stream(container, path)
        if seek and _restarts(container, path):
            return None
        if is_image(container, stream):
            rate, count = part.fps or exact_fps(IMAGE_FPS), 1
        else:
            rate = part.fps or _average_rate(stream, path)
            count = _num_wanted(rate, part.seconds, part.max_frames)
        span = _declared_span(container, stream, path, begin, None if count is None else count / rate)
        stored = (stream.codec_context.height, stream.codec_context.width)
        output.start(stored, pixel_aspect(stream), expected=math.floor(span * rate))
        if (index := _alpha_index(container, stream)) is not None:
            output.alpha = _first_frame(path, index)
        effort.check_span(stream, span if seek else begin + span)
        timed = timed_frames(container, stream, decoder_of(stream, effort), begin, seek)
        shown = deinterlaced(effort.counting(timed), output.notes)
        try:
            for frame in shown_frames(shown, begin, rate, count, _slack(stream, part.fps, rate)):
                output.add(frame)
        except SeekMissed:
            return None
        if not output.num_frames:
            most = f"{effort.max_pixels / 1e6:.0f} million pixels, the limit for {effort.num_bytes} bytes"
            raise MediaError(f"{path} has no decodable frame of up to {most}; convert it first")
        output.finish()
    return rate


def _alpha_index(container: Any, stream: Any) -> int | None:
    """Index of the stream that holds the alpha channel of a HEIC or AVIF image; None if it has none."""
    if "mp4" not in container.format.name or not is_image(container, stream):
        return None
    size = stream.codec_context.height, stream.codec_context.width
    for other in container.streams.video:
        context = other.codec_context
        if context is None or other.index == stream.index:
            continue
        if str(context.pix_fmt).startswith("gray") and (context.height, context.width) == size:
            return other.index
    return None


def _first_frame(path: Path, index: int) -> Any:
    """First frame of a stream; None if it can't be decoded."""
    with opened(path) as (container, effort):
        stream = container.streams[index]
        timed = timed_frames(container, stream, decoder_of(stream, effort), Fraction(0), seek=False)
        first = next(effort.counting(timed), None)
    return None if first is None else first.frame


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
    decoder: Any = stream.codec_context
    pixels = decoder.height * decoder.width
    name = _ALPHA_DECODERS.get(decoder.codec.canonical_name if decoder.codec else "")
    tags = {key.lower(): value for key, value in stream.metadata.items()}  # some muxers write ALPHA_MODE
    if tags.get("alpha_mode") == "1" and name in av.codecs_available:
        decoder = av.CodecContext.create(name, "r")
    decoder.options = {"max_pixels": str(effort.max_pixels)}
    effort.watch.hold(_MOST_FRAMES * _MOST_BYTES * max(pixels, _FULL_HD))
    if pixels > 512 * 512:  # threads cost more than they gain for smaller frames
        bits = decoder.format.bits_per_pixel if decoder.format else 16
        most = max(1, 8 * _THREAD_BYTES // (bits * pixels))
        decoder.thread_type = "AUTO" if most > 1 else "SLICE"
        decoder.thread_count = min(most, os.cpu_count() or 1)
    return decoder


def pixel_aspect(stream: Any) -> Fraction:
    """Width of a stored pixel by its height; 1 if unknown, for images, and within rounding errors of 1."""
    if stream.container.format.name.endswith("_pipe"):
        return Fraction(1)  # viewers ignore the aspect of a scan's resolution
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, _MAX_ASPECT) <= aspect <= _MAX_ASPECT or abs(aspect - 1) < Fraction(1, 200):
        return Fraction(1)
    return Fraction(aspect)


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
