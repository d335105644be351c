"""Layers of the codec: the norm over channels and the causal convolution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from vitascope.codec.cache import CausalCache
from vitascope.kernels.conv import Conv3d, Frames, convolve_causal, has_fast_path, lay_out_causal


class ChannelNorm(nn.Module):
    """Root-mean-square norm over channels, separate for each cell, so that it stays causal."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Frames) -> Frames:
        """gain * x / rms(x), with the rms over channels."""
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12)
        return x * (math.sqrt(x.shape[1]) / length) * self.gain.view(1, -1, 1, 1, 1)


class CausalConv3d(Conv3d):
    """A convolution over present and past frames; frames before the first are zeros."""

    def __init__(self, in_width: int, out_width: int, kernel: tuple[int, int, int]):
        super().__init__(in_width, out_width, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))
        self.num_past = kernel[0] - 1

    def forward(self, x: Frames, cache: CausalCache, norm: ChannelNorm | None = None) -> Frames:
        """The convolution of x or, with a norm, of SiLU(norm(x))."""
        if not self.num_past:
            return super().forward(x if norm is None else F.silu(norm(x)))
        past, gain = cache.get(self), None if norm is None else norm.gain
        if has_fast_path(x, *(t for t in (self.weight, past, gain) if t is not None)):
            laid_out = lay_out_causal(self, x, past, gain)
            cache[self] = laid_out.last(self.num_past)
            return convolve_causal(self, laid_out)
        x = x if norm is None else F.silu(norm(x))
        x = F.pad(x, (0, 0, 0, 0, self.num_past, 0)) if past is None else torch.cat([past, x], dim=2)
        cache[self] = x[:, :, -self.num_past :]
        return super().forward(x)
