"""The optimizers: Muon for matrices and kernels of hidden layers, AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.kernels.device import is_cpu

MATRIX_DIMS = (2, 4, 5)  # a linear layer's matrix, kernels of 2-D and 3-D convolutions
A, B, C = 3.4445, -4.7750, 2.0315  # coefficients of x, x^3 and x^5 in a step of Newton-Schulz iteration


class Muon(torch.optim.Optimizer):
    """Momentum with an orthogonalised matrix update, so that every direction moves by the same amount.

    A convolution's kernel is the matrix [out channels, in channels x taps]. Updates are scaled to the size of AdamW's,
    so both optimizers take the same learning rate. The iteration runs in `dtype`: `torch.optim.Muon` always takes
    bfloat16, which is slow on CPUs without bfloat16 units. Matrices of equal shape are orthogonalised as one batch.

    Source: Jordan 2024, "Muon: an optimizer for hidden layers in neural networks"; scaling from Liu et al. 2025
    (arXiv:2502.16982), equation 4.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        dtype: torch.dtype = torch.float32,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ):
        self.dtype = dtype
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        assert closure is None, "Muon evaluates no closures"
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                updates = [self._momentum(parameter, group["momentum"]).flatten(1) for parameter in parameters]
                directions = orthogonalise(torch.stack(updates).to(self.dtype))
                size = 0.2 * max(directions.shape[1:]) ** 0.5
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(direction.view(shape).to(parameter.dtype), alpha=-group["lr"] * size)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum"], momentum)  # Nesterov momentum


def orthogonalise(matrices: Float[Tensor, "b m n"], steps: int = 5) -> Float[Tensor, "b m n"]:
    """Matrices with the same singular vectors and singular values of 0.7 to 1.2, by Newton-Schulz iteration."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(1e-7)
    # the short form needs float32: its errors grow by up to 3.4445^2 a step
    iterate = _iterate_gram if x.shape[2] >= 2 * x.shape[1] and x.dtype == torch.float32 else _iterate
    # on a CPU one matrix at a time, which fits a core's caches with its products
    result = torch.stack([iterate(each, steps) for each in x]) if is_cpu(x.device) else iterate(x, steps)
    return result.mT if tall else result


def _iterate(x: Float[Tensor, "*b m n"], steps: int) -> Float[Tensor, "*b m n"]:
    """x <- a x + (b g + c g^2) x, with g = x x^T."""
    for _ in range(steps):
        gram = x @ x.mT
        x = _add_product(x, _add_product(gram, gram, gram, B, C), x, A)
    return x


def _iterate_gram(x: Float[Tensor, "*b m n"], steps: int) -> Float[Tensor, "*b m n"]:
    """The same in products of m x m: all factors (a + b g + c g^2) and g commute, and x is multiplied at the end."""
    gram, factors = x @ x.mT, None
    for step in range(steps):
        factor = _add_product(gram, gram, gram, B, C)
        factor.diagonal(dim1=-2, dim2=-1).add_(A)
        factors = factor if factors is None else factor @ factors
        if step < steps - 1:
            gram = factor @ (factor @ gram)
    return x if factors is None else factors @ x


def _add_product(
    start: Float[Tensor, "*b m n"],
    left: Float[Tensor, "*b m k"],
    right: Float[Tensor, "*b k n"],
    beta: float,
    alpha: float = 1,
) -> Float[Tensor, "*b m n"]:
    """beta start + alpha left right, in one pass."""
    add_product = torch.addmm if start.ndim == 2 else torch.baddbmm
    return add_product(start, left, right, beta=beta, alpha=alpha)


def make_optimizers(
    network: nn.Module, lr: float, is_hidden: Callable[[str], bool], dtype: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """[Muon for matrices and kernels of hidden layers, AdamW for the rest].

    `is_hidden` takes a parameter's name; first and last layers belong to AdamW. AdamW decays matrices only. `dtype` is
    the precision of Muon's iteration.
    """
    hidden, others = [], []
    for name, parameter in network.named_parameters():
        (hidden if parameter.ndim in MATRIX_DIMS and is_hidden(name) else others).append(parameter)
    groups = [
        {"params": [p for p in others if p.ndim in MATRIX_DIMS], "weight_decay": 0.01},
        {"params": [p for p in others if p.ndim not in MATRIX_DIMS], "weight_decay": 0.0},
    ]
    return [Muon(hidden, lr, dtype), torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))]


def set_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of an optimizer as tensors, named `parameter index.name`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, entry in state.items() for name, value in entry.items()}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load the tensors of `optimizer_tensors`. Parameter groups stay as they are."""
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state[int(index)][name] = value
    optimizer.load_state_dict({"state": dict(state), "param_groups": optimizer.state_dict()["param_groups"]})
