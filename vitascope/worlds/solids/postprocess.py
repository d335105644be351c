"""Post-processing of rendered pictures: rain, snow and picture styles."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from vitascope.worlds.solids.words import Style, Weather

Picture = UInt8[np.ndarray, "h w 3"]
Light = Float[np.ndarray, "h w 3"]  # 0 to 1

PAPER = np.array((0.97, 0.96, 0.92))
LUMA_BT601 = np.array((0.30, 0.59, 0.11))  # luma weights of R, G and B: ITU-R BT.601, rounded to two digits


def postprocess(picture: Picture, weather: Weather, style: Style, seed: int, seconds: float) -> Picture:
    """The picture with rain or snow at a time, in a style. Fog is drawn by the renderer (`stage.py`)."""
    if weather in ("clear", "fog") and style == "plain":
        return picture
    light = picture.astype(np.float64) / 255
    if weather in ("rain", "snowfall"):
        light = _precipitation(light, weather, seed, seconds)
    match style:
        case "noir":
            light = _noir(light)
        case "pastel":
            light = _pastel(light)
        case "sketch":
            light = _sketch(light)
    return (255 * light.clip(0, 1) + 0.5).astype(np.uint8)


def _precipitation(light: Light, weather: Weather, seed: int, seconds: float) -> Light:
    """The picture with falling drops or flakes of random position, speed and size, which re-enter at the top."""
    height, width, _ = light.shape
    draw = np.random.default_rng([seed, 11])
    rain = weather == "rain"
    count = round((110 if rain else 90) * max(1.0, width / height))
    x, y, near = draw.random(count), draw.random(count), draw.uniform(0.4, 1.0, count)
    speed = near * (1.9 if rain else 0.28)
    y = (y + speed * seconds) % 1.1 - 0.05
    x = (x + (0.0 if rain else 0.03 * np.sin(2 * np.pi * (seconds / 1.7 + draw.random(count))))) % 1.0
    length, steps = (0.07, 9) if rain else (0.0, 1)
    along = np.linspace(0, 1, steps)[:, None]
    rows = (y + length * near * along) * height
    columns = np.broadcast_to(x * width - 0.12 * length * near * along * height, rows.shape)
    radius = np.broadcast_to(near * height * (0.0035 if rain else 0.011), rows.shape)
    veil = _splat(rows.ravel(), columns.ravel(), radius.ravel(), height, width)[..., None]
    colour = np.array((0.80, 0.86, 0.95) if rain else (1.0, 1.0, 1.0))
    dimmed = light * (0.86 if rain else 0.95)
    return dimmed + (colour - dimmed) * np.minimum(veil * (0.55 if rain else 0.95), 0.9)


def _splat(
    rows: np.ndarray, columns: np.ndarray, radius: np.ndarray, height: int, width: int
) -> Float[np.ndarray, "h w"]:
    """Round spots with half their brightness at `radius`; spots smaller than a pixel are fainter."""
    reach = max(1, int(np.ceil(2 * radius.max())))
    offsets = np.arange(-reach, reach + 1)
    base_row, base_column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    at_row = base_row[:, None, None] + offsets[None, :, None]
    at_column = base_column[:, None, None] + offsets[None, None, :]
    distance2 = (at_row + 0.5 - rows[:, None, None]) ** 2 + (at_column + 0.5 - columns[:, None, None]) ** 2
    size = np.maximum(radius, 0.45)[:, None, None]
    weight = np.exp2(-distance2 / size**2) * np.minimum(1.0, (radius / 0.45)[:, None, None])
    inside = (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
    spots = np.zeros((height, width))
    at_row, at_column = np.broadcast_arrays(at_row, at_column)
    np.maximum.at(spots, (at_row[inside], at_column[inside]), np.broadcast_to(weight, inside.shape)[inside])
    return spots


def _noir(light: Light) -> Light:
    """Black and white with high contrast and dark corners."""
    height, width, _ = light.shape
    grey = (light @ LUMA_BT601)[..., None]
    contrast = 0.5 + 0.5 * np.tanh(2.6 * (grey - 0.48)) / np.tanh(1.3)
    down, across = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[None, :, None]
    return np.repeat(contrast * (1 - 0.28 * (down**2 + across**2)), 3, axis=-1)


def _pastel(light: Light) -> Light:
    """Lighter and less saturated colours."""
    grey = (light @ LUMA_BT601)[..., None]
    soft = grey + 0.75 * (light - grey)
    return 0.42 * np.array((1.0, 0.97, 0.95)) + 0.60 * soft


def _sketch(light: Light) -> Light:
    """Dark lines along edges on lightly coloured paper."""
    padded = np.pad(light, ((1, 1), (1, 1), (0, 0)), mode="edge")
    down, across = padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]
    edge = np.sqrt((down**2 + across**2).max(axis=-1))
    line = np.clip(1.6 * edge - 0.12, 0, 0.85)[..., None]
    grey = (light @ LUMA_BT601)[..., None]
    wash = PAPER * (0.5 + 0.5 * np.clip(grey + 1.4 * (light - grey), 0, 1))
    return wash * (1 - line) + 0.15 * line
