"""Bootstrap confidence intervals over clips."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

NUM_RESAMPLED = 2000


def confidence(
    values: Float[np.ndarray, " n"], counts: Float[np.ndarray, " n"] | None = None, seed: int = 0, share: float = 0.95
) -> tuple[float, float]:
    """(low, high): the percentile interval of the mean over clips; NaN without values.

    With `counts`, each value is the sum of that many correlated figures of one clip, and the mean is over all figures.
    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
    """
    counts = np.ones(len(values)) if counts is None else counts
    if counts.sum() == 0:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(len(values), size=(NUM_RESAMPLED, len(values)))
    sums, nums = values[drawn].sum(axis=1), counts[drawn].sum(axis=1)
    low, high = np.percentile(sums[nums > 0] / nums[nums > 0], [50 * (1 - share), 50 * (1 + share)])
    return float(low), float(high)


def mean_interval(
    values: Float[np.ndarray, " n"], digits: int = 1, counts: Float[np.ndarray, " n"] | None = None
) -> str:
    """The mean and its 95 % interval as text; `counts` as in `confidence`."""
    mean = values.mean() if counts is None else values.sum() / counts.sum()
    low, high = confidence(values, counts)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
