"""The Frechet distance between two sets of features, each taken for a Gaussian, and how sure it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitascope.errors import SizeError

CLIPS_PER_DIMENSION = 4  # with fewer, a covariance is mostly made of chance
MIN_CLIPS = 16
NUM_RESAMPLED = 200
Features = Float[np.ndarray, "n d"]
Others = Float[np.ndarray, "m d"]


class Distance(NamedTuple):
    """A distance and its 95 % interval."""

    value: float
    low: float
    high: float


class Components(NamedTuple):
    """The principal components that features are compared on, and the share of the variance that they hold."""

    basis: Float[np.ndarray, "d k"]
    held: float

    @property
    def num(self) -> int:
        """How many there are."""
        return self.basis.shape[1]


def components(real: Features, num_clips: int) -> Components:
    """As many components of the real features as sets of `num_clips` bear; all directions, if they bear them all.

    Raises:
        SizeError: sets too small for any.
    """
    if num_clips < MIN_CLIPS:
        raise SizeError(f"{num_clips} clips on a side are too few for a Frechet distance: {MIN_CLIPS} are the least")
    _, deviations, axes = np.linalg.svd(real - real.mean(axis=0), full_matrices=False)
    variances = deviations**2
    num = min(real.shape[1], len(axes), num_clips // CLIPS_PER_DIMENSION)
    if num == real.shape[1]:
        return Components(np.eye(num), 1.0)
    return Components(axes[:num].T, float(variances[:num].sum() / max(variances.sum(), 1e-30)))


def frechet_distance(a: Features, b: Others) -> float:
    """Squared distance of the means plus that of the covariances, in the features' squared units; at least 0.

    The trace of (A B)^(1/2) is that of (A^(1/2) B A^(1/2))^(1/2), which is symmetric: real eigenvalues, no complex
    square root, and singular covariances do no harm.

    Source: Dowson and Landau 1982, "The Frechet distance between multivariate normal distributions"; on features of a
    network, Heusel et al. 2017 (arXiv:1706.08500), equation 6.
    """
    offset = a.mean(axis=0) - b.mean(axis=0)
    one, other = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    variances, axes = np.linalg.eigh(one)
    root = (axes * np.sqrt(np.clip(variances, 0, None))) @ axes.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ other @ root), 0, None)).sum()
    return max(0.0, float(offset @ offset + np.trace(one) + np.trace(other) - 2 * shared))


def bootstrapped(a: Features, b: Others, seed: int = 0) -> Distance:
    """The distance, and a 95 % interval by drawing the clips of both sets anew with replacement.

    Sets drawn so repeat clips, and lie further apart than the true ones do: their mean excess is taken off the
    interval.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 10 (bias) and 13.
    """
    draw, value = np.random.default_rng(seed), frechet_distance(a, b)
    drawn = [
        frechet_distance(a[draw.integers(len(a), size=len(a))], b[draw.integers(len(b), size=len(b))])
        for _ in range(NUM_RESAMPLED)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5]) - np.mean(drawn) + value
    return Distance(value, max(0.0, float(low)), float(high))
