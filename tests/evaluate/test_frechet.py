"""The Frechet distance: its closed form, its interval, and what it takes for too few."""

from __future__ import annotations

import numpy as np
import pytest

from vitascope.errors import SizeError
from vitascope.evaluate.measures.frechet import bootstrapped, components, frechet_distance


def exactly(mean: np.ndarray, covariance: np.ndarray, num: int = 40) -> np.ndarray:
    """Points whose own mean and covariance are these, to rounding."""
    points = np.random.default_rng(0).standard_normal((num, len(mean)))
    points -= points.mean(axis=0)
    points = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T
    return points @ np.linalg.cholesky(covariance).T + mean


def test_gaussians_that_commute_have_the_closed_form() -> None:
    """|m - n|^2 + sum (s - t)^2 for axes in common. Fails with one root left out, or a covariance not centred."""
    axes = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    s, t, m = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 3.0]), np.array([1.0, -1.0, 0.5])
    a = exactly(np.zeros(3), axes @ np.diag(s**2) @ axes.T)
    b = exactly(m, axes @ np.diag(t**2) @ axes.T)
    assert frechet_distance(a, b) == pytest.approx(m @ m + ((s - t) ** 2).sum())
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_covariances_that_do_not_commute() -> None:
    """Against the root of the plain product, by its own eigenvalues, which are real and positive all the same."""
    draw = np.random.default_rng(2)
    first, second = (matrix @ matrix.T + 0.1 * np.eye(4) for matrix in draw.standard_normal((2, 4, 4)))
    shared = np.sqrt(np.linalg.eigvals(first @ second).real).sum()
    expected = np.trace(first) + np.trace(second) - 2 * shared
    assert frechet_distance(exactly(np.zeros(4), first), exactly(np.zeros(4), second)) == pytest.approx(expected)


def test_features_that_never_vary_do_no_harm() -> None:
    a, b = (np.random.default_rng(k).standard_normal((30, 5)) for k in (0, 1))
    a[:, 1:3], b[:, 1:3] = 0.0, 0.0
    assert np.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, b + np.array([0.0, 2.0, 0.0, 0.0, 0.0])) == pytest.approx(frechet_distance(a, b) + 4)


def test_an_interval_holds_the_distance_and_narrows_with_more_clips() -> None:
    """Fails without the correction for repeated clips: the interval is then above the distance itself."""
    widths = []
    for num in (40, 640):
        draw = np.random.default_rng(3)
        a, b = draw.standard_normal((num, 4)), draw.standard_normal((num, 4)) + 1.0
        found = bootstrapped(a, b)
        assert found.value == frechet_distance(a, b)
        assert 0 <= found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths[1] < 0.5 * widths[0]
    assert bootstrapped(a, b) == bootstrapped(a, b)


def test_too_few_clips_for_the_dimension_are_compared_on_fewer_components() -> None:
    draw = np.random.default_rng(4)
    real = draw.standard_normal((200, 3)) @ draw.standard_normal((3, 30)) + 0.01 * draw.standard_normal((200, 30))
    kept = components(real, 40)
    assert (kept.num, kept.basis.shape) == (10, (30, 10))
    assert 0.99 < kept.explained < 1
    np.testing.assert_allclose(kept.basis.T @ kept.basis, np.eye(10), atol=1e-9)
    assert components(real, 120).num == 30
    assert components(real, 120).explained == 1.0
    with pytest.raises(SizeError, match="15 clips per side are too few"):
        components(real, 15)
