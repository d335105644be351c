"""Timestamps, seeking, deinterlacing, and resampling of frames to a constant rate."""

from __future__ import annotations

import errno
import math
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
from av.error import FFmpegError
from av.filter import Graph

from vitascope.errors import PastEndError

JUMP = 10  # seconds; a longer gap in a format that allows discontinuities is a join, as in ffmpeg
INTERLACED = "interlaced, deinterlaced"
_DISCONTINUOUS = 0x200  # AVFMT_TS_DISCONT: MPEG transport and program streams, Ogg


class SeekMissed(Exception):
    """Seeking failed: the container landed after the target or has no timestamps."""


class TimedFrame(NamedTuple):
    """A frame with its display interval, in seconds from the stream's first frame."""

    time: Fraction
    end: Fraction
    frame: av.VideoFrame


def may_restart(container: Any) -> bool:
    """True if the format allows timestamps to restart or to jump, such as where two recordings were joined."""
    return bool(int(container.format.flags) & _DISCONTINUOUS)


def timed_frames(container: Any, stream: Any, decoder: Any, begin: Fraction, seek: bool) -> Iterator[TimedFrame]:
    """Yield the decodable frames from the beginning or, with `seek`, from the key frame before `begin`.

    Timestamps that go back begin another recording, which follows the last frame.

    Raises:
        SeekMissed: seeking failed; decode from the beginning instead.
    """
    tick = Fraction(stream.time_base or Fraction(1, 90000))
    usual = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
    jump = JUMP if may_restart(container) else math.inf
    origin: Any = None  # a Fraction, once a frame is seen
    if seek:
        first = next(_decodable(container, stream, decoder), None)  # headers can be off by a frame (AVI)
        if first is None or first.pts is None:
            raise SeekMissed
        origin = first.pts * tick
        try:
            container.seek(int((origin + begin) / tick), stream=stream)
            decoder.flush_buffers()
        except (FFmpegError, OSError):
            raise SeekMissed from None
    last: Any = None  # a Fraction, once a frame is seen
    end, shift = Fraction(0), Fraction(0)
    for frame in _decodable(container, stream, decoder):
        if frame.pts is None and seek:
            raise SeekMissed
        time = end if frame.pts is None else frame.pts * tick + shift
        origin = time if origin is None else origin
        if seek and last is None and time - origin > begin:
            raise SeekMissed
        if last is not None and (time < last or time - end > jump):
            if seek:
                raise SeekMissed
            shift, time = shift + end - time, end
        last, end = time, time + ((getattr(frame, "duration", 0) or 0) * tick or usual)
        yield TimedFrame(time - origin, end - origin, frame)
    if seek and last is None:
        raise SeekMissed


def _decodable(container: Any, stream: Any, decoder: Any) -> Iterator[av.VideoFrame]:
    """Yield frames in display order. Undecodable packets are skipped; a truncated container ends the stream."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError, OSError):
            packet = None
        try:
            frames = decoder.decode(packet)
        except (FFmpegError, OSError, IndexError, ValueError) as error:
            if getattr(error, "errno", None) == errno.ENOMEM:
                raise MemoryError from None
            frames = []
        yield from frames
        if packet is None or (packet.dts is None and packet.size == 0):
            return


def packets_with_content(container: Any, stream: Any) -> Iterator[Any]:
    """Yield a stream's packets with content; a truncated container ends them."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError, OSError):
            return
        if packet.size:
            yield packet


def deinterlaced(timed: Iterable[TimedFrame], notes: list[str]) -> Iterator[TimedFrame]:
    """Yield the frames as they are or, from the first interlaced one on, through a deinterlacer.

    It keeps progressive frames and the frame rate, and follows the field order of each frame. The first interlaced
    frame is noted.
    """
    waiting: deque[TimedFrame] = deque()
    bobbed: Any = None
    layout: Any = None
    for item in timed:
        frame = item.frame
        if bobbed is not None and layout != _layout(frame):
            yield from _drained(bobbed, waiting)
            bobbed = None
        if bobbed is None:
            if not frame.interlaced_frame:
                yield item
                continue
            bobbed, layout = _deinterlacer(frame), _layout(frame)
            if INTERLACED not in notes:
                notes.append(INTERLACED)
        waiting.append(item)
        bobbed.push(frame)
        yield from _pulled(bobbed, waiting)
    if bobbed is not None:
        yield from _drained(bobbed, waiting)


def _layout(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.height, frame.width, frame.format.name


def _deinterlacer(frame: av.VideoFrame) -> Any:
    """Filter graph that returns one frame per frame, delayed by one."""
    graph: Any = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name, time_base=Fraction(1, 1000)
    )
    kernel, sink = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"), graph.add("buffersink")
    source.link_to(kernel)
    kernel.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Any, waiting: deque[TimedFrame]) -> Iterator[TimedFrame]:
    while waiting:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        yield waiting.popleft()._replace(frame=frame)


def _drained(graph: Any, waiting: deque[TimedFrame]) -> Iterator[TimedFrame]:
    graph.push(None)
    yield from _pulled(graph, waiting)


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
