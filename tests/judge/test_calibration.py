"""Calibration: on made-up logits whose honesty is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitascope.judge.calibration import (
    Bin,
    expected_calibration_error,
    fit_temperature,
    reliability,
    reliability_picture,
)


def made_up(overconfidence: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of five words, and words drawn by them; then the logits are multiplied."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 5, generator=generator)
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    logits = torch.cat([logits * overconfidence, torch.full((4000, 1), float("-inf"))], dim=1)
    return logits, targets


def error(logits: torch.Tensor, targets: torch.Tensor) -> float:
    sure, best = logits.softmax(1).max(1)
    return expected_calibration_error(reliability(sure.tolist(), (best == targets).tolist()))


@pytest.mark.parametrize("overconfidence", [0.4, 1.0, 3.0])
def test_the_fitted_temperature_undoes_overconfidence(overconfidence: float) -> None:
    """Fails when logits are multiplied by the temperature instead of divided."""
    logits, targets = made_up(overconfidence)
    temperature = fit_temperature(logits, targets)
    assert temperature == pytest.approx(overconfidence, rel=0.1)
    after = error(logits / temperature, targets)
    assert after < 0.02
    if overconfidence != 1.0:
        assert after < 0.3 * error(logits, targets)


def test_bins_count_everything_once() -> None:
    bins = reliability([0.0, 0.05, 0.1, 0.95, 1.0], [False, True, True, True, False])
    assert [each.count for each in bins] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert bins[0] == Bin(2, pytest.approx(0.025), 0.5)
    assert expected_calibration_error(bins) == pytest.approx((2 * 0.475 + 0.9 + 2 * 0.475) / 5)
    assert expected_calibration_error(reliability([], [])) == 0.0


def test_the_picture_shows_a_bar_as_high_as_its_accuracy() -> None:
    picture = reliability_picture(reliability([0.95] * 4, [True, True, True, False]), side=200).frames[0]
    assert picture.shape == (200, 200, 3)
    blue = (picture[:, 185].astype(int) @ np.array([-1, 0, 1])) > 50
    assert abs(blue.sum() - 150) <= 3
