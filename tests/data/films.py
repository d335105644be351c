"""Footage for tests of `vitascope prepare`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitascope.data.clips import Clip, list_clips
from vitascope.data.prepare import PrepareConfig
from vitascope.video import Video, write_video

CONFIG = PrepareConfig(sizes=("32x32", "48x32"), fps=8.0, num_frames=9, max_bad_share=1.0)


def film(path: Path, num_frames: int = 20, height: int = 48, width: int = 72) -> Path:
    """A grey film that grows brighter, at 8 frames a second."""
    levels = np.linspace(20, 220, num_frames).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()
    return write_video(Video(frames, 8.0), path)


def clips_of(out: Path, source: str) -> list[Clip]:
    return [clip for clip in list_clips(out) if clip.source == source]


def shots(path: Path, lengths: list[int]) -> Path:
    """A film at 8 frames a second whose shots have textures of their own that drift."""
    draw = np.random.default_rng(0)
    frames = []
    for length in lengths:
        texture = np.kron(draw.integers(0, 256, (6, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        frames += [texture[:, step : step + 72] for step in range(length)]
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(Video(np.stack(frames), 8.0), path, crf=4)
