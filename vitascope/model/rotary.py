"""Rotary position embedding over (time, row, column), with positions that need not be whole numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def rotary_frequencies(
    positions: Float[Tensor, "n 3"], head_dim: int, theta: float = 10000.0
) -> tuple[Float[Tensor, "n half"], Float[Tensor, "n half"]]:
    """(cos, sin) of the angle by which each of the head_dim / 2 pairs of a token's channels is turned.

    The first pairs turn with time, the next with the row, the last with the column (see `axis_widths`).

    Source: Su et al. 2021 (arXiv:2104.09864), equation 15; the split over three axes is that of Wan 2.1.
    """
    angles = []
    for position, width in zip(positions.double().unbind(-1), axis_widths(head_dim), strict=True):
        exponents = torch.arange(0, width, 2, dtype=torch.float64, device=positions.device) / width
        angles.append(torch.outer(position, theta**-exponents))
    # fp64 up to here: a phase of some thousand radians keeps only three digits of the fraction in fp32
    angle = torch.cat(angles, dim=-1)
    return angle.cos().float(), angle.sin().float()


def axis_widths(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head that carry (time, row, column): a third each, rounded to pairs; time takes the rest."""
    space = 2 * (head_dim // 6)
    return head_dim - 2 * space, space, space


def apply_rotary(
    x: Float[Tensor, "n heads d"], cos: Float[Tensor, "n half"], sin: Float[Tensor, "n half"]
) -> Float[Tensor, "n heads d"]:
    """x with each pair of neighbouring channels (2i, 2i + 1) turned by its angle. Half precision is turned in fp32."""
    turn = torch.complex(cos, sin).unsqueeze(1)
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).type_as(x)
