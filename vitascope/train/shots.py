"""Where a clip's cuts fall among latent frames, so that it is learned as the storyboard that would ask for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from vitascope.model.canvas import Shot


class LatentShots(NamedTuple):
    """A clip's shots in latent frames, and which of those frames show two of them."""

    shots: tuple[Shot, ...]
    mixed: tuple[int, ...]


def latent_shots(cuts: Sequence[int], num_latent_frames: int, time_stride: int) -> LatentShots | None:
    """The shots that `cuts`, pixel frames in order, make of a clip; None if one of them has no latent frame of its own.

    A latent frame that a cut passes through counts as of the shot that shows most of it, or the later one, so no shot
    begins more than half of a latent frame from its cut. docs/decisions/0011-storyboards.md has more.
    """
    shots, mixed = [Shot()], []
    for cut in cuts:
        frame = math.ceil(cut / time_stride)
        num_before = cut - ((frame - 1) * time_stride + 1)  # pixel frames of the shot before in this latent frame
        if num_before and frame < num_latent_frames:
            mixed.append(frame)
        start = frame if 2 * num_before <= time_stride else frame + 1
        if start == shots[-1].start:
            return None
        if start < num_latent_frames:
            shots.append(Shot(start, is_cut=True))
    return LatentShots(tuple(shots), tuple(mixed))
