"""Muon's update, which parameters it takes, and a step that is not taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitascope.train.optimizer import (
    Muon,
    load_optimizer_tensors,
    make_optimizers,
    optimizer_tensors,
    orthogonalise,
    set_rate,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(4, 16, 16), (4, 8, 40), (4, 40, 8)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    u, _, vt = torch.linalg.svd(torch.randn(shape, generator=generator()), full_matrices=False)
    matrices = u * torch.logspace(-1.5, 0, u.shape[2]) @ vt
    result = orthogonalise(matrices)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6
    assert values.max() < 1.3
    # the singular vectors stay: U^T X V is diagonal
    turned = u.mT @ result @ vt.mT
    assert (turned - torch.diag_embed(torch.diagonal(turned, dim1=1, dim2=2))).abs().max() < 1e-3


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 16, 40), (3, 48, 16)])
@pytest.mark.parametrize("smallest", [-1, -6])
def test_the_iteration_is_the_published_one(shape, smallest):
    """In float64 by the formula; for singular values of almost 0, rounding of the short form reaches 5e-4."""
    u, _, vt = torch.linalg.svd(torch.randn(shape, generator=generator()).double(), full_matrices=False)
    matrices = u * torch.logspace(smallest, 0, u.shape[2]) @ vt
    x = matrices / matrices.flatten(1).norm(dim=1)[:, None, None]
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    assert (orthogonalise(matrices.float()) - x).norm() <= (1e-3 if smallest < -1 else 1e-5) * x.norm()


def test_each_matrix_of_a_batch_is_orthogonalised_on_its_own():
    a, b = torch.randn(2, 6, 9, generator=generator())
    together = orthogonalise(torch.stack([a, 1000 * b]))
    torch.testing.assert_close(together[0], orthogonalise(a[None])[0])
    torch.testing.assert_close(together[1], orthogonalise(b[None])[0])


def test_muon_moves_every_direction_alike_and_as_far_as_adamw_would():
    """The root mean square of an update is 0.2 of the learning rate. Source: arXiv:2502.16982, equation 4."""
    weight = nn.Parameter(torch.zeros(32, 64))
    weight.grad = torch.randn(32, 64, generator=generator()) * torch.logspace(-2, 2, 64)
    Muon([weight], lr=0.1).step()
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.2 * 0.1, rel=0.25)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv3d(3, 4, 1)
        self.hidden = nn.Conv3d(4, 4, 1)
        self.hidden_flat = nn.Conv2d(4, 4, 1)
        self.hidden_table = nn.Parameter(torch.zeros(1, 2, 4))
        self.out = nn.Linear(4, 2)


def test_every_parameter_has_exactly_one_optimizer_and_hidden_kernels_have_muon():
    network = Small()
    muon, adam = make_optimizers(network, 1e-3, lambda name: name.startswith("hidden"))
    taken = [[id(p) for group in optimizer.param_groups for p in group["params"]] for optimizer in (muon, adam)]
    assert taken[0] == [id(network.hidden.weight), id(network.hidden_flat.weight)]
    assert sorted(taken[0] + taken[1]) == sorted(id(p) for p in network.parameters())
    decays = {p.ndim: group["weight_decay"] for group in adam.param_groups for p in group["params"]}
    assert decays == {5: 0.01, 3: 0.0, 2: 0.01, 1: 0.0}


def test_a_step_follows_the_rate_it_is_given():
    network = nn.Linear(2, 2)
    optimizers = make_optimizers(network, 1e-3, lambda name: True)
    before = network.bias.detach().clone()
    set_rate(optimizers, 0.5)
    descend(network(torch.ones(1, 2)).sum(), optimizers)
    assert (before - network.bias).tolist() == pytest.approx([0.5, 0.5], rel=1e-4)  # AdamW's first step is the rate


def descend(loss: torch.Tensor, optimizers: list[torch.optim.Optimizer]) -> None:
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def test_an_optimizers_state_comes_back():
    def trained(steps: int, state: list[dict[str, torch.Tensor]] | None = None) -> tuple[nn.Module, list]:
        network = nn.Linear(3, 3)
        nn.init.eye_(network.weight)
        nn.init.zeros_(network.bias)
        optimizers = make_optimizers(network, 1e-2, lambda name: True)
        for optimizer, tensors in zip(optimizers, state or [], strict=False):
            load_optimizer_tensors(optimizer, tensors)
        for _ in range(steps):
            descend(network(torch.ones(1, 3)).square().sum(), optimizers)
        return network, optimizers

    _, optimizers = trained(3)
    saved = [optimizer_tensors(optimizer) for optimizer in optimizers]
    _, restored = trained(0, saved)
    for tensors, optimizer in zip(saved, restored, strict=True):
        again = optimizer_tensors(optimizer)
        assert set(again) == set(tensors)
        assert all(torch.equal(again[name], tensors[name]) for name in tensors)
