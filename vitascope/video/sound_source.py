"""Sound streams of given files: their rate, their packets and their samples. Runs in a process that decodes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from vitascope.errors import VitascopeError
from vitascope.video.conversion import Emit
from vitascope.video.decoding import decoder_of, video_stream
from vitascope.video.opening import opened
from vitascope.video.timing import packets_with_content, timed_frames

COPY = "nut"  # container that carries copied packets to the process that writes
COPY_DELAY = 1  # seconds by which they are late in it, since it stores no negative times
_SEEK_MARGIN = Fraction(1, 2)  # seconds before a part, for decoders that need earlier packets
_RESYNC = 0.04  # seconds; smaller gaps between decoded frames are rounding errors of timestamps
_FAILURES = (FFmpegError, OSError, ValueError, VitascopeError)


def sample_rate(path: str) -> int:
    """Samples per second of a file's first sound stream."""
    with opened(Path(path)) as (container, _):
        return container.streams.audio[0].codec_context.sample_rate


def copy_sound(path: str, codecs: Sequence[str], container_format: str, seconds: float, emit: Emit) -> None:
    """Emit the packets of the first `seconds` of sound, as a file in the container `COPY`.

    Emits nothing unless the codec is one of `codecs` and `container_format` can store it.
    """
    with opened(Path(path)) as (container, effort):
        source = container.streams.audio[0]
        if source.codec_context.name not in codecs or not _can_store(source, container_format):
            return
        origin = _origin(container, effort, Path(path))
    with opened(Path(path)) as (container, _), io.BytesIO() as file:
        source = container.streams.audio[0]
        shift, delay, last = round(origin / source.time_base), round(COPY_DELAY / source.time_base), None
        with av.open(file, "w", format=COPY) as output:
            stream = output.add_stream_from_template(source)
            for packet in packets_with_content(container, source):
                if packet.pts is None or packet.dts is None or (last is not None and packet.dts <= last):
                    continue
                last = packet.dts
                begin = packet.pts - shift
                if begin * source.time_base >= seconds:
                    break
                if (begin + (packet.duration or 0)) * source.time_base > -_SEEK_MARGIN:
                    packet.pts, packet.dts = begin + delay, packet.dts - shift + delay
                    packet.stream = stream
                    output.mux(packet)
        content = np.frombuffer(file.getvalue(), np.uint8)
    emit([len(content)], content)


def _can_store(source: Any, container_format: str) -> bool:
    """True if the container's header takes a stream like the source's: the muxer is tried in memory."""
    if source.codec_context.name == "aac" and not source.codec_context.extradata:
        return False  # ADTS: its packets have headers of their own
    try:
        with av.open(io.BytesIO(), "w", format=container_format) as trial:
            trial.add_stream_from_template(source)
            trial.start_encoding()
    except _FAILURES:
        return False
    return True


def decode_sound(path: str, start: float, seconds: float, rate: int, emit: Emit) -> None:
    """Emit the samples of a part, float32 [c, n] in [-1, 1], with their shape; damaged packets are skipped.

    The part begins at second `start` of the video. It is empty if the file has no sound there.
    """
    with opened(Path(path)) as (container, effort):
        origin = _origin(container, effort, Path(path))
    with opened(Path(path)) as (container, _):
        source = container.streams.audio[0]
        channels = 1 if source.codec_context.channels == 1 else 2
        sound = np.zeros((channels, round(seconds * rate)), np.float32)
        begin = origin + Fraction(start)
        if start > 1:
            container.seek(int((begin - _SEEK_MARGIN) / source.time_base), stream=source)
        resampler = av.AudioResampler("fltp", "mono" if channels == 1 else "stereo", rate)
        at: int | None = None  # the position of the next sample
        found = False
        for frame in _frames(container, source, resampler):
            time = None if frame.pts is None else frame.pts * frame.time_base - begin
            if time is not None and (at is None or abs(time - Fraction(at, rate)) > _RESYNC):
                at = round(time * rate)
            samples, first = frame.to_ndarray(), at or 0
            at = first + samples.shape[1]
            if first >= sound.shape[1]:
                break
            shown = samples[:, max(0, -first) : sound.shape[1] - first]
            sound[:, max(0, first) : max(0, first) + shown.shape[1]] = shown
            found = found or shown.size > 0
    sound = sound if found else sound[:, :0]
    emit(list(sound.shape), sound)


def _frames(container: Any, source: Any, resampler: Any) -> Iterator[Any]:
    """Yield resampled frames; damaged packets are skipped."""
    for packet in [*packets_with_content(container, source), None]:
        try:
            frames = source.codec_context.decode(packet)
        except _FAILURES:
            continue
        for frame in frames:
            yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _origin(container: Any, effort: Any, path: Path) -> Fraction:
    """Time of the first video frame in a container, in seconds; sound and video share this clock."""
    stream = video_stream(container, path)
    first = next(timed_frames(container, stream, decoder_of(stream, effort), Fraction(0), seek=False), None)
    if first is None or first.frame.pts is None:
        return Fraction(0)
    return first.frame.pts * Fraction(stream.time_base or 0)
