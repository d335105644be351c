"""The solvers' orders on an equation with a known answer, and what guidance does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vitascope.generate.guidance import Guidance, guide, rescale
from vitascope.generate.sampler import SOLVERS, euler
from vitascope.model.diffusion import sigma_schedule


def levels(num_steps: int, spacing: str) -> Tensor:
    """Noise levels from 1 to 0. "uneven": every other step is three times as long as its neighbours."""
    if spacing != "uneven":
        return sigma_schedule(num_steps, {"even": 1.0, "shifted": 3.0}[spacing])
    lengths = torch.tensor([1.0, 3.0]).repeat(num_steps // 2)
    return 1 - torch.cat([torch.zeros(1), lengths.cumsum(0) / lengths.sum()])


def error(solver: str, num_steps: int, spacing: str) -> float:
    """dx/dsigma = -x with x(1) = 1 has x(0) = e."""
    start = torch.ones(1, 1, dtype=torch.float64)
    return abs(SOLVERS[solver].integrate(lambda x, sigma: -x, start, levels(num_steps, spacing), None).item() - math.e)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("multistep", 2)])
@pytest.mark.parametrize("spacing", ["even", "shifted", "uneven"])
def test_solvers_have_their_order_also_with_unequal_steps(solver, order, spacing):
    """Twice the steps divide the error by 2^order. Multistep without its ratio of lengths fails at uneven steps."""
    assert error(solver, 32, spacing) / error(solver, 64, spacing) == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_straight_path_is_exact_in_one_step(solver):
    noise, clean = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    result = SOLVERS[solver].integrate(lambda x, sigma: noise - clean, noise, sigma_schedule(1), None)
    torch.testing.assert_close(result, clean)


@pytest.mark.parametrize(("solver", "calls"), [("euler", 4), ("heun", 7), ("multistep", 4), ("unipc", 4)])
def test_solvers_ask_for_as_many_velocities_as_they_say(solver, calls):
    asked, steps = [], []
    SOLVERS[solver].integrate(
        lambda x, sigma: asked.append(sigma) or x, torch.ones(1, 1), sigma_schedule(4), lambda *step: steps.append(step)
    )
    assert len(asked) == calls
    assert asked == SOLVERS[solver].evaluated(sigma_schedule(4).tolist())
    assert min(asked) > 0  # never at the data, where a velocity can't be told
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


MEANS = torch.tensor([[2.0, -1.0], [-1.5, 0.5], [0.3, 2.2]], dtype=torch.float64)
NOISE = torch.randn(100, 2, generator=torch.Generator().manual_seed(1))


def mixture(x: Tensor, sigma: float) -> Tensor:
    """The exact velocity of data from three Gaussians of deviation 0.5: its posterior mean is known."""
    clean_share, s = 1 - sigma, 0.5
    variance = clean_share**2 * s**2 + sigma**2
    far = x.double()[:, None] - clean_share * MEANS
    weights = torch.softmax(-far.square().sum(-1) / (2 * variance), dim=-1)
    means = MEANS + clean_share * s**2 / variance * far
    return ((x - (weights[..., None] * means).sum(1)) / sigma).to(x.dtype)


def error_on_mixture(made: Tensor, reference: Tensor) -> float:
    return (made - reference).square().mean().sqrt().item()


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return SOLVERS["heun"].integrate(mixture, NOISE.double(), sigma_schedule(400, 3.0).double(), None)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 8, 12])
@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0, 12.0])
def test_unipc_is_the_peers_step_by_step(num_steps, shift, reference):
    """Also on a path that starts at pure noise, where the log-SNR is infinite."""
    diffusers = pytest.importorskip("diffusers")
    peer = diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=shift)
    peer.set_timesteps(num_steps)
    peer.set_begin_index(0)
    x, wanted = NOISE, []
    for sigma, timestep in zip(peer.sigmas.tolist(), peer.timesteps, strict=False):
        wanted.append(x)  # where the peer evaluates its network
        x = peer.step(mixture(x, sigma), timestep, x, return_dict=False)[0]
    seen = []
    levels = sigma_schedule(num_steps, shift, spacing="unipc")
    made = SOLVERS["unipc"].integrate(lambda x, sigma: seen.append(x) or mixture(x, sigma), NOISE, levels, None)
    for ours, theirs in zip([*seen, made], [*wanted, x], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    ours, theirs = (error_on_mixture(each, reference) for each in (made, x))
    assert ours == pytest.approx(theirs, rel=0.01)


def test_unipc_is_of_second_order_where_the_log_snr_is_finite():
    """dx/dsigma = -x from 0.95 to 0.05. Fails without the corrector's weights, or with steps in sigma."""
    start = torch.ones(1, 1, dtype=torch.float64)

    def error(num_steps: int) -> float:
        levels = torch.linspace(0.95, 0.05, num_steps + 1).double()
        return abs(SOLVERS["unipc"].integrate(lambda x, sigma: -x, start, levels, None).item() - math.exp(0.9))

    assert error(64) / error(128) == pytest.approx(4, rel=0.15)


def test_unipc_leaves_tokens_without_velocity_exactly_as_they_are():
    made = SOLVERS["unipc"].integrate(lambda x, sigma: torch.zeros_like(x), NOISE, sigma_schedule(8, 5.0), None)
    assert torch.equal(made, NOISE)


@pytest.mark.parametrize("shift", [8.0, 12.0])
def test_multistep_does_not_extrapolate_without_bound(shift, reference, monkeypatch):
    """With large shifts each step is many times as long as the one before."""
    levels = sigma_schedule(6, shift)
    bounded = SOLVERS["multistep"].integrate(mixture, NOISE, levels, None)
    monkeypatch.setattr("vitascope.generate.sampler.MAX_STEP_RATIO", math.inf)
    unbounded = SOLVERS["multistep"].integrate(mixture, NOISE, levels, None)
    assert error_on_mixture(bounded, reference) < error_on_mixture(unbounded, reference)


def test_guidance_of_one_is_conditional_and_more_goes_further():
    conditional, unconditional = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    assert guide(conditional, unconditional, 1.0).item() == 2.0
    assert guide(conditional, unconditional, 0.0).item() == 1.0
    assert guide(conditional, unconditional, 4.0).item() == 5.0


def test_rescaling_brings_the_deviation_back():
    generator = torch.Generator().manual_seed(0)
    guided, conditional = 5 * torch.randn(50, 4, generator=generator), torch.randn(50, 4, generator=generator)
    assert torch.equal(rescale(guided, conditional, 0.0), guided)
    assert rescale(guided, conditional, 1.0).std() == pytest.approx(conditional.std().item())


def test_an_interval_holds_its_ends():
    assert [Guidance(2, (0.2, 0.8), 0.0, 0).applies(sigma) for sigma in (0.1, 0.2, 0.5, 0.8, 0.9)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_solver_leaves_its_input_alone():
    noise = torch.ones(2, 2)
    euler(lambda x, sigma: x, noise, sigma_schedule(3))
    assert torch.equal(noise, torch.ones(2, 2))
