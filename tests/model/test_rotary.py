"""Rotary positions: against the definition, only differences matter, and positions may lie between whole numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vitascope.model.patches import apply_rotary, axis_widths, rotary_table


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scores(q: Tensor, k: Tensor, positions: Tensor) -> Tensor:
    rotary = rotary_table(positions, q.shape[-1])
    return torch.einsum("nhd,mhd->hnm", apply_rotary(q, rotary), apply_rotary(k, rotary))


@pytest.mark.parametrize(
    ("head_dim", "widths"), [(64, (24, 20, 20)), (128, (44, 42, 42)), (12, (4, 4, 4)), (6, (2, 2, 2))]
)
def test_time_takes_what_rows_and_columns_leave(head_dim, widths):
    assert axis_widths(head_dim) == widths


def test_each_pair_of_channels_is_turned_by_the_angle_of_its_axis():
    """The definition, written out pair by pair; fails for half-split pairs and for another order of axes."""
    head_dim, position = 16, (3.25, 5.0, 2.0)
    x = random(1, 1, head_dim)
    got = apply_rotary(x, rotary_table(torch.tensor([position]), head_dim))[0, 0]
    pair = 0
    for where, width in zip(position, axis_widths(head_dim), strict=True):
        for i in range(width // 2):
            angle = where * 10000 ** (-2 * i / width)
            a, b = x[0, 0, 2 * pair].item(), x[0, 0, 2 * pair + 1].item()
            assert got[2 * pair].item() == pytest.approx(a * math.cos(angle) - b * math.sin(angle), abs=1e-5)
            assert got[2 * pair + 1].item() == pytest.approx(a * math.sin(angle) + b * math.cos(angle), abs=1e-5)
            pair += 1


@pytest.mark.parametrize("shift", [(0.5, 0, 0), (0, 3, -2), (1000.25, 7, 11)])
def test_only_differences_of_positions_matter(shift):
    q, k = random(9, 2, 32), random(9, 2, 32, seed=1)
    positions = random(9, 3, seed=2) * 4
    moved = positions + torch.tensor(shift)
    torch.testing.assert_close(scores(q, k, moved), scores(q, k, positions), rtol=0, atol=2e-3)
    doubled = scores(q, k, positions * 2)
    assert (doubled - scores(q, k, positions)).abs().max() > 0.1, "differences do matter"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_counts(axis):
    q, k = random(2, 1, 64), random(2, 1, 64, seed=1)
    here, there = torch.zeros(2, 3), torch.zeros(2, 3)
    there[1, axis] = 1
    assert (scores(q, k, here) - scores(q, k, there)).abs().max() > 0.1


def test_a_turn_keeps_lengths_and_position_zero_is_no_turn():
    x = random(5, 2, 24)
    turned = apply_rotary(x, rotary_table(random(5, 3, seed=1) * 50, 24))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(apply_rotary(x, rotary_table(torch.zeros(5, 3), 24)), x)


def test_far_positions_keep_their_phase():
    """Fails when the angle is taken in fp32: near 9000 its fraction is off by several 1e-4."""
    position = 8999.0625
    cos = rotary_table(torch.tensor([[position, 0, 0]]), 64)[..., 0]
    exact = [math.cos(position * 10000 ** (-2 * i / 24)) for i in range(12)]
    torch.testing.assert_close(cos[0, :12], torch.tensor(exact), rtol=0, atol=1e-6)


def test_half_precision_stays_half():
    x = random(3, 2, 12).bfloat16()
    assert apply_rotary(x, rotary_table(random(3, 3), 12)).dtype == torch.bfloat16
