"""Clips with a tone at a known time, and the times at which a file sounds."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from tests.video.pictures import numbered

FPS = 8


def write_tone(
    path: Path,
    tone: tuple[float, float],
    *,
    num_frames: int = 16,
    container: str = "mp4",
    codec: str = "aac",
    rate: int = 48000,
    layout: str = "stereo",
    delay: float = 0.0,
) -> Path:
    """A clip whose sound is a sine from `tone[0]` to `tone[1]` seconds; `delay` is the first frame's time."""
    times = np.arange(int(rate * (num_frames / FPS + delay))) / rate
    wave = 0.5 * np.sin(2 * np.pi * 1000 * times) * ((times >= tone[0] + delay) & (times < tone[1] + delay))
    with av.open(f"file:{path}", "w", format=container) as output:
        video = output.add_stream("libx264" if container != "webm" else "libvpx-vp9", rate=FPS)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        sound = output.add_stream(codec, rate=rate, layout=layout)
        for number, rgb in enumerate(numbered(num_frames)):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round((number + delay * FPS) * 1000), Fraction(1, 1000 * FPS)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        planes = np.repeat(wave[None].astype(np.float32), 1 if layout == "mono" else 2, axis=0)
        samples = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), format="fltp", layout=layout)
        samples.sample_rate, samples.pts, samples.time_base = rate, 0, Fraction(1, rate)
        output.mux(sound.encode(samples))
        output.mux(sound.encode(None))
    return path


def sounding(path: Path) -> list[tuple[float, float]]:
    """(start, stop) of each sound in a file, in seconds from its first video frame; [] without a sound stream."""
    with av.open(f"file:{path}") as container:
        first = next(container.decode(video=0))
        origin = float(first.pts * first.time_base)
    with av.open(f"file:{path}") as container:
        if not container.streams.audio:
            return []
        loud: list[float] = []
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(np.float64)
            if frame.format.name.startswith("s16"):
                samples /= 32768
            if not frame.format.is_planar:
                samples = samples.reshape(-1, len(frame.layout.channels)).T
            offset = float(frame.pts * frame.time_base) - origin
            loud += (offset + np.flatnonzero(abs(samples[0]) > 0.1) / frame.sample_rate).tolist()
    if not loud:
        return []
    edges = [0, *(np.flatnonzero(np.diff(loud) > 0.05) + 1).tolist(), len(loud)]
    return [(loud[a], loud[b - 1]) for a, b in pairwise(edges)]
