"""The norm between the codec's layers."""

from __future__ import annotations

import math

import torch
from torch import nn

from vitascope.kernels.conv import Frames


class ChannelNorm(nn.Module):
    """Root-mean-square norm over channels, separate for each cell, so that it stays causal."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Frames) -> Frames:
        """gain * x / rms(x), with the rms over channels."""
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12)
        return x * (math.sqrt(x.shape[1]) / length) * self.gain.view(1, -1, 1, 1, 1)
