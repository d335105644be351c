"""Timestamps, seeking, and resampling of frames to a constant rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
from av.error import FFmpegError

from vitascope.errors import PastEndError


class SeekMissed(Exception):
    """Seeking failed: the container landed after the target or has no timestamps."""


class TimedFrame(NamedTuple):
    """A frame with its display interval, in seconds from the stream's first frame."""

    time: Fraction
    end: Fraction
    frame: av.VideoFrame


def timed_frames(container: Any, stream: Any, begin: Fraction, seek: bool) -> Iterator[TimedFrame]:
    """Yield the decodable frames from the beginning or, with `seek`, from the key frame before `begin`.

    Raises:
        SeekMissed: seeking failed; decode from the beginning instead.
    """
    tick = Fraction(stream.time_base or Fraction(1, 90000))
    usual = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
    origin: Any = None  # a Fraction, once a frame is seen
    if seek:
        first = next(_decodable(container, stream), None)  # start times in headers can be off by a frame (AVI)
        if first is None or first.pts is None:
            raise SeekMissed
        origin = first.pts * tick
        try:
            container.seek(int((origin + begin) / tick), stream=stream)
        except (FFmpegError, OSError):
            raise SeekMissed from None
    begun, last_end = False, Fraction(0)
    for frame in _decodable(container, stream):
        if frame.pts is None and seek:
            raise SeekMissed
        time = last_end if frame.pts is None else frame.pts * tick
        origin = time if origin is None else origin
        if seek and not begun and time - origin > begin:
            raise SeekMissed
        begun, last_end = True, time + ((getattr(frame, "duration", 0) or 0) * tick or usual)
        yield TimedFrame(time - origin, last_end - origin, frame)
    if seek and not begun:
        raise SeekMissed


def _decodable(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    """Yield frames in display order. Undecodable packets are skipped; a truncated container ends the stream."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError, OSError):
            packet = None
        try:
            frames = stream.codec_context.decode(packet)
        except (FFmpegError, OSError, IndexError, ValueError):
            frames = []
        yield from frames
        if packet is None or (packet.dts is None and packet.size == 0):
            return


def shown_frames(
    timed: Iterable[TimedFrame], begin: Fraction, rate: Fraction, count: int | None, slack: Fraction
) -> Iterator[av.VideoFrame]:
    """Yield the frame on screen at begin + k / rate for k = 0, 1, ..., up to `count` frames or the end.

    A frame counts as on screen up to `slack` seconds before it begins.

    Raises:
        PastEndError: `begin` is past the end of the video.
    """
    current: av.VideoFrame | None = None
    end, k = Fraction(0), 0
    limit = math.inf if count is None else count
    for time, until, frame in timed:
        while current is not None and k < limit and begin + k / rate + slack <= time:
            yield current
            k += 1
        if k >= limit:
            return
        current, end = frame, max(until, end)
    while current is not None and k < limit and begin + k / rate + slack < end:
        yield current
        k += 1
    if current is not None and k == 0:
        if begin == 0:
            yield current
        else:
            raise PastEndError(f"start is {float(begin):g} s, past the end at {float(end):g} s; choose an earlier one")
