"""Cuts in latent frames: a clip as the storyboard that would generate it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from vitascope.model.canvas import Shot


class LatentShots(NamedTuple):
    """Shots of a clip in latent frames, and the latent frames that mix two shots."""

    shots: tuple[Shot, ...]
    mixed: tuple[int, ...]


def latent_shots(cuts: Sequence[int], num_latent_frames: int, time_stride: int) -> LatentShots | None:
    """Shots between `cuts`, sorted pixel frames; None if a shot has no latent frame of its own.

    A latent frame with a cut inside belongs to the shot with most of its pixel frames, in a tie to the later one. So no
    shot starts more than half a latent frame from its cut. See docs/decisions/0011-storyboards.md.
    """
    shots, mixed = [Shot()], []
    for cut in cuts:
        frame = math.ceil(cut / time_stride)
        num_before = cut - ((frame - 1) * time_stride + 1)  # pixel frames of the previous shot in this latent frame
        if num_before and frame < num_latent_frames:
            mixed.append(frame)
        start = frame if 2 * num_before <= time_stride else frame + 1
        if start == shots[-1].start:
            return None
        if start < num_latent_frames:
            shots.append(Shot(start, is_cut=True))
    return LatentShots(tuple(shots), tuple(mixed))
