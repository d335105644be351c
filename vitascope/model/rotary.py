"""Rotary position embedding over (time, row, column), with positions that need not be whole numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitascope.kernels.device import CPU


def rotary_table(positions: Float[Tensor, "n 3"], head_dim: int, theta: float = 10000.0) -> Float[Tensor, "n half 2"]:
    """Cosine and sine of the rotation angle of each of the head_dim / 2 channel pairs of a token, on the CPU.

    The first pairs rotate with time, the next with the row, the last with the column (see `axis_widths`).

    Source: Su et al. 2021 (arXiv:2104.09864), equation 15; the split over three axes is that of Wan 2.1.
    """
    angles = []
    # fp64: in fp32 a phase of some thousand radians keeps only three digits of its fraction; mps has no fp64
    for position, width in zip(positions.to(CPU, torch.float64).unbind(-1), axis_widths(head_dim), strict=True):
        exponents = torch.arange(0, width, 2, dtype=torch.float64) / width
        angles.append(torch.outer(position, theta**-exponents))
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).float()


def axis_widths(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head that carry (time, row, column): a third each, rounded to pairs; time takes the rest."""
    space = 2 * (head_dim // 6)
    return head_dim - 2 * space, space, space


def apply_rotary(x: Float[Tensor, "n heads d"], table: Float[Tensor, "n half 2"]) -> Float[Tensor, "n heads d"]:
    """x with each pair of neighbouring channels (2i, 2i + 1) rotated by its angle; half precision rotates in fp32."""
    pairs, table = x.float().unflatten(-1, (-1, 2)), table.unsqueeze(1)
    if not torch.compiler.is_compiling():  # complex products are the fastest; compilers don't fuse them
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(table))
    else:
        (even, odd), (cos, sin) = pairs.unbind(-1), table.unbind(-1)
        rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return rotated.flatten(-2).type_as(x)
