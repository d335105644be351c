"""Cuts in a video, told by its pixels: steps between frames that stand out."""

from __future__ import annotations

import numpy as np
from einops import reduce
from jaxtyping import Float, UInt8

COARSE = 8  # cells along the shorter side of a picture
SMALL_CUT = 2.0  # levels of 255: less than this at half of the picture is no cut, however still the rest is
FAINT = 0.25  # strength: a cut that one knows to be there is stronger
LUMA_BT709 = np.array([0.2126, 0.7152, 0.0722])  # BT.709

Cells = Float[np.ndarray, "t rows columns 3"]


def cells(frames: UInt8[np.ndarray, "t h w 3"], num: int) -> Cells:
    """The frames' means over square cells, about `num` of them along the shorter side, in levels of 255."""
    side = max(1, round(min(frames.shape[1:3]) / num))
    rows, columns = (length // side * side for length in frames.shape[1:3])
    return reduce(frames[:, :rows, :columns], "t (r a) (c b) rgb -> t r c rgb", np.mean, a=side, b=side)


def cut_strengths(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, " steps"]:
    """For each step between neighbouring frames, by how much it stands out from the clip's other steps; 1 is ordinary.

    A step is the median, over 8 x 8 cells, of the change in mean colour: a thing, however fast, changes few of them. It
    is compared with the largest of the two steps before and the two after, so that a camera's move or a sudden start
    doesn't stand out, nor does a single odd frame, whose two steps are alike; and with twice the clip's median step.
    Each frame is first brought to its predecessor's brightness, since a flash is no cut.
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
    """The numbers of the frames that begin a new shot."""
    return [int(step) + 1 for step in np.flatnonzero(cut_strengths(frames) > threshold)]


def strongest_cuts(frames: UInt8[np.ndarray, "t h w 3"], num: int) -> list[int]:
    """The numbers of the `num` frames that most look like beginning a new shot, in order.

    The strongest is taken first. No shot is a single frame, and where next to nothing changes is no cut, so there may
    be fewer.
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
    """Each place's neighbour `by` places on, 0 beyond the ends."""
    shifted = np.zeros_like(values)
    if abs(by) < len(values):
        shifted[max(0, -by) : len(values) - max(0, by)] = values[max(0, by) : len(values) + min(0, by)]
    return shifted
