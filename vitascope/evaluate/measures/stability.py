"""Temporal stability of a video from its pixels: flicker, drift, cadence and loop closure, on small pictures."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from einops import reduce
from jaxtyping import Bool, Float, UInt8

from vitascope.video.cuts import LUMA_BT709, Cells, cells

MIN_FRAMES = 6  # minimum length of a measured video
ROWS = 96  # shorter side in pixels to which larger videos are resized
CUT_STRENGTH = 1.6  # strength of a cut, relative to the steps around it
FINE = 32  # cells along the shorter side of a picture
STILL_LEVELS = 1.5  # levels of 255; a cell is static if its brightness, without flicker, deviates less
SMOOTHED = 4  # frames averaged to remove flicker; even, so that alternating flicker cancels
MIN_STILL = 0.02  # share of the picture; flicker needs a larger static region
PATTERN_LEVELS = 2.0  # levels of 255; more variation between cells is a pattern whose motion is measurable
UNMOVED = 0.4  # share of patterns near the edges that stay in place if the camera is static
EDGE = 6  # cells
MIN_TONE = 0.1  # shares of the picture that must be light, and dark, to measure contrast
MIN_SPAN = 8.0  # least difference of light and dark in levels of 255
MIN_SECONDS = 1.5  # minimum length of a clip whose drift is measured
MIN_CHANGE = 0.3  # mean levels of 255 between frames; below it, compression noise would decide the cadence
MIN_BORDERS = 3  # latent borders that cadence needs
STRONG_CADENCE = 1.5  # of other phases, see `cadence`


def flicker(frames: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Flicker of static regions in levels of 255; NaN if the clip has none.

    Each cell's flicker is half the median over time of the absolute second difference. The result is the 75th
    percentile over static cells. A cell is static if its brightness, averaged over four frames, deviates little, or no
    more than its flicker explains. Motion changes brightness permanently, or in few frames.
    """
    luma = cells(frames, FINE) @ LUMA_BT709
    if len(luma) < SMOOTHED + 2:
        return float("nan")
    still = _still(luma)
    return float(np.percentile(_flicker_of_cells(luma)[still], 75)) if still.mean() >= MIN_STILL else float("nan")


def _flicker_of_cells(luma: Float[np.ndarray, "t r c"]) -> Float[np.ndarray, "r c"]:
    return np.median(np.abs(np.diff(luma, n=2, axis=0)), axis=0) / 2


def _still(luma: Float[np.ndarray, "t r c"]) -> Bool[np.ndarray, "r c"]:
    smooth = np.stack([luma[k : len(luma) - SMOOTHED + 1 + k] for k in range(SMOOTHED)]).mean(axis=0)
    tilt = np.linspace(-0.5, 0.5, len(smooth))[:, None, None]
    steady = smooth - tilt * np.median(smooth[-1] - smooth[0])  # drift of the whole picture is not motion
    return steady.std(axis=0) < STILL_LEVELS + 0.5 * _flicker_of_cells(luma)


def added_flicker(frames: UInt8[np.ndarray, "t h w 3"], original: UInt8[np.ndarray, "t h w 3"]) -> float:
    """The excess change of a copy's brightness per frame where its original is static, in levels of 255.

    The mean over time and over the original's static cells, so rare changes count too. NaN if the original has no
    static region.
    """
    luma, true_luma = (cells(each, FINE) @ LUMA_BT709 for each in (frames, original))
    if len(true_luma) < SMOOTHED + 2:
        return float("nan")
    still = _still(true_luma)
    if still.mean() < MIN_STILL:
        return float("nan")
    changes, true_changes = (np.abs(np.diff(each[:, still], axis=0)).mean() for each in (luma, true_luma))
    return float(changes - true_changes)


class Drift(NamedTuple):
    """Percent per second of the channel that changes fastest, and of the contrast between light and dark."""

    colour: float
    contrast: float


def drift(frames: UInt8[np.ndarray, "t h w 3"], fps: float) -> Drift:
    """Rates of lasting change in colour and contrast.

    In each frame, the median over cells of the deviation from the cell's usual level, so moving objects do not count.
    Over time, the slope of a line through these, reduced by twice its standard error, so flicker does not count. NaN
    if the camera moves, or the clip is shorter than 1.5 seconds.
    """
    picture = cells(frames, FINE)
    if len(picture) < max(3.0, MIN_SECONDS * fps) or not camera_is_still(frames):
        return Drift(float("nan"), float("nan"))
    levels = np.median(picture, axis=0)
    brightness = np.maximum(levels.mean(axis=(0, 1)), 8.0)
    strays = np.median(picture - levels, axis=(1, 2)) / brightness
    colour = [significant_slope(strays[:, channel], fps) for channel in range(3)]
    return Drift(100 * max(colour, key=abs), 100 * _contrast_slope(picture, levels, strays, fps))


def _contrast_slope(
    picture: Cells, levels: Float[np.ndarray, "r c 3"], strays: Float[np.ndarray, "t 3"], fps: float
) -> float:
    """Change per second of the difference between light and dark cells, minus the part due to colour drift.

    The median over the channels that have such a difference.
    """
    luma = levels @ LUMA_BT709
    light = luma > np.percentile(luma, (10, 90)).mean()
    if not MIN_TONE < light.mean() < 1 - MIN_TONE:
        return float("nan")
    spans = np.median(levels[light], axis=0) - np.median(levels[~light], axis=0)
    high, low = (np.median((picture - levels)[:, part], axis=1) for part in (light, ~light))
    slopes = [
        significant_slope((high - low)[:, channel] / spans[channel] - strays[:, channel], fps)
        for channel in np.flatnonzero(np.abs(spans) > MIN_SPAN)
    ]
    return float(np.median(slopes)) if slopes else float("nan")


def significant_slope(values: Float[np.ndarray, " t"], fps: float) -> float:
    """Slope per second of a line fit, moved towards zero by two standard errors."""
    seconds = (np.arange(len(values)) - 0.5 * (len(values) - 1)) / fps
    spread = float(seconds @ seconds)
    slope = float(seconds @ values) / spread
    strays = values - values.mean() - slope * seconds
    error = float(np.sqrt(strays @ strays / (len(values) - 2) / spread))
    return float(np.sign(slope)) * max(0.0, abs(slope) - 2 * error)


def camera_is_still(frames: UInt8[np.ndarray, "t h w 3"]) -> bool:
    """True if enough patterns near the picture's edges are in the same place at the beginning and at the end.

    Patterns are compared by correlation over 5 x 5 cells, which is invariant to brightness and contrast.
    """
    luma = cells(frames, FINE) @ LUMA_BT709
    quarter = max(1, len(luma) // 4)
    first, last = (_patterns(part.mean(axis=0)) for part in (luma[:quarter], luma[-quarter:]))
    strength, other = (np.sqrt((part**2).mean(axis=(2, 3))) for part in (first, last))
    patterned = np.maximum(strength, other) > PATTERN_LEVELS
    patterned[EDGE:-EDGE, EDGE:-EDGE] = False  # objects in the middle move and cast shadows
    alike = (first * last).mean(axis=(2, 3)) > 0.9 * np.maximum(strength * other, 1e-9)
    return not patterned.any() or bool(alike[patterned].mean() > UNMOVED)


def _patterns(picture: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "r c 5 5"]:
    windows = np.lib.stride_tricks.sliding_window_view(picture, (5, 5))
    return windows - windows.mean(axis=(2, 3), keepdims=True)


class Cadence(NamedTuple):
    """Share of change that falls on latent borders, relative to an even share, and its 95 % interval."""

    ratio: float
    low: float
    high: float


def cadence(frames: UInt8[np.ndarray, "t h w 3"], time_stride: int, cuts: Collection[int] = ()) -> Cadence:
    """Cadence at the latent borders of a codec that stores the first frame alone, and then `time_stride` at a time.

    The mean over borders of the share among as many steps as the stride, with the border in the middle. All borders
    weigh the same, so acceleration and single jumps count little. A video may have lost its first frames: the borders
    of another phase replace these if their ratio is certainly above 1.5. Smaller ratios of other phases don't count,
    because a gait repeats every few frames too. NaN for a stride of 1, or fewer than three borders with change around
    them and no cut.
    """
    nothing = Cadence(float("nan"), float("nan"), float("nan"))
    luma = frames @ LUMA_BT709
    changes = reduce(np.abs(np.diff(luma, axis=0)), "t r c -> t", "mean")
    changes[[cut - 1 for cut in cuts]] = np.nan
    if time_stride < 2:
        return nothing
    ratios = [_cadence_at(changes, time_stride, phase) for phase in range(time_stride)]
    others = [each for each in ratios[1:] if each is not None and each.low > STRONG_CADENCE]
    first = ratios[0] or nothing
    return max([first, *others], key=lambda each: each.low) if others else first


def _cadence_at(changes: Float[np.ndarray, " t"], stride: int, phase: int) -> Cadence | None:
    """Cadence at steps phase, phase + stride, ...; None for too few. The interval is Student's."""
    starts = range(phase - (stride - 1) // 2, len(changes) - stride + 1, stride)
    groups = [changes[start : start + stride] for start in starts if start >= 0]
    moving = [group for group in groups if group.mean() >= MIN_CHANGE]  # without NaN
    ratios = np.array([group[(stride - 1) // 2] / group.mean() for group in moving])
    if len(ratios) < MIN_BORDERS:
        return None
    ratio, degrees = float(ratios.mean()), len(ratios) - 1
    width = float(ratios.std(ddof=1) / np.sqrt(len(ratios))) * (
        1.96 + 2.4 / degrees + 4.6 / degrees**2
    )  # within 3 % of Student's 97.5 % quantile
    return Cadence(ratio, ratio - width, ratio + width)


def closure(frames: UInt8[np.ndarray, "t h w 3"]) -> float:
    """The step from the last frame to the first over the 95th percentile of all steps; at most 1 in a loop."""
    picture = cells(frames, FINE)
    steps = reduce(np.abs(np.diff(picture, axis=0)), "t r c rgb -> t", "mean")
    back = float(np.abs(picture[0] - picture[-1]).mean())
    ordinary = float(np.percentile(steps, 95)) if len(steps) else 0.0
    return back / max(ordinary, 0.5)
