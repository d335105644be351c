"""Augmentation of the judge's training clips: framing, and mild effects of recording, compression and generation.

A judge trained on clean renders alone is overconfident on everything else. Colours keep their names.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

BLOCK = 8  # pixels per side of a coded block, as in JPEG and MPEG
MIN_SHARE = 0.88  # smallest share of each side in a window: actors at the edge stay visible
Clip = Float[Tensor, "3 t h w"]  # in [-1, 1]


class Window(NamedTuple):
    """Part of a picture: top and left edge and extent, as shares of the picture's sides."""

    top: float
    left: float
    share: float


WHOLE = Window(0.0, 0.0, 1.0)


def draw_window(generator: torch.Generator) -> Window:
    """Random window with the picture's aspect."""
    size, down, across = torch.rand(3, generator=generator).tolist()
    share = MIN_SHARE + (1 - MIN_SHARE) * size
    return Window((1 - share) * down, (1 - share) * across, share)


def framed(clip: Clip, window: Window) -> Clip:
    """The window's content at the size of the whole clip, with bilinear interpolation."""
    height, width = clip.shape[2:]
    rows, columns = (
        2 * (begin + window.share * (torch.arange(side) + 0.5) / side) - 1
        for begin, side in ((window.top, height), (window.left, width))
    )
    grid = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
    frames = rearrange(clip, "c t h w -> 1 (c t) h w")
    sampled = F.grid_sample(frames, grid[None], mode="bilinear", padding_mode="border", align_corners=False)
    return rearrange(sampled, "1 (c t) h w -> c t h w", c=len(clip))


def degrade(pixels: Float[Tensor, "b 3 t h w"], share: float, generator: torch.Generator) -> Float[Tensor, "b 3 t h w"]:
    """The clips, a share of them degraded. Rows and columns must be multiples of a block."""
    return torch.stack([_degraded(clip, generator) if _draw(generator) < share else clip for clip in pixels])


def _degraded(clip: Clip, generator: torch.Generator) -> Clip:
    clip = exposed(clip, generator)
    if _draw(generator) < 0.4:
        clip = smeared(clip, _draw(generator, 0.0, 0.4))
    if _draw(generator) < 0.5:
        clip = blurred(clip, _draw(generator, 0.3, 1.1))
    if _draw(generator) < 0.4:
        clip = block_coded(clip, _draw(generator, 0.02, 0.12))
    noise = torch.randn(clip.shape, generator=generator) * _draw(generator, 0.0, 0.06)
    return (clip + noise).clamp(-1, 1)


def exposed(clip: Clip, generator: torch.Generator) -> Clip:
    """Clip with random contrast, brightness and white balance."""
    balance = torch.tensor([_draw(generator, -0.03, 0.03) for _ in range(3)])
    contrast, brightness = _draw(generator, 0.88, 1.12), _draw(generator, -0.08, 0.08)
    return clip * contrast + brightness + rearrange(balance, "c -> c 1 1 1")


def smeared(clip: Clip, weight: float) -> Clip:
    """Each frame blended with the previous one."""
    before = torch.cat([clip[:, :1], clip[:, :-1]], dim=1)
    return clip.lerp(before, weight)


def blurred(clip: Clip, sigma: float) -> Clip:
    """Frames after a Gaussian blur; sigma in pixels."""
    offsets = torch.arange(-2.0, 3.0)
    weights = (-0.5 * (offsets / sigma) ** 2).exp()
    weights = weights / weights.sum()
    frames = F.pad(rearrange(clip, "c t h w -> (c t) 1 h w"), (2, 2, 2, 2), mode="replicate")
    frames = F.conv2d(F.conv2d(frames, weights.view(1, 1, 5, 1)), weights.view(1, 1, 1, 5))
    return rearrange(frames, "(c t) 1 h w -> c t h w", c=len(clip))


def block_coded(clip: Clip, step: float) -> Clip:
    """Frames with rounded cosine coefficients per block; `step` rounds the mean, higher frequencies are coarser."""
    basis = _cosines()
    blocks = rearrange(clip, "c t (h a) (w b) -> c t h w a b", a=BLOCK, b=BLOCK)
    coefficients = basis @ blocks @ basis.T
    frequency = torch.arange(BLOCK)
    steps = step * (1.0 + frequency[:, None] + frequency)
    rounded = (coefficients / steps).round() * steps
    return rearrange(basis.T @ rounded @ basis, "c t h w a b -> c t (h a) (w b)")


def _cosines() -> Float[Tensor, "k n"]:
    """Orthonormal cosine transform of a block's side."""
    n = torch.arange(BLOCK)
    basis = (math.pi / BLOCK * (n + 0.5) * n[:, None]).cos() * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return basis


def _draw(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()
