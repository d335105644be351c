"""Linear layers and convolutions in 8 bits on a CPU: faster and less precise.

Weights are quantized once, to 255 levels per output channel. Inputs are quantized at each call, to 255 levels between
minimum and maximum of the whole input. A result therefore depends slightly on the rest of its batch. Quantized layers
can't be trained, saved, copied or moved to another device.

The kernels are oneDNN's, through operators of PyTorch 2.13. They need a processor with VNNI: older ones add pairs of
products in 16 bits, which overflow silently.

Source: https://uxlfoundation.github.io/oneDNN/dev_guide_int8_computations.html
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor, nn

from vitascope.errors import ModelError
from vitascope.kernels.conv import Conv3d
from vitascope.kernels.device import CPU, has_bfloat16_products
from vitascope.kernels.linear import GELU, PLAIN, Linear

PACKED_FOR = (4, 32, 32)  # frames, rows, columns of an example input; any size works later
PIECE = 1 << 17  # numbers quantized at a time; intermediate results stay in a core's cache
PACKED_ZERO = 128  # not 0: oneDNN would then reorder the weights at each call


@dataclass(frozen=True)
class Quantized:
    """Numbers as bytes: a byte stands for (byte - zero) * step."""

    bytes: UInt8[Tensor, "*shape"]
    step: float
    zero: int


class EightBitLinear(nn.Module):
    """A linear layer in 8 bits, with its GELU if it has one; results have `dtype`."""

    def __init__(self, layer: nn.Linear, *, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.num_weights = sum(parameter.numel() for parameter in layer.parameters())
        rounded, self.steps = _quantize_weight(layer.weight)
        self.weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.bias = None if layer.bias is None else layer.bias.detach().float()
        self.zeros = torch.zeros(len(self.steps), dtype=torch.int64, device=CPU)
        self.dtype = dtype
        self.after = GELU if isinstance(layer, Linear) and layer.gelu else PLAIN

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
        """The layer's result, up to quantization of weights and input."""
        x8 = quantize_to_bytes(x)
        return torch.ops.onednn.qlinear_pointwise(
            *(x8.bytes, x8.step, x8.zero, self.weight, self.steps, self.zeros, self.bias),
            *(1.0, 0, self.dtype, *self.after),
        )


class EightBitConvolution:
    """A 3-D convolution in 8 bits; results have channels last in memory."""

    def __init__(self, layer: nn.Conv3d):
        rounded, self.steps = _quantize_weight(layer.weight)
        self.bias = None if layer.bias is None else layer.bias.detach().float()
        self.zeros = torch.zeros(len(self.steps), dtype=torch.int64, device=CPU)
        self.geometry = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
        self.weight = torch.ops.onednn.qconv_prepack(
            rounded, self.steps, 1.0, PACKED_ZERO, *self.geometry, [1, layer.in_channels, *PACKED_FOR]
        )

    def __call__(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b o t2 h2 w2"]:
        """The convolution of x, up to quantization of weights and input."""
        x = x.contiguous(memory_format=torch.channels_last_3d)
        x8 = quantize_to_bytes(x.permute(0, 2, 3, 4, 1))  # a contiguous view, for faster reductions
        return torch.ops.onednn.qconv3d_pointwise(
            *(x8.bytes.permute(0, 4, 1, 2, 3), x8.step, x8.zero, self.weight, self.steps, self.zeros),
            *(self.bias, *self.geometry, 1.0, 0, torch.float32, "none", [], ""),
        )


@dataclass(frozen=True)
class Int8Rules:
    """Layers of a network that `quantize_` treats apart, by patterns of their names (those of `fnmatch`)."""

    exact: tuple[str, ...] = ()  # layers that keep their weights
    half: tuple[str, ...] = ()  # where the CPU multiplies bfloat16 faster: exact layers in it, or results in it


@torch.no_grad()
def quantize_(network: nn.Module, rules: Int8Rules) -> None:
    """Convert a network's linear layers and `conv.Conv3d` layers to 8 bits, in place; for inference on a CPU.

    Convolutions keep their weights and use them wherever gradients are needed.
    """
    assert not is_eight_bit(network), "the network computes in 8 bits already"
    half = torch.bfloat16 if has_bfloat16_products() else torch.float32
    for name, layer in list(network.named_modules()):
        dtype = half if _matches(name, rules.half) else torch.float32
        if _matches(name, rules.exact):
            if dtype == torch.bfloat16:
                layer.to(dtype)
        elif isinstance(layer, nn.Linear):
            network.set_submodule(name, EightBitLinear(layer, dtype=dtype))
        elif isinstance(layer, Conv3d):
            layer.quantized = EightBitConvolution(layer.inference_layer())


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def check_eight_bit() -> None:
    """Check that this machine computes correctly in 8 bits.

    Raises:
        ModelError: PyTorch was built without oneDNN, or the processor has no VNNI.
    """
    if not _has_kernels():
        raise ModelError("this PyTorch has no 8-bit kernels (oneDNN); use --dtype float32")
    if not _adds_without_overflow():
        raise ModelError("this processor's 8-bit sums overflow (it has no VNNI); use --dtype float32")


def num_weights(network: nn.Module) -> int:
    """The number of a network's weights and biases, including quantized ones."""
    rounded = sum(layer.num_weights for layer in network.modules() if isinstance(layer, EightBitLinear))
    return rounded + sum(parameter.numel() for parameter in network.parameters())


def num_weight_bytes(network: nn.Module) -> int:
    """The memory of a network's weights and biases, in bytes."""
    rounded = sum(layer.num_weights for layer in network.modules() if isinstance(layer, EightBitLinear))
    return rounded + sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())


def is_eight_bit(network: nn.Module) -> bool:
    """True if some of a network's layers compute in 8 bits."""
    return any(
        isinstance(layer, EightBitLinear) or (isinstance(layer, Conv3d) and layer.quantized is not None)
        for layer in network.modules()
    )


def quantize_to_bytes(x: Float[Tensor, "*shape"]) -> Quantized:
    """Numbers quantized to the nearest of 255 levels between minimum and maximum; 0 is one of the levels."""
    low, high = (bound.item() for bound in torch.aminmax(x))
    low, high = min(low, 0.0), max(high, 0.0)
    step = max((high - low) / 254, 1e-30)  # 254: the maximum fits a byte even if `zero` is rounded up
    zero = round(-low / step)
    rounded = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    for numbers, place in zip(x.reshape(-1).split(PIECE), rounded.view(-1).split(PIECE), strict=True):
        # through int32: PyTorch's direct conversion to uint8 takes three times as long
        place.copy_(torch.add(zero + 0.5, numbers.float(), alpha=1 / step).to(torch.int32))
    return Quantized(rounded, step, zero)


def _quantize_weight(weight: Float[Tensor, "o ..."]) -> tuple[Int8[Tensor, "o ..."], Float[Tensor, " o"]]:
    """A weight as integers from -127 to 127, and the step size of each output channel."""
    weight = weight.detach().float()
    steps = weight.flatten(1).abs().amax(1).clamp_min(1e-12) / 127
    return (weight / steps.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8), steps


def _has_kernels() -> bool:
    return bool(torch.backends.mkldnn.is_available()) and hasattr(torch.ops.onednn, "qconv3d_pointwise")


@cache
def _adds_without_overflow() -> bool:
    layer = nn.Linear(64, 16, bias=False)
    nn.init.ones_(layer.weight)
    with torch.no_grad():
        return bool((EightBitLinear(layer)(torch.ones(4, 64)) - 64).abs().max() < 0.1)
