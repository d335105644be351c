"""The norm between the codec's layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

Frames = Float[Tensor, "_b _c _t _h _w"]
"""Activations inside the network; a layer may change every axis."""

BYTES_AT_ONCE = 1 << 20  # of what is normed at once


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

        Piece by piece: what lies between stays in a core's cache.
        """
        num_rows = max(1, BYTES_AT_ONCE // (x.shape[1] * x.shape[4] * x.element_size()))
        gain = math.sqrt(x.shape[1]) * self.gain
        for piece, place in zip(_pieces(x, num_rows), _pieces(out, num_rows), strict=True):
            length = torch.linalg.vector_norm(piece, dim=-1, keepdim=True).clamp_min(1e-12)
            normed = (piece * length.reciprocal_()).mul_(gain)
            torch.ops.aten.silu.out(normed, out=place)


def _pieces(x: Frames, num_rows: int) -> Sequence[Float[Tensor, "_t _h w c"]]:
    """Of so many rows each: some frames, or a part of one."""
    clips = x.movedim(1, -1).unbind()
    if num_rows >= x.shape[2] * x.shape[3]:
        return clips
    num_frames = max(1, num_rows // x.shape[3])
    return [rows for clip in clips for frames in clip.split(num_frames) for rows in frames.split(num_rows, dim=1)]
