"""Sound of given footage, copied to the videos made from it.

Packets are copied if the sound begins with the video and the container stores its codec. Otherwise the sound is
decoded, laid out in silence and encoded again. At most a minute per part is in memory.
"""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float32

from vitascope.errors import VitascopeError, reason
from vitascope.video.formats import Encoding
from vitascope.video.process import run_apart
from vitascope.video.sound_source import COPY, COPY_DELAY
from vitascope.video.timing import packets_with_content

_RATE = 48000  # samples per second, for sources whose rate an encoder lacks
_RATES = (48000, 44100, 32000, 24000, 16000)
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
        rate = run_apart("sound_source.sample_rate", parts[0].path)
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
        content: list[np.ndarray] = []
        accepted = sorted(encoding.sounds_copied)
        run_apart(
            "sound_source.copy_sound",
            part.path,
            accepted,
            encoding.container,
            part.seconds,
            receive=lambda head: content.append(np.empty(head[0], np.uint8)) or content[-1],
        )
        if not content:
            return False
        with av.open(io.BytesIO(content[0].tobytes()), "r", format=COPY) as copy:
            source = copy.streams.audio[0]
            self._stream = self._output.add_stream_from_template(source)
            shift = round(COPY_DELAY / Fraction(source.time_base or 1))
            for packet in packets_with_content(copy, source):
                if packet.pts is not None and packet.dts is not None:
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    packet.stream = self._stream
                    self._packets.append(packet)
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
    """Samples of a part, in [-1, 1]; none where the file has none."""
    sound = np.zeros((1, 0), np.float32)

    def receive(head: list[int]) -> np.ndarray:
        nonlocal sound
        sound = np.empty(head, np.float32)
        return sound

    run_apart("sound_source.decode_sound", part.path, part.start, part.seconds, rate, receive=receive)
    return sound
