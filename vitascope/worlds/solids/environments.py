"""Environments of settings: sky, ground, light and props, by day, at sunset and at night."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from vitascope.worlds.solids.cast import RGB, Part
from vitascope.worlds.solids.words import INDOORS, Setting, Time


@dataclass(frozen=True)
class Environment:
    """Appearance of a setting. Colours are in 0..1, lights are factors, props are in metres; y is depth."""

    zenith: RGB
    horizon: RGB
    ground: tuple[RGB, RGB]  # two shades mixed by a smooth pattern
    pattern: Literal["patches", "planks", "paving"]
    ambient: float
    sun: float
    props: tuple[Part, ...] = ()
    sunlight: RGB = (1.0, 1.0, 1.0)  # colour of all light
    haze: float = 60.0  # metres at which everything has the horizon's colour


SKY = 128  # pixels per side of the sky cube
LEAVES: RGB = (0.18, 0.45, 0.18)
PINE: RGB = (0.12, 0.33, 0.22)
TRUNK: RGB = (0.36, 0.24, 0.14)
STONE: RGB = (0.55, 0.54, 0.52)
BRICK: RGB = (0.62, 0.33, 0.25)
PLASTER: RGB = (0.86, 0.78, 0.64)
SLATE: RGB = (0.40, 0.46, 0.55)
PANE: RGB = (0.62, 0.78, 0.90)


def _tree(x: float, y: float, size: float, leaves: RGB = LEAVES) -> tuple[Part, ...]:
    return (
        Part("cylinder", (0.12 * size, 0.12 * size, 0.55 * size), (x, y, 0.55 * size), TRUNK),
        Part("sphere", (0.65 * size, 0.65 * size, 0.65 * size), (x, y, 1.45 * size), leaves),
        Part("sphere", (0.42 * size, 0.42 * size, 0.42 * size), (x + 0.45 * size, y - 0.1, 1.2 * size), leaves),
        Part("sphere", (0.40 * size, 0.40 * size, 0.40 * size), (x - 0.42 * size, y, 1.3 * size), leaves),
    )


def _pine(x: float, y: float, size: float, needles: RGB = PINE) -> tuple[Part, ...]:
    layers = ((0.85, 0.75, 0.95), (0.65, 0.6, 1.55), (0.42, 0.5, 2.1))
    return (
        Part("cylinder", (0.11 * size, 0.11 * size, 0.3 * size), (x, y, 0.3 * size), TRUNK),
        *(Part("cone", (r * size, r * size, h * size), (x, y, z * size), needles) for r, h, z in layers),
    )


def _dune(x: float, y: float, size: float, colour: RGB) -> tuple[Part, ...]:
    return (Part("ellipsoid", (2.2 * size, 1.2 * size, 0.6 * size), (x, y, 0.0), colour),)


def _cactus(x: float, y: float, size: float) -> tuple[Part, ...]:
    green: RGB = (0.24, 0.48, 0.26)
    arms = ((0.28, 0.75, 0.22), (-0.28, 0.95, 0.18))
    return (
        Part("capsule", (0.13 * size, 0.13 * size, 0.7 * size), (x, y, 0.75 * size), green),
        *(
            Part("capsule", (0.08 * size, 0.08 * size, length * size), (x + dx * size, y, (z + 0.1) * size), green)
            for dx, z, length in arms
        ),
        *(
            Part(
                "capsule",
                (0.07 * size, 0.07 * size, 0.1 * size),
                (x + 0.5 * dx * size, y, (z - 0.1) * size),
                green,
                (0.0, 1.57),
            )
            for dx, z, length in arms
        ),
    )


def _palm(x: float, y: float, size: float) -> tuple[Part, ...]:
    fronds = ((0.9, 0.3), (-0.9, 0.2), (0.5, -0.7), (-0.5, -0.6), (0.1, 0.9))
    return (
        Part("cylinder", (0.09 * size, 0.09 * size, 1.1 * size), (x, y, 1.1 * size), (0.5, 0.36, 0.22), (0.0, 0.08)),
        *(
            Part(
                "ellipsoid",
                (0.62 * size, 0.16 * size, 0.06 * size),
                (x + (0.1 + 0.5 * dx) * size, y + 0.4 * dy * size, (2.2 - 0.12 * abs(dx)) * size),
                (0.20, 0.55, 0.25),
                (0.0, 0.45 if dx > 0 else -0.45),
            )
            for dx, dy in fronds
        ),
    )


def _house(x: float, y: float, width: float, height: float, wall: RGB) -> tuple[Part, ...]:
    columns, rows = max(1, round(width / 0.8)), max(1, round(height / 1.0))
    windows = tuple(
        Part("box", (0.17, 0.03, 0.24), (x + (c - 0.5 * (columns - 1)) * 0.8, y - 0.8, 0.75 + r * 1.0), PANE)
        for c in range(columns)
        for r in range(rows)
    )
    return (Part("box", (0.5 * width, 0.8, 0.5 * height + 0.2), (x, y, 0.5 * height + 0.2), wall), *windows)


def _lamp(x: float, y: float) -> tuple[Part, ...]:
    return (
        Part("cylinder", (0.05, 0.05, 1.2), (x, y, 1.2), (0.2, 0.22, 0.24)),
        Part("sphere", (0.16, 0.16, 0.16), (x, y, 2.5), (1.0, 0.93, 0.72), glow=0.8),
    )


BY_DAY: dict[Setting, Environment] = {
    "grass": Environment(
        zenith=(0.25, 0.52, 0.92),
        horizon=(0.78, 0.90, 1.0),
        ground=((0.28, 0.56, 0.20), (0.40, 0.68, 0.26)),
        pattern="patches",
        ambient=0.42,
        sun=0.62,
        props=(
            *_tree(-3.4, 5.0, 1.3),
            *_tree(3.9, 6.0, 1.5),
            *(Part("ellipsoid", (5.0, 2.5, 1.1), (x, 22.0, 0.0), (0.34, 0.60, 0.28)) for x in (-7.0, 5.0)),
        ),
    ),
    "desert": Environment(
        zenith=(0.40, 0.66, 0.92),
        horizon=(0.98, 0.90, 0.74),
        ground=((0.84, 0.66, 0.40), (0.92, 0.76, 0.50)),
        pattern="patches",
        ambient=0.46,
        sun=0.62,
        props=(
            *_dune(-3.2, 6.5, 1.2, (0.86, 0.68, 0.42)),
            *_dune(3.4, 8.0, 1.5, (0.82, 0.64, 0.40)),
            *_cactus(-2.9, 4.2, 1.1),
            *_cactus(4.6, 6.2, 1.4),
        ),
    ),
    "snow": Environment(
        zenith=(0.55, 0.68, 0.84),
        horizon=(0.86, 0.90, 0.95),
        ground=((0.80, 0.86, 0.94), (0.90, 0.93, 0.98)),
        pattern="patches",
        ambient=0.48,
        sun=0.50,
        props=(*_pine(-3.3, 5.5, 1.0), *_pine(3.6, 6.5, 1.25), *_pine(-5.6, 8.0, 1.3)),
    ),
    "beach": Environment(
        zenith=(0.30, 0.64, 0.95),
        horizon=(0.90, 0.95, 0.98),
        ground=((0.90, 0.82, 0.62), (0.95, 0.88, 0.70)),
        pattern="patches",
        ambient=0.46,
        sun=0.60,
        props=(
            Part("box", (60.0, 24.0, 0.02), (0.0, 27.0, 0.0), (0.12, 0.52, 0.72)),
            Part("box", (60.0, 0.12, 0.03), (0.0, 3.05, 0.0), (0.93, 0.97, 1.0)),
            *_palm(-2.5, 2.6, 0.85),
        ),
    ),
    "room": Environment(
        zenith=(0.80, 0.76, 0.68),
        horizon=(0.80, 0.76, 0.68),
        ground=((0.55, 0.36, 0.20), (0.66, 0.45, 0.27)),
        pattern="planks",
        ambient=0.50,
        sun=0.52,
        props=(
            Part("box", (12.0, 0.1, 4.0), (0.0, 3.2, 4.0), (0.84, 0.79, 0.68)),
            Part("box", (12.0, 0.12, 0.10), (0.0, 3.15, 0.10), (0.95, 0.94, 0.90)),
            Part("box", (0.82, 0.11, 0.67), (1.5, 3.1, 2.0), (0.95, 0.94, 0.90)),
            Part("box", (0.75, 0.12, 0.6), (1.5, 3.09, 2.0), PANE),
            Part("box", (0.03, 0.13, 0.6), (1.5, 3.08, 2.0), (0.95, 0.94, 0.90)),
            Part("box", (0.5, 0.05, 0.4), (-1.4, 3.08, 1.8), (0.45, 0.30, 0.18)),
            Part("box", (0.43, 0.06, 0.33), (-1.4, 3.06, 1.8), (0.72, 0.82, 0.70)),
        ),
    ),
    "street": Environment(
        zenith=(0.36, 0.60, 0.92),
        horizon=(0.82, 0.88, 0.94),
        ground=((0.46, 0.47, 0.50), (0.56, 0.56, 0.58)),
        pattern="paving",
        ambient=0.46,
        sun=0.56,
        props=(
            *_house(-3.6, 7.0, 2.6, 3.2, BRICK),
            *_house(-0.7, 7.6, 2.4, 2.2, PLASTER),
            *_house(2.2, 7.2, 2.4, 3.8, SLATE),
            *_house(5.2, 7.8, 2.6, 2.6, BRICK),
            *_lamp(-2.6, 4.2),
            *_lamp(3.4, 4.4),
        ),
    ),
    "forest": Environment(
        zenith=(0.42, 0.62, 0.72),
        horizon=(0.66, 0.80, 0.74),
        ground=((0.28, 0.34, 0.16), (0.38, 0.40, 0.20)),
        pattern="patches",
        ambient=0.42,
        sun=0.54,
        props=tuple(
            part
            for x, y, size in (
                (-2.7, 3.6, 1.2),
                (2.9, 4.0, 1.3),
                (-0.9, 6.5, 1.5),
                (-4.6, 5.6, 1.5),
                (1.3, 7.4, 1.4),
                (4.8, 6.0, 1.6),
                (-2.8, 8.5, 1.7),
                (3.4, 9.0, 1.8),
            )
            for part in _pine(x, y, size)
        ),
        haze=26.0,
    ),
}
CLOUDS = tuple(
    Part("ellipsoid", (a, 0.6, b), (x, 30.0, z), (1.0, 1.0, 1.0), glow=0.25)
    for x, z, a, b in ((-7.5, 7.6, 2.6, 0.55), (-6.4, 8.1, 1.5, 0.6), (5.6, 9.0, 2.2, 0.5), (6.8, 8.7, 1.6, 0.45))
)
MOON = Part("sphere", (0.8, 0.8, 0.8), (-4.2, 14.0, 6.2), (1.0, 0.98, 0.86), glow=0.9)
SUN = Part("sphere", (1.1, 1.1, 1.1), (4.4, 20.0, 3.0), (1.0, 0.80, 0.45), glow=1.0)


def environment_of(place: Setting, time: Time) -> Environment:
    """Environment of a setting at a time of day. Indoors, lamps light the evening and the night."""
    environment = BY_DAY[place]
    indoors = place in INDOORS
    if time == "day":
        return environment if indoors else replace(environment, props=(*environment.props, *CLOUDS))
    if time == "sunset":
        sky = environment if indoors else replace(environment, zenith=(0.38, 0.34, 0.60), horizon=(1.0, 0.66, 0.42))
        props = environment.props if indoors else (*environment.props, SUN)
        return replace(sky, ambient=0.36, sun=0.62, sunlight=(1.0, 0.80, 0.62), props=_panes(props, (1.0, 0.72, 0.42)))
    props = environment.props if indoors else (*environment.props, MOON)
    sky = replace(environment, zenith=(0.04, 0.05, 0.16), horizon=(0.15, 0.19, 0.40))
    light: RGB = (0.98, 0.80, 0.58) if indoors else (0.66, 0.72, 0.98)
    pane: RGB = (0.10, 0.13, 0.28) if indoors else (1.0, 0.86, 0.50)
    return replace(sky, ambient=0.42, sun=0.46, sunlight=light, props=_panes(props, pane, 0.0 if indoors else 0.6))


def _panes(props: tuple[Part, ...], colour: RGB, glow: float = 0.0) -> tuple[Part, ...]:
    """The props with lit or dark windows."""
    return tuple(replace(part, colour=colour, glow=glow) if part.colour == PANE else part for part in props)


def ground_texture(environment: Environment, size: int = 64) -> UInt8[np.ndarray, "n n 3"]:
    """A seamless texture of the ground's two shades."""
    angles = np.arange(size) / size * 2 * np.pi
    x, y = angles[None, :], angles[:, None]
    if environment.pattern == "planks":
        mix = 0.5 + 0.5 * np.tanh(3 * np.sin(6 * y)) + 0.0 * x
    elif environment.pattern == "paving":
        mix = 0.5 + 0.5 * np.tanh(4 * np.sin(4 * x) * np.sin(4 * y))
    else:
        mix = 0.5 + 0.25 * (np.sin(2 * x + 1.3 * np.sin(y)) + np.sin(3 * y + 1.7 * np.sin(2 * x)))
    low, high = np.array(environment.ground[0]), np.array(environment.ground[1])
    return ((low + mix[..., None] * (high - low)) * 255).round().astype(np.uint8)


def sky_texture(environment: Environment) -> UInt8[np.ndarray, "m n 3"]:
    """Six faces of the sky cube stacked as right, left, up, down, front, back: a gradient from horizon to zenith."""
    above = np.clip(1 - 2 * (np.arange(SKY) + 0.5) / SKY, 0, 1)  # tangent of the elevation of each row of a side face
    horizon, zenith = np.array(environment.horizon), np.array(environment.zenith)
    side = horizon + (above**0.7)[:, None, None] * (zenith - horizon) * np.ones((1, SKY, 1))
    up, down = (np.broadcast_to(colour, side.shape) for colour in (zenith, horizon))
    return (np.concatenate([side, side, up, down, side, side]) * 255).round().astype(np.uint8)
