"""The settings: sky, ground, light and the few things that stand around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from vitascope.world.cast import RGB, Part
from vitascope.world.words import Place


@dataclass(frozen=True)
class Setting:
    """Colours in 0..1; lights as factors. Props stand in metres, the camera's side being negative y."""

    zenith: RGB
    horizon: RGB
    ground: tuple[RGB, RGB]  # two shades that a smooth pattern mixes
    pattern: Literal["patches", "planks"]
    ambient: float
    sun: float
    props: tuple[Part, ...] = ()


GREEN: RGB = (0.18, 0.45, 0.18)
TRUNK: RGB = (0.36, 0.24, 0.14)


def _tree(x: float, y: float, size: float, leaves: RGB = GREEN) -> tuple[Part, ...]:
    return (
        Part("cylinder", (0.12 * size, 0.12 * size, 0.4 * size), (x, y, 0.4 * size), TRUNK),
        Part("sphere", (0.65 * size, 0.65 * size, 0.75 * size), (x, y, 1.3 * size), leaves),
    )


def _dune(x: float, y: float, size: float, colour: RGB) -> tuple[Part, ...]:
    return (Part("ellipsoid", (2.2 * size, 1.2 * size, 0.6 * size), (x, y, 0.0), colour),)


SETTINGS: dict[Place, Setting] = {
    "grass": Setting(
        zenith=(0.25, 0.52, 0.92),
        horizon=(0.78, 0.90, 1.0),
        ground=((0.28, 0.56, 0.20), (0.40, 0.68, 0.26)),
        pattern="patches",
        ambient=0.42,
        sun=0.62,
        props=(*_tree(-3.4, 5.0, 1.3), *_tree(3.9, 6.0, 1.5)),
    ),
    "desert": Setting(
        zenith=(0.40, 0.66, 0.92),
        horizon=(0.98, 0.90, 0.74),
        ground=((0.84, 0.66, 0.40), (0.92, 0.76, 0.50)),
        pattern="patches",
        ambient=0.46,
        sun=0.62,
        props=(*_dune(-3.2, 6.5, 1.2, (0.86, 0.68, 0.42)), *_dune(3.4, 8.0, 1.5, (0.82, 0.64, 0.40))),
    ),
    "snow": Setting(
        zenith=(0.55, 0.68, 0.84),
        horizon=(0.86, 0.90, 0.95),
        ground=((0.80, 0.86, 0.94), (0.90, 0.93, 0.98)),
        pattern="patches",
        ambient=0.48,
        sun=0.50,
        props=tuple(
            Part("cone", (0.9 * s, 0.9 * s, 1.3 * s), (x, y, 1.3 * s), (0.16, 0.36, 0.30))
            for x, y, s in ((-3.3, 5.5, 1.0), (3.6, 6.5, 1.25))
        ),
    ),
    "beach": Setting(
        zenith=(0.30, 0.64, 0.95),
        horizon=(0.90, 0.95, 0.98),
        ground=((0.90, 0.82, 0.62), (0.95, 0.88, 0.70)),
        pattern="patches",
        ambient=0.46,
        sun=0.60,
        props=(Part("box", (60.0, 24.0, 0.02), (0.0, 27.0, 0.0), (0.12, 0.52, 0.72)),),
    ),
    "room": Setting(
        zenith=(0.80, 0.76, 0.68),
        horizon=(0.80, 0.76, 0.68),
        ground=((0.55, 0.36, 0.20), (0.66, 0.45, 0.27)),
        pattern="planks",
        ambient=0.50,
        sun=0.52,
        props=(
            Part("box", (12.0, 0.1, 4.0), (0.0, 3.2, 4.0), (0.84, 0.79, 0.68)),
            Part("box", (12.0, 0.12, 0.10), (0.0, 3.15, 0.10), (0.95, 0.94, 0.90)),
            Part("box", (0.75, 0.12, 0.6), (1.5, 3.1, 2.0), (0.62, 0.80, 0.92)),
        ),
    ),
    "night": Setting(
        zenith=(0.05, 0.06, 0.18),
        horizon=(0.16, 0.20, 0.42),
        ground=((0.22, 0.25, 0.36), (0.28, 0.31, 0.44)),
        pattern="patches",
        ambient=0.44,
        sun=0.50,
        props=(
            Part("sphere", (0.8, 0.8, 0.8), (-4.2, 14.0, 6.2), (1.0, 0.98, 0.86), glow=0.9),
            Part("box", (1.1, 0.8, 1.6), (-4.0, 7.0, 1.6), (0.14, 0.15, 0.24)),
            Part("box", (1.2, 0.8, 1.1), (3.9, 7.5, 1.1), (0.13, 0.14, 0.22)),
        ),
    ),
}


def ground_texture(setting: Setting, size: int = 64) -> UInt8[np.ndarray, "n n 3"]:
    """A smooth pattern of the ground's two shades that repeats without a seam."""
    angles = np.arange(size) / size * 2 * np.pi
    x, y = angles[None, :], angles[:, None]
    if setting.pattern == "planks":
        mix = 0.5 + 0.5 * np.tanh(3 * np.sin(6 * y)) + 0.0 * x
    else:
        mix = 0.5 + 0.25 * (np.sin(2 * x + 1.3 * np.sin(y)) + np.sin(3 * y + 1.7 * np.sin(2 * x)))
    low, high = np.array(setting.ground[0]), np.array(setting.ground[1])
    return ((low + mix[..., None] * (high - low)) * 255).round().astype(np.uint8)
