"""Tracking of bodies of known colours, for measures of motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from vitascope.worlds.solids.cast import RGB

MIN_SATURATION = 0.45  # least saturation of a coloured body's pixels; walls, sky and wood have less
MAX_HUE_DISTANCE = 22.0  # degrees
MIN_SHARE = 2e-4  # share of the picture; fewer pixels are noise


def track(frames: UInt8[np.ndarray, "t h w 3"], colours: Sequence[RGB]) -> Float[np.ndarray, "t bodies 2"]:
    """(row, column) of the centroid of each colour's pixels in every frame, NaN where there are too few.

    Colours are separated by hue, so shading, highlights and shadows do not matter. Hues must be 45 degrees apart.
    """
    hue, saturation = hue_and_saturation(frames)
    rows, columns = np.indices(frames.shape[1:3], dtype=np.float64) + 0.5
    tracks = np.full((len(frames), len(colours), 2), np.nan)
    for number, colour in enumerate(colours):
        wanted, _ = hue_and_saturation(np.array([[[colour]]]) * 255)
        weights = saturation * (saturation > MIN_SATURATION) * (hue_distance(hue, wanted.item()) < MAX_HUE_DISTANCE)
        filled = (weights > 0).mean(axis=(1, 2)) > MIN_SHARE
        total = weights.sum(axis=(1, 2))[filled]
        for axis, places in enumerate((rows, columns)):
            tracks[filled, number, axis] = (weights[filled] * places).sum(axis=(1, 2)) / total
    return tracks


def hue_and_saturation(
    frames: UInt8[np.ndarray, "t h w 3"] | Float[np.ndarray, "t h w 3"],
) -> tuple[Float[np.ndarray, "t h w"], Float[np.ndarray, "t h w"]]:
    """Hue in degrees and saturation (chroma over value) in 0..1."""
    red, green, blue = np.moveaxis(frames.astype(np.float64), -1, 0)
    value, least = frames.max(axis=-1).astype(np.float64), frames.min(axis=-1).astype(np.float64)
    chroma = value - least
    hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
    return hue, np.divide(chroma, value, out=np.zeros_like(chroma), where=value > 0)


def hue_distance(one: np.ndarray | float, other: float) -> np.ndarray:
    """Degrees between hues, at most 180."""
    return np.asarray(np.abs((one - other + 180) % 360 - 180))
