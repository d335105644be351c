"""The noise path: its direction, its inverse, its loss, and the distribution and schedule of noise levels."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from vitascope.model.diffusion import (
    LOSS_MIN_SIGMA,
    STEP_MIN_SIGMA,
    add_noise,
    sample_sigma,
    shift_factor,
    shift_sigma,
    sigma_schedule,
    to_clean,
    to_velocity,
    velocity,
    velocity_loss,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


CLEAN, NOISE = random(6, 4), random(6, 4, seed=1)
SIGMA = torch.tensor([0.05, 0.2, 0.4, 0.6, 0.9, 1.0])


def test_the_path_starts_at_the_data_and_ends_in_noise():
    assert torch.equal(add_noise(CLEAN, NOISE, torch.zeros(6)), CLEAN), "a given frame is exactly itself"
    assert torch.equal(add_noise(CLEAN, NOISE, torch.ones(6)), NOISE)
    halfway = add_noise(CLEAN, NOISE, torch.full((6,), 0.25))
    torch.testing.assert_close(halfway, 0.75 * CLEAN + 0.25 * NOISE)


def test_each_row_has_its_own_noise_level():
    noisy = add_noise(CLEAN, NOISE, SIGMA)
    for row in range(6):
        expected = (1 - SIGMA[row]) * CLEAN[row] + SIGMA[row] * NOISE[row]
        torch.testing.assert_close(noisy[row], expected)


def test_velocity_is_the_slope_of_the_path():
    """Fails with the other sign."""
    low, high = add_noise(CLEAN, NOISE, torch.full((6,), 0.3)), add_noise(CLEAN, NOISE, torch.full((6,), 0.5))
    torch.testing.assert_close((high - low) / 0.2, velocity(CLEAN, NOISE), rtol=0, atol=1e-5)


def test_both_predictions_stand_for_the_same_thing():
    noisy, v = add_noise(CLEAN, NOISE, SIGMA), velocity(CLEAN, NOISE)
    torch.testing.assert_close(to_clean(v, noisy, SIGMA, "velocity"), CLEAN, rtol=0, atol=1e-5)
    torch.testing.assert_close(to_velocity(CLEAN, noisy, SIGMA, "clean"), v, rtol=0, atol=1e-4)
    assert torch.equal(to_clean(CLEAN, noisy, SIGMA, "clean"), CLEAN)
    assert torch.equal(to_velocity(v, noisy, SIGMA, "velocity"), v)


def test_division_by_a_vanishing_noise_level_stays_bounded():
    velocity_at_zero = to_velocity(CLEAN + 0.5, CLEAN, torch.zeros(6), "clean")
    torch.testing.assert_close(velocity_at_zero, torch.full((6, 4), -0.5 / STEP_MIN_SIGMA), rtol=1e-5, atol=0)
    loss = velocity_loss(CLEAN + 0.5, CLEAN, NOISE, torch.full((6,), 1e-3), "clean").mean
    torch.testing.assert_close(loss, torch.tensor((0.5 / LOSS_MIN_SIGMA) ** 2))


def test_the_last_step_lands_on_the_clean_prediction():
    """However small the last noise level; fails if the clamp of the loss is used for sampling."""
    last = torch.full((6,), 0.01)
    noisy = add_noise(CLEAN, NOISE, last)
    torch.testing.assert_close(noisy + (0 - 0.01) * to_velocity(CLEAN, noisy, last, "clean"), CLEAN, rtol=0, atol=1e-5)


def test_a_step_along_the_velocity_lands_where_it_should():
    noisy = add_noise(CLEAN, NOISE, torch.full((6,), 0.8))
    v = to_velocity(CLEAN, noisy, torch.full((6,), 0.8), "clean")
    torch.testing.assert_close(
        noisy + (0.3 - 0.8) * v, add_noise(CLEAN, NOISE, torch.full((6,), 0.3)), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("prediction", ["clean", "velocity"])
def test_the_loss_is_the_squared_error_of_the_velocity(prediction):
    noisy, output = add_noise(CLEAN, NOISE, SIGMA), random(6, 4, seed=2)
    loss = velocity_loss(output, CLEAN, NOISE, SIGMA, prediction)
    error = to_velocity(output, noisy, SIGMA, prediction) - velocity(CLEAN, NOISE)
    torch.testing.assert_close(loss.per_row, error.square().mean(1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(loss.mean, loss.per_row.mean())


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.05, 1.0])
def test_the_loss_of_the_right_answer_is_zero_at_every_noise_level(sigma):
    """Fails below LOSS_MIN_SIGMA if the clamped velocity is compared with the true one."""
    levels = torch.full((6,), sigma)
    assert velocity_loss(CLEAN, CLEAN, NOISE, levels, "clean").mean == 0
    assert velocity_loss(velocity(CLEAN, NOISE), CLEAN, NOISE, levels, "velocity").mean == 0


def test_rows_that_are_given_carry_no_loss_and_no_gradient():
    output = random(6, 4, seed=2).requires_grad_()
    mask = torch.tensor([False, True, True, False, True, True])
    loss = velocity_loss(output, CLEAN, NOISE, SIGMA, "clean", mask)
    torch.testing.assert_close(loss.mean, loss.per_row[mask].mean())
    loss.mean.backward()
    assert output.grad is not None
    assert (output.grad.abs().sum(1) > 0).tolist() == mask.tolist()
    assert not loss.per_row.requires_grad


def test_a_loss_over_no_rows_is_zero_not_nan():
    assert velocity_loss(NOISE, CLEAN, NOISE, SIGMA, "clean", torch.zeros(6, dtype=torch.bool)).mean == 0


def test_noise_levels_are_logit_normal_and_repeatable():
    draw = sample_sigma(20_000, mean=0.8, std=1.5, generator=torch.Generator().manual_seed(3))
    assert torch.equal(draw, sample_sigma(20_000, mean=0.8, std=1.5, generator=torch.Generator().manual_seed(3)))
    assert draw.min() > 0
    assert draw.max() < 1
    logits = torch.logit(draw.double())
    assert logits.mean().item() == pytest.approx(0.8, abs=0.05)
    assert logits.std().item() == pytest.approx(1.5, abs=0.05)


def test_the_shift_multiplies_the_odds_of_noise():
    """Equation 23 of Esser et al. says sigma / (1 - sigma) grows by alpha; 0 and 1 stay."""
    sigma = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    shifted = shift_sigma(sigma, 3.0)
    assert shifted[[0, -1]].tolist() == [0, 1]
    torch.testing.assert_close(shifted / (1 - shifted), 3 * sigma / (1 - sigma))
    assert torch.equal(shift_sigma(sigma, 1.0), sigma)


def test_four_times_the_tokens_double_the_shift():
    assert shift_factor(1024, reference_tokens=256) == pytest.approx(2)
    assert shift_factor(64, reference_tokens=256, base=3) == pytest.approx(1.5)
    assert shift_factor(10, reference_tokens=None, base=3) == shift_factor(10_000, reference_tokens=None, base=3) == 3
    with pytest.raises(ValueError, match="positive"):
        shift_factor(0, reference_tokens=256)


@pytest.mark.parametrize(("steps", "shift"), [(1, 1.0), (7, 1.0), (50, 5.0), (1000, 0.3)])
def test_the_schedule_falls_from_one_to_zero(steps, shift):
    sigmas = sigma_schedule(steps, shift)
    assert len(sigmas) == steps + 1
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_a_shift_spends_more_steps_in_the_noise():
    above = {shift: (sigma_schedule(40, shift) > 0.5).sum().item() for shift in (0.3, 1.0, 5.0)}
    assert above[0.3] < above[1.0] < above[5.0]
    torch.testing.assert_close(sigma_schedule(4, 3.0), torch.tensor([1, 0.9, 0.75, 0.5, 0]))


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0, 12.0])
@pytest.mark.parametrize("spacing", ["unipc", "flow_match"])
def test_levels_are_those_of_the_peers_schedulers(spacing, shift, steps):
    """UniPC lowers its first level by 1e-6 to avoid log(0)."""
    diffusers = pytest.importorskip("diffusers")
    if spacing == "unipc":
        peer = diffusers.UniPCMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=shift
        )
    else:
        peer = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    peer.set_timesteps(steps)
    torch.testing.assert_close(sigma_schedule(steps, shift, spacing=spacing), peer.sigmas, rtol=0, atol=2e-6)


@pytest.mark.parametrize("spacing", ["linear", "unipc", "flow_match"])
@pytest.mark.parametrize("start", [1.0, 0.5, 0.01, 0.001, 1e-6])
def test_levels_fall_from_any_start(spacing, start):
    for steps in (1, 2, 5):
        sigmas = sigma_schedule(steps, 3.0, start, spacing)
        assert len(sigmas) == steps + 1
        assert sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()


def test_a_schedule_without_steps_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        sigma_schedule(0)


def test_many_small_steps_with_the_posterior_mean_end_at_the_data():
    """Data N(mu, s^2) has a known posterior mean, so the ODE from noise must end with that mean and deviation."""
    mu, s = 2.0, 0.5
    x = random(4000, 1, seed=4)
    sigmas = sigma_schedule(200)
    for now, then in pairwise(sigmas):
        gain = (1 - now) * s**2 / ((1 - now) ** 2 * s**2 + now**2)
        posterior_mean = mu + gain * (x - (1 - now) * mu)
        x = x + (then - now) * to_velocity(posterior_mean, x, now.expand(len(x)), "clean")
    assert x.mean().item() == pytest.approx(mu, abs=0.05)
    assert x.std().item() == pytest.approx(s, abs=0.05)
    assert math.isfinite(x.sum().item())
