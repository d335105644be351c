"""Detection of cuts: frame-to-frame changes that stand out from their neighbours."""

from __future__ import annotations

import numpy as np
from einops import reduce
from jaxtyping import Float, UInt8

COARSE = 8  # cells along the shorter side of a frame
SMALL_CUT = 2.0  # levels of 255: a smaller median change is never a cut, even in a still video
FAINT = 0.25  # minimum strength of a cut if the number of cuts is known
LUMA_BT709 = np.array([0.2126, 0.7152, 0.0722])  # luma weights of R, G and B: ITU-R BT.709

Cells = Float[np.ndarray, "t rows columns 3"]


def cells(frames: UInt8[np.ndarray, "t h w 3"], num: int) -> Cells:
    """Means of the frames over square cells, about `num` along the shorter side, in levels of 255."""
    side = max(1, round(min(frames.shape[1:3]) / num))
    rows, columns = (length // side * side for length in frames.shape[1:3])
    return reduce(frames[:, :rows, :columns], "t (r a) (c b) rgb -> t r c rgb", np.mean, a=side, b=side)


def cut_strengths(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, " steps"]:
    """Strength of the cut at each step between neighbouring frames; ordinary steps are near or below 1.

    A step is the median change of mean colour over 8 x 8 cells, which a fast object hardly changes. The strength is
    its ratio to the largest of: the two steps before, the two after, and twice the clip's median step. Camera moves,
    sudden starts and single odd frames (whose two steps are equal) thus stay low. Each frame is first scaled to its
    predecessor's brightness, so that flashes are not cuts.
    """
    if len(frames) < 2:
        return np.zeros(0)
    picture = cells(frames, COARSE)
    before, after = picture[:-1], picture[1:]
    gains = np.median(np.maximum(before @ LUMA_BT709, 1.0) / np.maximum(after @ LUMA_BT709, 1.0), axis=(1, 2))
    steps = reduce(np.abs(after * gains[:, None, None, None] - before), "t r c rgb -> t r c", "mean")
    change = np.median(steps, axis=(1, 2))
    around = [_shifted(change, by) for by in (-2, -1, 1, 2)]
    return change / (SMALL_CUT + np.maximum.reduce([*around, np.full_like(change, 2 * np.median(change))]))


def find_cuts(frames: UInt8[np.ndarray, "t h w 3"], threshold: float) -> list[int]:
    """Frames that begin a new shot: those whose cut strength exceeds `threshold`."""
    return [int(step) + 1 for step in np.flatnonzero(cut_strengths(frames) > threshold)]


def strongest_cuts(frames: UInt8[np.ndarray, "t h w 3"], num: int) -> list[int]:
    """The `num` frames most likely to begin a new shot, in order; strongest cuts are chosen first.

    There may be fewer: shots have at least two frames, and faint changes are never cuts.
    """
    if num == 0:
        return []
    strengths, found = cut_strengths(frames), []
    for step in np.argsort(-strengths, kind="stable").tolist():
        borders = [0, *found, len(frames)]
        if len(found) < num and strengths[step] > FAINT and all(abs(step + 1 - border) > 1 for border in borders):
            found.append(step + 1)
    return sorted(found)


def _shifted(values: Float[np.ndarray, " steps"], by: int) -> Float[np.ndarray, " steps"]:
    """Values shifted by `by` positions, 0 beyond the ends."""
    shifted = np.zeros_like(values)
    if abs(by) < len(values):
        shifted[max(0, -by) : len(values) - max(0, by)] = values[max(0, by) : len(values) + min(0, by)]
    return shifted
