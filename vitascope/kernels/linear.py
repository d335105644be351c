"""Linear layers by oneDNN's kernels; PyTorch itself uses MKL for float32 on a CPU.

oneDNN is a tenth faster on AMD processors, and fuses a GELU into the product. Results are equal up to rounding.

Source: https://uxlfoundation.github.io/oneDNN/dev_guide_inner_product.html
"""

from __future__ import annotations

import math
import platform
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vitascope.kernels.device import autocast_dtype

PLAIN = ("none", [], "")  # fused operation, as arguments of PyTorch's operator
GELU = ("gelu", [], "tanh")
GELU_SLOPE = 2 * (2 / math.pi) ** 0.5  # gelu(x) = x sigmoid(slope x + cube x^3), in its tanh form
GELU_CUBE = GELU_SLOPE * 0.044715


class Linear(nn.Linear):
    """torch's linear layer, with `gelu` followed by a GELU (tanh form). Weights have torch's names and shapes."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, gelu: bool = False):
        super().__init__(in_features, out_features, bias=bias)
        self.gelu = gelu

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        """The layer's result, in the dtype of the weights or of autocast."""
        weight, bias = self.weight, self.bias
        if autocast_dtype(x.device) is None:
            x = x.to(weight.dtype)
        if not _suits(x, weight):
            return self._activate(F.linear(x, weight, bias))
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias) if t is not None):
            return self._activate(_Product.apply(x, weight, bias))
        return _product(x, weight, bias, GELU if self.gelu else PLAIN)

    def _activate(self, x: Tensor) -> Tensor:
        if not self.gelu:
            return x
        if torch.compiler.is_compiling():  # the same function; compilers compute exponentials faster than tanh
            wide = x.float()
            return (wide * torch.sigmoid(wide * (GELU_SLOPE + GELU_CUBE * wide * wide))).type_as(x)
        return F.gelu(x, approximate="tanh")


class _Product(torch.autograd.Function):
    """x weight^T + bias with first derivatives. MKL is as fast for the gradient of the weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        for_x, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if for_weight else None, weight if for_x else None)
        return _product(x, weight, bias, PLAIN)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            None if weight is None else _product(grad, weight.mT, None, PLAIN),
            None if x is None else rows.mT @ x.reshape(-1, x.shape[-1]),
            rows.sum(0) if ctx.needs_input_grad[2] else None,
        )


def has_onednn() -> bool:
    """True if PyTorch was built with oneDNN and it is enabled."""
    return bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)


def _suits(x: Tensor, weight: Tensor) -> bool:
    """True for float32 on a CPU, outside autocast and torch.compile, which choose kernels themselves."""
    return (
        x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and has_onednn()
        and _has_operator()
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, after: tuple[str, list[float], str]) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *after)


@cache
def _has_operator() -> bool:
    # on ARM, oneDNN may use its slow reference kernel for the GELU
    return platform.machine().lower() in ("x86_64", "amd64") and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def select_rows(values: Float[Tensor, "g d"], index: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
    """The rows of an index. In a compiled graph, the gradient is a product with the index's one-hot matrix."""
    return _Rows.apply(values, index) if torch.compiler.is_compiling() else values.index_select(0, index)


class _Rows(torch.autograd.Function):
    """Rows by index. Compilers would add the gradient's numbers one at a time, atomically."""

    @staticmethod
    def forward(ctx: Any, values: Float[Tensor, "g d"], index: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        ctx.save_for_backward(index)
        ctx.num_rows = len(values)
        return values.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "g d"], None]:
        (index,) = ctx.saved_tensors
        members = torch.arange(ctx.num_rows, device=index.device).unsqueeze(1) == index
        return members.to(grad.dtype) @ grad, None
