"""The codec's convolutions: causal in time, and by the fastest exact way where nothing is to be learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.codec import winograd
from vitascope.eight_bit import EightBitConvolution

Frames = Float[Tensor, "_b _c _t _h _w"]
"""Activations inside the network; a layer may change every axis."""


class Stream(dict[nn.Module, Tensor]):
    """What the layers remember of the frames before a chunk; empty at the start of a video."""


class Conv3d(nn.Conv3d):
    """torch's convolution, on a CPU in float32 and without gradients about twice as fast, to within rounding.

    After `to_eight_bit` faster still there, and rougher.
    """

    eight_bit: EightBitConvolution | None = None

    def to_eight_bit(self) -> None:
        """Compute in 8 bits from now on where nothing is learned, with the weights of this moment; for good."""
        self.eight_bit = EightBitConvolution(self)

    def forward(self, x: Frames) -> Frames:
        weight = self.weight
        learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        if learns or x.device.type != "cpu" or x.dtype != torch.float32 or not _has_onednn():
            return self._conv_forward(x, weight, self.bias)
        if self.eight_bit is not None:
            return self.eight_bit(x)
        # channels last: the layout that oneDNN's kernels are made for; the layers after this one keep it
        x = x.contiguous(memory_format=torch.channels_last_3d)
        is_plain = self.stride == (1, 1, 1) and self.padding == (0, 1, 1)
        if is_plain and self.bias is not None and winograd.is_worthwhile(x, weight):
            return winograd.convolve(x, weight, self.bias)
        assert not isinstance(self.padding, str)
        # asked for by name: for small inputs torch would choose a kernel of its own, which is several times slower
        return torch.mkldnn_convolution(x, weight, self.bias, self.padding, self.stride, self.dilation, self.groups)


class CausalConv3d(Conv3d):
    """A convolution that sees the present and the past: frames before the first are zeros."""

    def __init__(self, in_width: int, out_width: int, kernel: tuple[int, int, int]):
        super().__init__(in_width, out_width, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))
        self.num_past = kernel[0] - 1

    def forward(self, x: Frames, stream: Stream) -> Frames:
        if not self.num_past:
            return super().forward(x)
        past = stream.get(self)
        x = F.pad(x, (0, 0, 0, 0, self.num_past, 0)) if past is None else torch.cat([past, x], dim=2)
        stream[self] = x[:, :, -self.num_past :]
        return super().forward(x)


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)
