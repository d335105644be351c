"""The norm between the codec's layers."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Frames = Float[Tensor, "_b _c _t _h _w"]
"""Activations inside the network; a layer may change every axis."""


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

        Frame by frame: what lies between stays in a core's cache, and no memory is taken anew.
        """
        for clip, result in zip(x, out, strict=True):
            for frame, place in zip(rearrange(clip, "c t h w -> t h w c"), result.unbind(1), strict=True):
                length = torch.linalg.vector_norm(frame, dim=-1, keepdim=True).clamp_min(1e-12)
                normed = (frame * (math.sqrt(x.shape[1]) / length)).mul_(self.gain)
                torch.ops.aten.silu.out(normed, out=rearrange(place, "c h w -> h w c"))
