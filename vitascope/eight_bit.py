"""Linear layers and convolutions in 8 bits on a CPU: several times as many products a second, from rounded numbers.

Weights are rounded once, to 255 steps for each output channel; what enters a layer at each call, to 256 steps from its
least to its greatest value. Sums are exact, results float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor, nn

from vitascope.errors import ModelError


@dataclass(frozen=True)
class Rounded:
    """Numbers as bytes: each stands for (byte - zero) * step."""

    bytes: UInt8[Tensor, "*shape"]
    step: float
    zero: int


class EightBitLinear(nn.Module):
    """What a linear layer computes, in 8 bits; with `gelu` followed by its tanh form."""

    def __init__(self, layer: nn.Linear, *, gelu: bool = False):
        super().__init__()
        self.num_parameters = sum(parameter.numel() for parameter in layer.parameters())
        rounded, self.steps = _rounded_weight(layer.weight)
        self.weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.bias = None if layer.bias is None else layer.bias.detach().float()
        self.zeros = torch.zeros(len(self.steps), dtype=torch.int64)
        self.after = ("gelu", [], "tanh") if gelu else ("none", [], "")

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
        """The layer's result, to within the rounding of weights and input."""
        x8 = round_to_bytes(x)
        return torch.ops.onednn.qlinear_pointwise(
            *(x8.bytes, x8.step, x8.zero, self.weight, self.steps, self.zeros, self.bias),
            *(1.0, 0, torch.float32, *self.after),
        )


class EightBitConvolution:
    """What a convolution over videos computes, in 8 bits; channels are last in its result's memory."""

    def __init__(self, layer: nn.Conv3d):
        rounded, self.steps = _rounded_weight(layer.weight)
        self.bias = None if layer.bias is None else layer.bias.detach().float()
        self.zeros = torch.zeros(len(self.steps), dtype=torch.int64)
        self.geometry = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
        self.weight = torch.ops.onednn.qconv_prepack(rounded, self.steps, 1.0, 0, *self.geometry)

    def __call__(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b o t2 h2 w2"]:
        x = x.contiguous(memory_format=torch.channels_last_3d)
        x8 = round_to_bytes(x.permute(0, 2, 3, 4, 1))  # a contiguous view: its reductions are many times faster
        return torch.ops.onednn.qconv3d_pointwise(
            *(x8.bytes.permute(0, 4, 1, 2, 3), x8.step, x8.zero, self.weight, self.steps, self.zeros),
            *(self.bias, *self.geometry, 1.0, 0, torch.float32, "none", [], ""),
        )


def check_eight_bit() -> None:
    """Find out whether this machine computes in 8 bits.

    Raises:
        ModelError: PyTorch was built without oneDNN.
    """
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qconv3d_pointwise")):
        raise ModelError("this PyTorch has no 8-bit kernels (oneDNN): use --dtype float32")


def round_to_bytes(x: Float[Tensor, "*shape"]) -> Rounded:
    """Numbers as bytes, to the nearest of 256 steps between the least and the greatest, of which one is 0."""
    low, high = (bound.item() for bound in torch.aminmax(x))
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 254 or 1.0  # 254: with zero rounded up, the greatest still fits a byte
    zero = round(-low / step)
    # by way of int32: PyTorch's own way from float32 to uint8 takes three times as long
    shifted = torch.add(zero + 0.5, x, alpha=1 / step).to(torch.int32)
    return Rounded(shifted.to(torch.uint8), step, zero)


def _rounded_weight(weight: Float[Tensor, "o ..."]) -> tuple[Int8[Tensor, "o ..."], Float[Tensor, " o"]]:
    """A weight as whole numbers from -127 to 127, and the step of each output channel."""
    weight = weight.detach().float()
    steps = weight.flatten(1).abs().amax(1).clamp_min(1e-12) / 127
    return (weight / steps.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8), steps
