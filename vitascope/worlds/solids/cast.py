"""Actors built of primitive solids, in a coordinate frame whose origin is the actor's foot point.

x points right in the picture when the actor faces the camera, y away from the camera, z up. Actors are one unit tall
and scaled to their height. Their own colour covers most of them. `accessories.py` adds expressions and accessories
at the positions that a `Face` gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from vitascope.worlds.solids.words import Colour, Kind, Material

Shape = Literal["sphere", "box", "cylinder", "capsule", "ellipsoid", "cone"]
Limb = Literal["left_leg", "right_leg", "left_arm", "right_arm"]
RGB = tuple[float, float, float]
Triple = tuple[float, float, float]

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
TWIG: RGB = (0.35, 0.22, 0.12)
NOSE: RGB = (0.9, 0.4, 0.5)


class Finish(NamedTuple):
    """Reflection of a surface: strength and sharpness of its highlight, opacity, and wood grain or not."""

    specular: float = 0.15
    shininess: float = 0.3
    opacity: float = 1.0
    grain: bool = False


PLASTIC = Finish()


class MaterialProperties(NamedTuple):
    """Appearance and mechanics of a material.

    Restitution is the ratio of speeds after and before a bounce; density is in kg per litre.
    """

    finish: Finish
    tint: float  # multiplies the colour
    restitution: float
    friction: float
    density: float


MATERIALS: dict[Material, MaterialProperties] = {
    "plastic": MaterialProperties(PLASTIC, 1.0, 0.6, 0.5, 1.0),
    "rubber": MaterialProperties(Finish(0.0, 0.0), 0.88, 0.82, 0.9, 1.1),
    "wood": MaterialProperties(Finish(0.03, 0.1, grain=True), 1.0, 0.45, 0.6, 0.7),
    "metal": MaterialProperties(Finish(1.0, 0.75), 0.8, 0.35, 0.4, 7.8),
    "glass": MaterialProperties(Finish(0.9, 0.9, opacity=0.5), 1.0, 0.65, 0.35, 2.5),
}


@dataclass(frozen=True)
class Part:
    """One solid: half-sizes and centre in units of the actor's height, and tilt about x and y in radians.

    The third half-size of a cylinder, capsule or cone is along its axis. The parts of a limb turn about its joint.
    """

    shape: Shape
    size: Triple
    at: Triple
    colour: RGB
    tilt: tuple[float, float] = (0.0, 0.0)
    glow: float = 0.0  # emission
    limb: Limb | None = None


@dataclass(frozen=True)
class Face:
    """Positions of a character's face and accessories in units of its height; `ink` colours brows and mouth."""

    eyes: Triple  # centre of the left eye; the right one is its mirror image
    eye: float  # radius of an eye
    mouth: tuple[float, float]  # (y, z) of its centre
    mouth_width: float  # half the width of the mouth
    crown: tuple[float, float, float]  # y and z of the top of the head, and the radius there
    neck: tuple[float, float, float]  # y and z of the neck, and its radius
    ink: RGB = DARK
    eye_colour: RGB = DARK


class Build(NamedTuple):
    """Geometry of a kind of actor: its parts for a colour and, for characters, face and joints."""

    parts: Callable[[RGB], list[Part]]
    face: Face | None = None
    joints: dict[Limb, Triple] | None = None


def joints_of(arms: tuple[float, float], legs: tuple[float, float]) -> dict[Limb, Triple]:
    """Joints of four limbs from (x, z) of the left shoulder and the left hip; the right side is the mirror image."""
    (arm_x, arm_z), (leg_x, leg_z) = arms, legs
    return {
        "left_arm": (arm_x, 0.0, arm_z),
        "right_arm": (-arm_x, 0.0, arm_z),
        "left_leg": (leg_x, 0.0, leg_z),
        "right_leg": (-leg_x, 0.0, leg_z),
    }


def _limb(side: int, what: Literal["arm", "leg"]) -> Limb:
    if what == "arm":
        return "left_arm" if side > 0 else "right_arm"
    return "left_leg" if side > 0 else "right_leg"


def _stripe(colour: RGB) -> RGB:
    """Colour of the markings that make rotation visible: light on dark actors, darker on light ones."""
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
        Part("box", (0.5, 0.5, 0.5), (0.0, 0.0, 0.5), colour),
        Part("box", (0.22, 0.505, 0.22), (0.0, 0.0, 0.5), _stripe(colour)),
        Part("box", (0.505, 0.22, 0.22), (0.0, 0.0, 0.5), _stripe(colour)),
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


def _domino(colour: RGB) -> list[Part]:
    dots = [Part("box", (0.15, 0.03, 0.03), (0.0, 0.0, z), _stripe(colour)) for z in (0.25, 0.75)]
    return [Part("box", (0.07, 0.28, 0.5), (0.0, 0.0, 0.5), colour), *dots]


def _wall(colour: RGB) -> list[Part]:
    rows = [Part("box", (0.502, 0.066, 0.008), (0.0, 0.0, z), _stripe(colour)) for z in (0.25, 0.5, 0.75)]
    return [Part("box", (0.5, 0.06, 0.5), (0.0, 0.0, 0.5), colour), *rows]


def _robot(colour: RGB) -> list[Part]:
    parts = [
        Part("box", (0.23, 0.16, 0.20), (0.0, 0.0, 0.38), colour),
        Part("cylinder", (0.07, 0.07, 0.05), (0.0, 0.0, 0.60), DARK),
        Part("box", (0.21, 0.17, 0.15), (0.0, 0.0, 0.77), colour),
        Part("box", (0.17, 0.02, 0.11), (0.0, -0.165, 0.77), DARK),
        Part("cylinder", (0.015, 0.015, 0.04), (0.0, 0.0, 0.95), DARK),
        Part("sphere", (0.035, 0.035, 0.035), (0.0, 0.0, 1.0), BEAK, glow=0.4),
        Part("box", (0.12, 0.02, 0.08), (0.0, -0.155, 0.40), _stripe(colour)),
    ]
    for side in (-1, 1):
        parts += [
            Part("capsule", (0.055, 0.055, 0.13), (0.30 * side, 0.0, 0.40), colour, limb=_limb(side, "arm")),
            Part("sphere", (0.07, 0.07, 0.07), (0.30 * side, 0.0, 0.23), DARK, limb=_limb(side, "arm")),
            Part("box", (0.07, 0.08, 0.08), (0.12 * side, 0.0, 0.13), colour, limb=_limb(side, "leg")),
            Part("box", (0.085, 0.13, 0.045), (0.12 * side, -0.03, 0.045), DARK, limb=_limb(side, "leg")),
            Part("cylinder", (0.04, 0.04, 0.02), (0.22 * side, 0.0, 0.77), DARK, (0.0, np.pi / 2)),
        ]
    return parts


def _cat(colour: RGB) -> list[Part]:
    parts = [
        Part("ellipsoid", (0.22, 0.22, 0.26), (0.0, 0.04, 0.32), colour),
        Part("ellipsoid", (0.25, 0.22, 0.22), (0.0, -0.04, 0.69), colour),
        Part("ellipsoid", (0.11, 0.06, 0.075), (0.0, -0.23, 0.625), LIGHT),
        Part("sphere", (0.028, 0.028, 0.028), (0.0, -0.28, 0.66), NOSE),
        Part("ellipsoid", (0.13, 0.06, 0.16), (0.0, -0.15, 0.33), LIGHT),
        Part("capsule", (0.045, 0.045, 0.16), (0.14, 0.26, 0.40), colour, (0.4, 0.5)),
    ]
    for side in (-1, 1):
        parts += [
            Part("cone", (0.09, 0.06, 0.11), (0.15 * side, -0.03, 0.92), colour, (0.0, 0.22 * side)),
            Part("cone", (0.05, 0.05, 0.07), (0.15 * side, -0.055, 0.905), NOSE, (0.0, 0.22 * side)),
            Part("capsule", (0.055, 0.055, 0.08), (0.19 * side, -0.06, 0.40), colour, limb=_limb(side, "arm")),
            Part("sphere", (0.06, 0.06, 0.06), (0.19 * side, -0.07, 0.31), LIGHT, limb=_limb(side, "arm")),
            Part("ellipsoid", (0.08, 0.13, 0.08), (0.12 * side, -0.05, 0.075), colour, limb=_limb(side, "leg")),
        ]
    return parts


def _penguin(colour: RGB) -> list[Part]:
    parts = [
        Part("ellipsoid", (0.28, 0.25, 0.40), (0.0, 0.0, 0.42), colour),
        Part("ellipsoid", (0.20, 0.12, 0.30), (0.0, -0.155, 0.38), LIGHT),
        Part("sphere", (0.20, 0.20, 0.20), (0.0, 0.0, 0.80), colour),
        Part("ellipsoid", (0.15, 0.06, 0.13), (0.0, -0.155, 0.80), LIGHT),
        Part("cone", (0.055, 0.045, 0.07), (0.0, -0.26, 0.78), BEAK, (np.pi / 2, 0.0)),
    ]
    for side in (-1, 1):
        parts += [
            Part(
                "ellipsoid",
                (0.05, 0.12, 0.22),
                (0.29 * side, 0.0, 0.45),
                colour,
                (0.0, -0.25 * side),
                limb=_limb(side, "arm"),
            ),
            Part("ellipsoid", (0.10, 0.15, 0.04), (0.12 * side, -0.08, 0.04), BEAK, limb=_limb(side, "leg")),
        ]
    return parts


def _snowman(colour: RGB) -> list[Part]:
    parts = [
        Part("sphere", (0.30, 0.30, 0.30), (0.0, 0.0, 0.27), colour),
        Part("sphere", (0.23, 0.23, 0.23), (0.0, 0.0, 0.68), colour),
        Part("cone", (0.04, 0.04, 0.09), (0.0, -0.31, 0.69), BEAK, (np.pi / 2, 0.0)),
    ]
    for side in (-1, 1):
        parts += [
            Part(
                "capsule",
                (0.022, 0.022, 0.12),
                (0.36 * side, 0.0, 0.48),
                TWIG,
                (0.0, 1.0 * side),
                limb=_limb(side, "arm"),
            ),
        ]
    return [*parts, *(Part("sphere", (0.03, 0.03, 0.03), (0.0, -0.295, z), DARK) for z in (0.21, 0.34))]


def _bear(colour: RGB) -> list[Part]:
    light = _stripe(colour)
    parts = [
        Part("ellipsoid", (0.27, 0.23, 0.27), (0.0, 0.02, 0.36), colour),
        Part("ellipsoid", (0.17, 0.06, 0.17), (0.0, -0.19, 0.36), light),
        Part("sphere", (0.23, 0.23, 0.23), (0.0, -0.02, 0.75), colour),
        Part("ellipsoid", (0.11, 0.08, 0.085), (0.0, -0.21, 0.69), light),
        Part("ellipsoid", (0.04, 0.03, 0.03), (0.0, -0.285, 0.73), DARK),
    ]
    for side in (-1, 1):
        parts += [
            Part("sphere", (0.085, 0.085, 0.085), (0.18 * side, 0.0, 0.92), colour),
            Part("ellipsoid", (0.05, 0.03, 0.05), (0.18 * side, -0.075, 0.925), light),
            Part("capsule", (0.08, 0.08, 0.09), (0.28 * side, -0.02, 0.42), colour, limb=_limb(side, "arm")),
            Part("capsule", (0.09, 0.09, 0.05), (0.14 * side, 0.0, 0.13), colour, limb=_limb(side, "leg")),
            Part("ellipsoid", (0.09, 0.12, 0.05), (0.14 * side, -0.06, 0.05), light, limb=_limb(side, "leg")),
        ]
    return parts


def _rabbit(colour: RGB) -> list[Part]:
    parts = [
        Part("ellipsoid", (0.20, 0.19, 0.22), (0.0, 0.02, 0.30), colour),
        Part("ellipsoid", (0.12, 0.05, 0.13), (0.0, -0.15, 0.30), LIGHT),
        Part("ellipsoid", (0.18, 0.17, 0.165), (0.0, -0.03, 0.60), colour),
        Part("ellipsoid", (0.075, 0.05, 0.055), (0.0, -0.18, 0.56), LIGHT),
        Part("sphere", (0.024, 0.024, 0.024), (0.0, -0.225, 0.585), NOSE),
        Part("sphere", (0.08, 0.08, 0.08), (0.0, 0.22, 0.20), LIGHT),
    ]
    for side in (-1, 1):
        tilt = (0.0, 0.15 * side)
        parts += [
            Part("ellipsoid", (0.055, 0.035, 0.17), (0.09 * side, 0.0, 0.85), colour, tilt),
            Part("ellipsoid", (0.028, 0.02, 0.12), (0.09 * side, -0.027, 0.85), NOSE, tilt),
            Part("capsule", (0.045, 0.045, 0.07), (0.17 * side, -0.05, 0.35), colour, limb=_limb(side, "arm")),
            Part("ellipsoid", (0.07, 0.15, 0.055), (0.11 * side, -0.05, 0.055), colour, limb=_limb(side, "leg")),
        ]
    return parts


BUILDS: dict[Kind, Build] = {
    "ball": Build(_ball),
    "cube": Build(_cube),
    "cylinder": Build(_cylinder),
    "cone": Build(_cone),
    "domino": Build(_domino),
    "wall": Build(_wall),
    "robot": Build(
        _robot,
        Face((0.075, -0.19, 0.80), 0.035, (-0.19, 0.715), 0.065, (0.0, 0.92, 0.17), (0.0, 0.60, 0.16), LIGHT, LIGHT),
        joints_of((0.30, 0.55), (0.12, 0.21)),
    ),
    "cat": Build(
        _cat,
        Face((0.10, -0.235, 0.735), 0.042, (-0.295, 0.595), 0.055, (-0.03, 0.89, 0.13), (-0.02, 0.52, 0.19)),
        joints_of((0.17, 0.47), (0.12, 0.14)),
    ),
    "penguin": Build(
        _penguin,
        Face((0.075, -0.205, 0.85), 0.03, (-0.225, 0.705), 0.05, (0.0, 0.98, 0.14), (0.0, 0.65, 0.23)),
        joints_of((0.27, 0.62), (0.12, 0.08)),
    ),
    "snowman": Build(
        _snowman,
        Face((0.085, -0.205, 0.765), 0.033, (-0.22, 0.60), 0.08, (0.0, 0.89, 0.15), (0.0, 0.50, 0.22)),
        joints_of((0.25, 0.42), (0.0, 0.0)),
    ),
    "bear": Build(
        _bear,
        Face((0.085, -0.225, 0.81), 0.033, (-0.275, 0.645), 0.06, (-0.02, 0.96, 0.14), (0.0, 0.56, 0.21)),
        joints_of((0.26, 0.52), (0.14, 0.18)),
    ),
    "rabbit": Build(
        _rabbit,
        Face((0.085, -0.18, 0.645), 0.032, (-0.215, 0.525), 0.04, (-0.03, 0.755, 0.10), (0.0, 0.46, 0.15)),
        joints_of((0.16, 0.41), (0.11, 0.09)),
    ),
}
