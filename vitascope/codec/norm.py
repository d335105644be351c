"""The norm between the codec's layers."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Frames = Float[Tensor, "_b _c _t _h _w"]
"""Activations inside the network; a layer may change every axis."""


BYTES_AT_ONCE = 1 << 19  # of frames that are normed at once


class ChannelNorm(nn.Module):
    """Root-mean-square norm over channels: cell by cell, so that it can't look across time or space."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Frames) -> Frames:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12)
        return x * (math.sqrt(x.shape[1]) / length) * self.gain.view(1, -1, 1, 1, 1)

    def write_silu(self, x: Frames, out: Frames) -> None:
        """Fill `out` with SiLU of the norm of x; nothing of it can be learned.

        A frame, or a few small ones, at a time: what lies between stays in a core's caches.
        """
        at_once = max(1, BYTES_AT_ONCE // x[0, :, 0].nbytes)
        for clip, result in zip(*(rearrange(y, "b c t h w -> b t h w c") for y in (x, out)), strict=True):
            for frames, places in zip(clip.split(at_once), result.split(at_once), strict=True):
                length = torch.linalg.vector_norm(frames, dim=-1, keepdim=True).clamp_min(1e-12)
                normed = (frames * (math.sqrt(x.shape[1]) / length)).mul_(self.gain)
                torch.ops.aten.silu.out(normed, out=places)
