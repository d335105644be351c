"""Facts about a media file from its headers, packets and first frame."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
from av.error import FFmpegError

from vitascope.video.clip import IMAGE_FPS, MAX_FPS, MIN_FPS
from vitascope.video.decoding import decoder_of, is_image, pixel_aspect, video_stream
from vitascope.video.opening import opened
from vitascope.video.pixels import colour_note, displayed_size, orientation
from vitascope.video.process import run_apart
from vitascope.video.timing import INTERLACED, JUMP, may_restart, packets_with_content, timed_frames

Kind = Literal["video", "animation", "image"]


class Probe(NamedTuple):
    """Kind of a file, its duration in seconds (0 for an image), displayed size, average rate, sound, and notes.

    `fps` is 0 if the rate is unknown or out of range. `notes` describe conversions that reading makes.
    """

    kind: Kind
    duration: float
    height: int
    width: int
    fps: float
    has_sound: bool
    notes: tuple[str, ...]


class Packets(NamedTuple):
    """Frames per second and seconds of a stream by its packets, and its number of joined recordings.

    Rate and seconds are 0 where timestamps are missing and the rate is unknown.
    """

    rate: Fraction
    seconds: Fraction
    num_parts: int


def probe(path: str | Path) -> Probe:
    """Facts about a media file, from its headers and first frame.

    Raises:
        MediaError: the file is missing, unreadable or without pictures.
        SizeError: its frames are below 16x16, above 64 Mpx, or too large for the file's bytes.
    """
    *facts, notes = run_apart("probing.probe_here", Path(path))
    return Probe(*facts, notes=tuple(notes))


def probe_here(path: str | Path) -> Probe:
    """As `probe`, in this process."""
    path = Path(path)
    with opened(path) as (container, effort):
        stream = video_stream(container, path)
        still = is_image(container, stream)
        name, rate = container.format.name, float(stream.average_rate or 0)
        timed = timed_frames(container, stream, decoder_of(stream, effort), Fraction(0), seek=False)
        first = next(effort.counting(timed), None)
        if first is None:
            height, width, notes = stream.codec_context.height, stream.codec_context.width, ()
        else:
            height, width = displayed_size(first.frame, pixel_aspect(stream), orientation(first.frame))
            found = (colour_note(first.frame), INTERLACED if first.frame.interlaced_frame else "")
            notes = tuple(note for note in found if note)
        has_sound = bool(container.streams.audio)
    kind: Kind = "image" if still else "animation" if name in ("gif", "apng") else "video"
    fps = IMAGE_FPS if still else rate if MIN_FPS <= rate <= MAX_FPS else 0.0
    return Probe(kind, duration_here(path), height, width, fps, has_sound, notes)


def read_duration(path: str | Path) -> float:
    """Duration of a file's video stream in seconds from its header or packets, without decoding; 0 for an image.

    Raises:
        MediaError: the file is missing, unreadable or without pictures.
    """
    return run_apart("probing.duration_here", Path(path))


def duration_here(path: str | Path) -> float:
    """As `read_duration`, in this process."""
    path = Path(path)
    with opened(path) as (container, _):
        stream = video_stream(container, path)
        if is_image(container, stream):
            return 0.0
        if not may_be_joined(container, path):
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            if container.duration and len(container.streams) == 1:
                return container.duration / av.time_base
            if seconds := _last_end(container, stream):
                return float(seconds)
    return float(packets_of(path).seconds)


def read_comment(path: str | Path) -> str:
    """The comment in a file's metadata; empty if there is none.

    Raises:
        MediaError: no such file, or one that can't be read.
    """
    return run_apart("probing.comment_here", Path(path))


def comment_here(path: str | Path) -> str:
    """As `read_comment`, in this process."""
    with opened(Path(path)) as (container, _):
        tags = {key.lower(): value for key, value in container.metadata.items()}
    return str(tags.get("comment", ""))


def packets_of(path: Path) -> Packets:
    """Packets of a file's video stream, counted without decoding; the last files' are kept.

    Raises:
        MediaError: the file is missing, unreadable or without pictures.
    """
    with opened(path):
        status = path.stat()
    return _counted(path, status.st_size, status.st_mtime_ns)


def may_be_joined(container: Any, path: Path) -> bool:
    """True if a file may hold several recordings one after the other, each with its own timestamps and header."""
    if may_restart(container):
        return True
    name = container.format.name
    with path.open("rb") as file:
        head = file.read(4096)
    if "matroska" in name:
        return _segment_end(head) < path.stat().st_size
    return name == "gif" or (name == "avi" and int.from_bytes(head[4:8], "little") + 9 < path.stat().st_size)


def _segment_end(head: bytes) -> int:
    """End of the first segment of a Matroska file; 0 if it isn't stated, as in live recordings."""
    at = head.find(b"\x18\x53\x80\x67") + 4  # identifier of a segment
    if at < 4 or at == len(head) or not head[at]:
        return 0
    length = 9 - head[at].bit_length()  # of the size, in bytes
    size = int.from_bytes(head[at : at + length], "big") - (1 << 7 * length)
    return 0 if size == (1 << 7 * length) - 1 else at + length + size


@lru_cache(maxsize=64)
def _counted(path: Path, size: int, modified: int) -> Packets:
    del size, modified  # parts of the cache's key
    with opened(path) as (container, _):
        stream = video_stream(container, path)
        tick = Fraction(stream.time_base or 0)
        usual, jump = _usual_ticks(stream), JUMP if may_restart(container) else float("inf")
        num_packets = num_stamped = ticks = 0
        parts: list[list[int]] = []  # first and last tick of each
        last: int | None = None
        for packet in packets_with_content(container, stream):
            num_packets += 1
            stamp = packet.dts if packet.dts is not None else packet.pts
            if packet.pts is None or stamp is None:
                continue
            num_stamped += 1
            if last is None or stamp < last or (stamp - last) * tick > jump:
                parts.append([packet.pts, packet.pts])
            parts[-1] = [min(parts[-1][0], packet.pts), max(parts[-1][1], packet.pts + (packet.duration or usual))]
            last = stamp
        ticks = sum(end - begin for begin, end in parts)
        if ticks <= 0:
            rate = Fraction(stream.guessed_rate or stream.base_rate or 0)
            return Packets(rate, num_packets / rate if rate else Fraction(0), 1)
    return Packets(num_stamped / (ticks * tick) if tick else Fraction(0), ticks * tick, len(parts))


def _usual_ticks(stream: Any) -> int:
    """Ticks of a frame at the average rate, for packets that don't state their duration; 0 if unknown."""
    return round(1 / stream.average_rate / stream.time_base) if stream.average_rate and stream.time_base else 0


def _last_end(container: Any, stream: Any) -> Fraction:
    """End of a stream's last packet from its first, by a seek to the container's end; 0 if that fails."""
    tick = Fraction(stream.time_base or 0)
    first = next((packet.pts for packet in packets_with_content(container, stream) if packet.pts is not None), None)
    if first is None or not container.duration or not tick:
        return Fraction(0)
    try:
        container.seek(first + int(Fraction(container.duration, av.time_base) / tick), stream=stream)
    except (FFmpegError, OSError):
        return Fraction(0)
    usual = _usual_ticks(stream)
    ends = [
        packet.pts + (packet.duration or usual)
        for packet in packets_with_content(container, stream)
        if packet.pts is not None
    ]
    return max(ends, default=first) * tick - first * tick
