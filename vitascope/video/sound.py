"""Sound of given footage, copied to the videos made from it.

Packets are copied if the sound begins with the video and the container stores its codec. Otherwise the sound is
decoded, laid out in silence and encoded again. At most a minute per part is in memory.
"""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float32

from vitascope.errors import VitascopeError, reason
from vitascope.video.formats import Encoding
from vitascope.video.reading import decoder_of, opened, video_stream
from vitascope.video.timing import packets_with_content, timed_frames

_RATE = 48000  # samples per second, for sources whose rate an encoder lacks
_RATES = (48000, 44100, 32000, 24000, 16000)
_SEEK_MARGIN = Fraction(1, 2)  # seconds before a part, for decoders that need earlier packets
_RESYNC = 0.04  # seconds; smaller gaps between decoded frames are rounding errors of timestamps
_FAILURES = (FFmpegError, OSError, ValueError, VitascopeError)

_log = logging.getLogger(__name__)


class SoundPart(NamedTuple):
    """Sound of `path` from second `start` of its video, `seconds` long, at second `at` of the result."""

    path: Path
    start: float
    seconds: float
    at: float


class SoundTrack:
    """Sound stream of a file that is being written. Without usable sound, it writes none and logs the reason.

    `output` is a PyAV container whose header isn't written yet.
    """

    def __init__(self, output: Any, encoding: Encoding, parts: Sequence[SoundPart], name: str) -> None:
        self._output, self._name = output, name
        self._stream: Any = None
        self._packets: deque[Any] = deque()  # to copy
        self._samples = np.zeros((1, 0), np.float32)  # to encode
        self._rate, self._done = _RATE, 0
        files = ", ".join(dict.fromkeys(str(part.path) for part in parts))
        if not encoding.sound:
            _log.warning("%s: a %s holds no sound; that of %s is left out", name, encoding.container, files)
            return
        try:
            if not self._copied(encoding, parts):
                self._open_encoder(encoding, parts)
        except _FAILURES as error:
            self._stream = None
            _log.warning("%s: the sound of %s is left out: %s", name, files, reason(error))

    def write_until(self, seconds: Fraction, *, is_end: bool = False) -> None:
        """Write the sound up to an instant of the result; `is_end` cuts it there and flushes the encoder."""
        if self._stream is None:
            return
        try:
            while self._packets and self._packets[0].pts * self._packets[0].time_base < seconds:
                self._output.mux(self._packets.popleft())
            if self._samples.size:
                self._encode(min(int(seconds * self._rate), self._samples.shape[1]))
                if is_end:
                    self._output.mux(self._stream.encode(None))
        except _FAILURES as error:
            self._stream = None
            _log.warning("%s: the sound ends at %.1f seconds: %s", self._name, float(seconds), reason(error))

    def _encode(self, stop: int) -> None:
        while self._done < stop:
            end = min(stop, self._done + self._rate)
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(self._samples[:, self._done : end]), format="fltp", layout=self._layout
            )
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
            self._output.mux(self._stream.encode(frame))
            self._done = end

    @property
    def _layout(self) -> str:
        return "stereo" if len(self._samples) == 2 else "mono"

    def _open_encoder(self, encoding: Encoding, parts: Sequence[SoundPart]) -> None:
        with opened(parts[0].path) as (container, _):
            rate = container.streams.audio[0].codec_context.sample_rate
        self._rate = rate if rate in _RATES and encoding.sound != "libopus" else _RATE
        self._samples = _laid_out([(part, _decoded(part, self._rate)) for part in parts], self._rate)
        if not self._samples.size:
            raise ValueError("it can't be decoded")
        self._stream = self._output.add_stream(encoding.sound, rate=self._rate, layout=self._layout)

    def _copied(self, encoding: Encoding, parts: Sequence[SoundPart]) -> bool:
        """True if the packets can be copied; they are then in memory."""
        part = parts[0]
        if len(parts) > 1 or part.start or part.at:
            return False
        with opened(part.path) as (container, effort):
            source = container.streams.audio[0]
            if source.codec_context.name not in encoding.sounds_copied or not _can_store(source, encoding):
                return False
            origin = _origin(container, effort, part.path)
        with opened(part.path) as (container, effort):
            source = container.streams.audio[0]
            stream = self._output.add_stream_from_template(source)
            shift, last = round(origin / source.time_base), None
            for packet in packets_with_content(container, source):
                if packet.pts is None or packet.dts is None or (last is not None and packet.dts <= last):
                    continue
                last = packet.dts
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                if packet.pts * source.time_base >= part.seconds:
                    break
                if (packet.pts + (packet.duration or 0)) * source.time_base > -_SEEK_MARGIN:
                    packet.stream = stream
                    self._packets.append(packet)
            self._stream = stream
        return True


def _can_store(source: Any, encoding: Encoding) -> bool:
    """True if the container's header takes a stream like the source's: the muxer is tried in memory."""
    if source.codec_context.name == "aac" and not source.codec_context.extradata:
        return False  # ADTS: its packets have headers of their own
    try:
        with av.open(io.BytesIO(), "w", format=encoding.container) as trial:
            trial.add_stream_from_template(source)
            trial.start_encoding()
    except _FAILURES:
        return False
    return True


def _laid_out(decoded: Sequence[tuple[SoundPart, np.ndarray]], rate: int) -> Float32[np.ndarray, "c n"]:
    """Parts at their instants, with silence between them, in the largest number of channels."""
    decoded = [(part, samples) for part, samples in decoded if samples.size]
    num_channels = max((len(samples) for _, samples in decoded), default=1)
    length = max((round(part.at * rate) + samples.shape[1] for part, samples in decoded), default=0)
    sound = np.zeros((num_channels, length), np.float32)
    for part, samples in decoded:
        first = round(part.at * rate)
        sound[:, first : first + samples.shape[1]] = samples  # mono goes to both channels
    return sound


def _decoded(part: SoundPart, rate: int) -> Float32[np.ndarray, "c n"]:
    """Samples of a part, in [-1, 1]; silence where the file has none. Damaged packets are skipped."""
    with opened(part.path) as (container, effort):
        origin = _origin(container, effort, part.path)
    with opened(part.path) as (container, _):
        source = container.streams.audio[0]
        channels = 1 if source.codec_context.channels == 1 else 2
        sound = np.zeros((channels, round(part.seconds * rate)), np.float32)
        begin = origin + Fraction(part.start)
        if part.start > 1:
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
    return sound if found else sound[:, :0]


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
