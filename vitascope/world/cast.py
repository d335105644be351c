"""How each character and object is built of primitive solids, in a frame whose origin is its foot point.

x points to the actor's left as it faces the camera (picture right), y away from the camera, z up; the actor is one
unit tall and is scaled to its height. An actor's own colour covers most of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vitascope.world.words import Colour, Kind

Shape = Literal["sphere", "box", "cylinder", "capsule", "ellipsoid", "cone"]
RGB = tuple[float, float, float]

PALETTE: dict[Colour, RGB] = {
    "red": (0.86, 0.12, 0.12),
    "green": (0.13, 0.62, 0.20),
    "blue": (0.13, 0.30, 0.88),
    "yellow": (0.97, 0.83, 0.12),
    "purple": (0.52, 0.18, 0.72),
    "orange": (0.97, 0.50, 0.06),
    "white": (0.95, 0.95, 0.95),
    "pink": (0.98, 0.52, 0.70),
}
DARK: RGB = (0.10, 0.10, 0.12)
LIGHT: RGB = (0.96, 0.96, 0.94)
BEAK: RGB = (0.95, 0.60, 0.10)


@dataclass(frozen=True)
class Part:
    """One solid: its half-sizes, its centre and its tilt about x and y, in units of the actor's height."""

    shape: Shape
    size: tuple[float, float, float]
    at: tuple[float, float, float]
    colour: RGB
    tilt: tuple[float, float] = (0.0, 0.0)
    glow: float = 0.0  # light of its own


def build(kind: Kind, colour: RGB) -> list[Part]:
    """The parts of an actor one unit tall."""
    return BUILDERS[kind](colour)


def body_centre(kind: Kind) -> float:
    """Height about which the actor rolls or tilts: a ball's middle, everyone else's foot."""
    return 0.5 if kind == "ball" else 0.0


def _stripe(colour: RGB) -> RGB:
    """A marking that shows turns: light on a dark actor, darker on a light one."""
    lift, factor = (0.0, 0.55) if float(np.mean(colour)) > 0.6 else (0.35, 0.65)
    red, green, blue = (lift + factor * c for c in colour)
    return red, green, blue


def _ball(colour: RGB) -> list[Part]:
    return [
        Part("sphere", (0.5, 0.5, 0.5), (0.0, 0.0, 0.5), colour),
        Part("ellipsoid", (0.15, 0.512, 0.512), (0.0, 0.0, 0.5), _stripe(colour)),  # shows a spin
        Part("ellipsoid", (0.512, 0.512, 0.15), (0.0, 0.0, 0.5), _stripe(colour)),  # shows a roll
    ]


def _cube(colour: RGB) -> list[Part]:
    return [
        Part("box", (0.45, 0.45, 0.45), (0.0, 0.0, 0.45), colour),
        Part("box", (0.20, 0.455, 0.20), (0.0, 0.0, 0.45), _stripe(colour)),
    ]


def _cylinder(colour: RGB) -> list[Part]:
    return [
        Part("cylinder", (0.36, 0.36, 0.5), (0.0, 0.0, 0.5), colour),
        Part("box", (0.12, 0.03, 0.502), (0.0, -0.34, 0.5), _stripe(colour)),
    ]


def _cone(colour: RGB) -> list[Part]:
    return [
        Part("cone", (0.46, 0.46, 0.5), (0.0, 0.0, 0.5), colour),
        Part("sphere", (0.12, 0.12, 0.12), (0.0, -0.30, 0.28), _stripe(colour)),
    ]


def _robot(colour: RGB) -> list[Part]:
    parts = [
        Part("box", (0.24, 0.17, 0.22), (0.0, 0.0, 0.36), colour),
        Part("box", (0.20, 0.17, 0.15), (0.0, 0.0, 0.75), colour),
        Part("box", (0.15, 0.02, 0.07), (0.0, -0.17, 0.76), DARK),
        Part("cylinder", (0.02, 0.02, 0.06), (0.0, 0.0, 0.94), DARK),
        Part("sphere", (0.045, 0.045, 0.045), (0.0, 0.0, 1.0), LIGHT),
        Part("box", (0.11, 0.02, 0.08), (0.0, -0.165, 0.38), _stripe(colour)),
    ]
    for side in (-1, 1):
        parts += [
            Part("sphere", (0.045, 0.045, 0.045), (0.07 * side, -0.18, 0.77), LIGHT),
            Part("capsule", (0.06, 0.06, 0.13), (0.31 * side, 0.0, 0.40), colour),
            Part("box", (0.085, 0.12, 0.08), (0.13 * side, -0.02, 0.08), DARK),
        ]
    return parts


def _cat(colour: RGB) -> list[Part]:
    parts = [
        Part("ellipsoid", (0.24, 0.26, 0.28), (0.0, 0.06, 0.28), colour),
        Part("sphere", (0.23, 0.23, 0.23), (0.0, -0.06, 0.66), colour),
        Part("ellipsoid", (0.10, 0.06, 0.07), (0.0, -0.26, 0.59), LIGHT),
        Part("sphere", (0.03, 0.03, 0.03), (0.0, -0.32, 0.63), (0.9, 0.4, 0.5)),
        Part("ellipsoid", (0.12, 0.06, 0.15), (0.0, -0.17, 0.30), LIGHT),
        Part("capsule", (0.05, 0.05, 0.20), (0.16, 0.30, 0.34), colour, (0.3, 0.5)),
    ]
    for side in (-1, 1):
        parts += [
            Part("cone", (0.10, 0.07, 0.12), (0.14 * side, -0.05, 0.90), colour, (0.0, 0.25 * side)),
            Part("sphere", (0.045, 0.045, 0.045), (0.09 * side, -0.26, 0.70), DARK),
            Part("ellipsoid", (0.08, 0.12, 0.07), (0.13 * side, -0.15, 0.06), colour),
        ]
    return parts


def _penguin(colour: RGB) -> list[Part]:
    parts = [
        Part("ellipsoid", (0.28, 0.25, 0.40), (0.0, 0.0, 0.42), colour),
        Part("ellipsoid", (0.19, 0.12, 0.29), (0.0, -0.16, 0.38), LIGHT),
        Part("sphere", (0.20, 0.20, 0.20), (0.0, 0.0, 0.82), colour),
        Part("ellipsoid", (0.05, 0.11, 0.04), (0.0, -0.23, 0.80), BEAK),
    ]
    for side in (-1, 1):
        parts += [
            Part("sphere", (0.045, 0.045, 0.045), (0.08 * side, -0.17, 0.88), LIGHT),
            Part("sphere", (0.025, 0.025, 0.025), (0.08 * side, -0.21, 0.88), DARK),
            Part("ellipsoid", (0.05, 0.12, 0.24), (0.29 * side, 0.0, 0.45), colour, (0.0, -0.3 * side)),
            Part("ellipsoid", (0.10, 0.15, 0.04), (0.12 * side, -0.08, 0.04), BEAK),
        ]
    return parts


def _snowman(colour: RGB) -> list[Part]:
    parts = [
        Part("sphere", (0.30, 0.30, 0.30), (0.0, 0.0, 0.27), colour),
        Part("sphere", (0.22, 0.22, 0.22), (0.0, 0.0, 0.65), colour),
        Part("cone", (0.045, 0.045, 0.10), (0.0, -0.28, 0.66), BEAK, (np.pi / 2, 0.0)),
        Part("cylinder", (0.20, 0.20, 0.02), (0.0, 0.0, 0.83), DARK),
        Part("cylinder", (0.13, 0.13, 0.09), (0.0, 0.0, 0.92), DARK),
    ]
    for side in (-1, 1):
        parts += [
            Part("sphere", (0.035, 0.035, 0.035), (0.08 * side, -0.20, 0.71), DARK),
            Part("capsule", (0.025, 0.025, 0.14), (0.36 * side, 0.0, 0.50), (0.35, 0.22, 0.12), (0.0, 1.0 * side)),
        ]
    return [*parts, *(Part("sphere", (0.035, 0.035, 0.035), (0.0, -0.29, z), DARK) for z in (0.22, 0.36))]


BUILDERS: dict[Kind, Callable[[RGB], list[Part]]] = {
    "ball": _ball,
    "cube": _cube,
    "cylinder": _cylinder,
    "cone": _cone,
    "robot": _robot,
    "cat": _cat,
    "penguin": _penguin,
    "snowman": _snowman,
}
