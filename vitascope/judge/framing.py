"""Another framing of a video: a window of it as large as the whole, so that clips aren't learned by heart."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

SMALLEST = 0.88  # of each side: whoever stands at the edge stays in sight


class Window(NamedTuple):
    """A part of a picture in shares of its sides: where it begins, and how much of each it has."""

    top: float
    left: float
    share: float


WHOLE = Window(0.0, 0.0, 1.0)


def draw_window(generator: torch.Generator) -> Window:
    """A window somewhere in the picture, of the same aspect."""
    size, down, across = torch.rand(3, generator=generator).tolist()
    share = SMALLEST + (1 - SMALLEST) * size
    return Window((1 - share) * down, (1 - share) * across, share)


def framed(clip: Float[Tensor, "3 t h w"], window: Window) -> Float[Tensor, "3 t h w"]:
    """What a window shows, at the size of the whole: each pixel a blend of those around its place."""
    height, width = clip.shape[2:]
    rows, columns = (
        2 * (begin + window.share * (torch.arange(side) + 0.5) / side) - 1
        for begin, side in ((window.top, height), (window.left, width))
    )
    grid = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
    frames = rearrange(clip, "c t h w -> 1 (c t) h w")
    seen = F.grid_sample(frames, grid[None], mode="bilinear", padding_mode="border", align_corners=False)
    return rearrange(seen, "1 (c t) h w -> c t h w", c=len(clip))
