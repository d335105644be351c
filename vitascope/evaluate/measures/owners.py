"""Errors of a copied clip by owner of the pixel: on actors by their speed, at cell borders, and in still regions.

All figures are sums and counts of one clip, so that they add up over clips. The first frame is left out, because codecs
store it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from einops import reduce
from jaxtyping import Float, UInt8

from vitascope.codec.video_codec import Stride
from vitascope.evaluate.measures.confidence import NUM_RESAMPLED

SPEEDS = (0.0, 0.3, 1.0, 2.0, 4.0, np.inf)  # bounds of the bins, in pixels per frame
GROUPS = ("all", "actors", "0 to 0.3", "0.3 to 1", "1 to 2", "2 to 4", "over 4")
STILL_LEVELS = 1  # greatest change of a still pixel from frame to frame, in levels of 255

Frames = UInt8[np.ndarray, "t h w 3"]


def actor_speeds(truth: Sequence[dict[str, Any]]) -> Float[np.ndarray, "t actors"]:
    """Speed of each actor's centre in pixels since the previous frame; in the first frame of a shot, to the next."""
    centres = np.array([[actor["pixel"] for actor in frame["actors"]] for frame in truth])
    shots = np.array([frame.get("shot", 0) for frame in truth])
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=-1)
    steps[shots[1:] != shots[:-1]] = np.nan
    before, after = (np.concatenate(parts) for parts in ((steps[:1], steps), (steps, steps[-1:])))
    return np.nan_to_num(np.where(np.isnan(before), after, before))


def squared_errors(
    original: Frames, copy: Frames, masks: UInt8[np.ndarray, "t h w"], speeds: Float[np.ndarray, "t actors"]
) -> Float[np.ndarray, "groups 2"]:
    """(sum, number of pixels) of the squared error of each of the `GROUPS`; a pixel's error is its channels' mean."""
    errors = reduce((original[1:].astype(np.float64) - copy[1:]) ** 2, "t h w c -> t h w", "mean")
    sums = np.zeros((len(GROUPS), 2))
    sums[0] = errors.sum(), errors.size
    for error, mask, speed in zip(errors, masks[1:], speeds[1:], strict=True):
        owned = np.bincount(mask.ravel(), error.ravel(), minlength=len(speed) + 1)[1:]
        areas = np.bincount(mask.ravel(), minlength=len(speed) + 1)[1:]
        bins = 2 + np.searchsorted(SPEEDS[1:-1], speed, side="right")
        for group, error_sum, area in zip(bins, owned, areas, strict=True):
            sums[[1, group]] += error_sum, area
    return sums


def edge_errors(original: Frames, copy: Frames, stride: Stride) -> Float[np.ndarray, " 4"]:
    """(sum, number) of the error's absolute second differences across cell borders, then the same within cells."""
    error = copy[1:].astype(np.float64) - original[1:]
    total = np.zeros(4)
    for axis, cell in ((1, stride.rows), (2, stride.columns)):
        bends = np.abs(np.diff(error, n=2, axis=axis)).mean(axis=tuple({0, 1, 2, 3} - {axis}))
        inner = np.arange(1, error.shape[axis] - 1) % cell  # place of the middle pixel in its cell
        crosses = (inner == 0) | (inner == cell - 1)
        total += bends[crosses].sum(), crosses.sum(), bends[~crosses].sum(), (~crosses).sum()
    return total


def still_changes(original: Frames, copy: Frames, time_stride: int) -> Float[np.ndarray, " 4"]:
    """(sum, number) of the error's absolute changes in still pixels, then of those at the borders of latent frames.

    A pixel is still for a step if no channel of the original changes by more than a level.
    """
    error = copy[1:].astype(np.float64) - original[1:]
    is_still = np.abs(np.diff(original[1:].astype(int), axis=0)).max(axis=-1) <= STILL_LEVELS
    changes = reduce(np.abs(np.diff(error, axis=0)), "t h w c -> t h w", "mean") * is_still
    sums = np.stack([reduce(each.astype(float), "t h w -> t", "sum") for each in (changes, is_still)], axis=-1)
    at_border = (np.arange(1, len(sums) + 1) % time_stride) == 0 if time_stride > 1 else np.zeros(len(sums), bool)
    return np.concatenate([sums.sum(axis=0), sums[at_border].sum(axis=0)])


Statistic = Callable[[np.ndarray], np.ndarray | np.floating]


def psnr_of(sums: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"] | np.floating:
    """PSNR in dB of (sum, number) of squared errors; NaN without pixels."""
    return 10 * np.log10(255.0**2 * sums[..., 1] / sums[..., 0])


def gain_of(sums: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n"] | np.floating:
    """PSNR of the first (sum, number) minus that of the second."""
    return psnr_of(sums[..., :2]) - psnr_of(sums[..., 2:])


def mean_of(sums: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n"] | np.floating:
    """Mean of the first (sum, number)."""
    return sums[..., 0] / sums[..., 1]


def ratio_of(sums: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n"] | np.floating:
    """Mean of the first (sum, number) over the mean of the second."""
    return (sums[..., 0] / sums[..., 1]) / (sums[..., 2] / sums[..., 3])


def summary(sums: Float[np.ndarray, "clips k"], statistic: Statistic, seed: int = 0) -> tuple[float, float, float]:
    """(value, low, high): a statistic of the clips' summed figures, and its 95 % bootstrap interval over clips."""
    drawn = np.random.default_rng(seed).integers(len(sums), size=(NUM_RESAMPLED, len(sums)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value, resampled = statistic(sums.sum(axis=0)), statistic(sums[drawn].sum(axis=1))
    resampled = np.asarray(resampled)[np.isfinite(resampled)]
    if not np.isfinite(value) or len(resampled) == 0:
        return float(value), float("nan"), float("nan")
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(value), float(low), float(high)
