"""What recording, compression and generation do to a video, mildly: its colours stay what they are called.

A judge that has only seen clean renders is sure of itself on everything else.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

BLOCK = 8  # pixels of a side of what is coded together, as in JPEG and MPEG
Clip = Float[Tensor, "3 t h w"]  # in [-1, 1]


def degrade(pixels: Float[Tensor, "b 3 t h w"], share: float, generator: torch.Generator) -> Float[Tensor, "b 3 t h w"]:
    """The videos, a share of them degraded, each in its own way; rows and columns in whole blocks."""
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
    """Other contrast, brightness and white balance."""
    balance = torch.tensor([_draw(generator, -0.03, 0.03) for _ in range(3)])
    contrast, brightness = _draw(generator, 0.88, 1.12), _draw(generator, -0.08, 0.08)
    return clip * contrast + brightness + rearrange(balance, "c -> c 1 1 1")


def smeared(clip: Clip, weight: float) -> Clip:
    """Each frame with a share of the one before it."""
    before = torch.cat([clip[:, :1], clip[:, :-1]], dim=1)
    return clip.lerp(before, weight)


def blurred(clip: Clip, sigma: float) -> Clip:
    """Frames through a Gaussian of a deviation in pixels."""
    offsets = torch.arange(-2.0, 3.0)
    weights = (-0.5 * (offsets / sigma) ** 2).exp()
    weights = weights / weights.sum()
    frames = F.pad(rearrange(clip, "c t h w -> (c t) 1 h w"), (2, 2, 2, 2), mode="replicate")
    frames = F.conv2d(F.conv2d(frames, weights.view(1, 1, 5, 1)), weights.view(1, 1, 1, 5))
    return rearrange(frames, "(c t) 1 h w -> c t h w", c=len(clip))


def block_coded(clip: Clip, step: float) -> Clip:
    """Frames whose blocks' cosine coefficients are rounded, the finer the coarser; `step` is that of the mean."""
    basis = _cosines()
    blocks = rearrange(clip, "c t (h a) (w b) -> c t h w a b", a=BLOCK, b=BLOCK)
    coefficients = basis @ blocks @ basis.T
    frequency = torch.arange(BLOCK)
    steps = step * (1.0 + frequency[:, None] + frequency)
    rounded = (coefficients / steps).round() * steps
    return rearrange(basis.T @ rounded @ basis, "c t h w a b -> c t (h a) (w b)")


def _cosines() -> Float[Tensor, "k n"]:
    """The orthonormal cosine transform of a block's side."""
    n = torch.arange(BLOCK)
    basis = (math.pi / BLOCK * (n + 0.5) * n[:, None]).cos() * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return basis


def _draw(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()
