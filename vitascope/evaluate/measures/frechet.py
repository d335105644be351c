"""Frechet distance between two sets of features, each modelled as a Gaussian, and its confidence interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitascope.errors import SizeError

CLIPS_PER_DIMENSION = 4  # fewer give a covariance that is mostly noise
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
    """Principal components that features are compared on, and the share of the variance they explain."""

    basis: Float[np.ndarray, "d k"]
    explained: float

    @property
    def num(self) -> int:
        """The number of components."""
        return self.basis.shape[1]


def components(real: Features, num_clips: int) -> Components:
    """Leading components of the real features, one for every 4 of `num_clips`; the identity if that covers all.

    Raises:
        SizeError: fewer than 16 clips.
    """
    if num_clips < MIN_CLIPS:
        raise SizeError(f"{num_clips} clips per side are too few for a Frechet distance; give at least {MIN_CLIPS}")
    _, deviations, axes = np.linalg.svd(real - real.mean(axis=0), full_matrices=False)
    variances = deviations**2
    num = min(real.shape[1], len(axes), num_clips // CLIPS_PER_DIMENSION)
    if num == real.shape[1]:
        return Components(np.eye(num), 1.0)
    return Components(axes[:num].T, float(variances[:num].sum() / max(variances.sum(), 1e-30)))


def frechet_distance(a: Features, b: Others) -> float:
    """Squared distance of the means plus that of the covariances, in the features' squared units; at least 0.

    The trace of (A B)^(1/2) equals that of (A^(1/2) B A^(1/2))^(1/2), which is symmetric. Its eigenvalues are real,
    also for singular covariances.

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
    """The distance and a 95 % bootstrap interval over the clips of both sets.

    Resampled sets repeat clips and are further apart than the originals. The interval is corrected for this mean bias.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 10 (bias) and 13.
    """
    draw, value = np.random.default_rng(seed), frechet_distance(a, b)
    drawn = [
        frechet_distance(a[draw.integers(len(a), size=len(a))], b[draw.integers(len(b), size=len(b))])
        for _ in range(NUM_RESAMPLED)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5]) - np.mean(drawn) + value
    return Distance(value, max(0.0, float(low)), float(high))
