"""Painted backdrops of emoji scenes. Each has several palettes, and a seed determines its arrangement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from vitascope.worlds.emoji.painting import (
    EYE_HEIGHT,
    RGB,
    WHITE,
    Canvas,
    boards,
    clouds,
    ground,
    narrow,
    palette,
    sky,
    smooth,
    stars,
)
from vitascope.worlds.emoji.scene import Backdrop


@dataclass(frozen=True)
class Light:
    """Light of a backdrop: a factor for the actors' colours, and the strength of their shadows."""

    tint: RGB = (1.0, 1.0, 1.0)
    shadow: float = 0.42


@dataclass(frozen=True)
class PaintedBackdrop:
    """Pixels of a backdrop, and its light."""

    pixels: UInt8[np.ndarray, "h w 3"]
    light: Light


LIGHTS: dict[Backdrop, Light] = {
    "sunset": Light((1.0, 0.92, 0.84), 0.45),
    "night": Light((0.80, 0.86, 1.0), 0.5),
    "stage": Light((1.0, 0.98, 0.94), 0.5),
    "sea_floor": Light((0.84, 0.96, 1.0), 0.3),
    "clouds": Light(shadow=0.22),
    "snow": Light((0.98, 0.99, 1.0), 0.32),
}


def paint(place: Backdrop, seed: int, x: Float[np.ndarray, " w"], y: Float[np.ndarray, " h"]) -> PaintedBackdrop:
    """A backdrop sampled at evenly spaced, rising coordinates x and y."""
    canvas = Canvas(x, y, np.random.default_rng([seed, 11]))
    PAINTERS[place](canvas)
    pixels = (canvas.colours.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return PaintedBackdrop(pixels, LIGHTS.get(place, Light()))


def _meadow(canvas: Canvas) -> None:
    top, low, far, hill, back, front = palette(
        canvas,
        "3f8fe0 cdeafa 7fb68a 5fa35c 8fc25a 4f9a3a",
        "59b0f0 e6f5e8 9cc4a0 78b070 a8d06a 63ab45",
        "6aa5d8 fbe9cf a5b98a 86a765 b3c465 6f9a3c",
    )
    sky(canvas, top, low)
    clouds(canvas, WHITE, 4)
    canvas.lay(far, canvas.below(canvas.ridge(0.15, 0.5)))
    canvas.lay(hill, canvas.below(canvas.ridge(0.07, 0.8)))
    ground(canvas, back, front, 0.09)
    petals = palette(canvas, "ffffff", "ffe27a", "f7b5d0")[0]
    for _ in range(40):
        y = EYE_HEIGHT / canvas.draw.uniform(0.55, 5.0)
        canvas.lay(petals, 0.8 * canvas.disc(canvas.draw.uniform(-1.5, 1.5), y, 0.045 * y, 0.03 * y, soft=0.5))


def _beach(canvas: Canvas) -> None:
    top, low, deep, shallow, wet, sand = palette(
        canvas,
        "3fa0ea d9f1fb 1f7fb8 63c7cf d9bf8d efdcae",
        "6fb7e8 fdf0dd 2a8fa8 86d6c6 d8b583 f0d6a4",
        "4d8fd6 e8e9fb 2b6fb0 6bb4d8 cfb891 e8d9b8",
    )
    sky(canvas, top, low)
    clouds(canvas, WHITE, 3)
    ground(canvas, wet, sand, 0.05)
    shore = 0.115 + 0.008 * np.sin(5 * canvas.x + canvas.draw.uniform(0, 6))
    sea = canvas.gradient(deep, shallow, 0.0, 0.12) + 0 * canvas.colours
    streaks = canvas.noise(6.0, 60.0) * np.clip(canvas.y / 0.03, 0, 1)
    water = canvas.below(0.0) * (1 - canvas.below(shore))
    canvas.lay(sea * (1 + 0.07 * streaks[..., None]), water)
    canvas.lay(WHITE, 0.75 * np.exp(-(((canvas.y - shore) / 0.008) ** 2)))


def _desert(canvas: Canvas) -> None:
    top, low, far, dune, back, front = palette(
        canvas,
        "4aa3e0 fbe8c8 d9a066 e0ae70 e8bd7e d29a56",
        "7ab8e0 ffe6d0 c98a62 d89a6c e6b183 c98856",
        "e0a878 ffe9c0 b9745a c9855c dfa06a c07c48",
    )
    sky(canvas, top, low)
    canvas.lay((1.0, 0.97, 0.85), 0.9 * canvas.disc(canvas.draw.uniform(-0.5, 0.5), -0.42, 0.075, soft=0.3))
    canvas.lay(far, canvas.below(canvas.ridge(0.12, 0.2)))
    canvas.lay(dune, canvas.below(canvas.ridge(0.05, 0.4)))
    ground(canvas, back, front, 0.03)
    ripples = np.sin(16 * np.log(np.maximum(canvas.y, 1e-3) + 0.03) + 1.2 * np.sin(3 * canvas.x))
    canvas.lay((1.0, 0.93, 0.78), 0.09 * (0.5 + 0.5 * ripples) * canvas.below(0.03))


def _snow(canvas: Canvas) -> None:
    top, low, far, back, front, tree = palette(
        canvas,
        "8fb6dc e6eff8 c3d3e6 dfe8f3 f4f8fd 3f6b62",
        "a9a6d8 fbe6e8 cdc6e0 e6e2f0 f8f5fb 4a5f7d",
        "6f9fd0 d3e6f6 aac4e0 d3e3f3 eef6fd 2f6470",
    )
    sky(canvas, top, low)
    canvas.lay(far, canvas.below(canvas.ridge(0.2, 1.0)))
    for _ in range(9):
        x, size = canvas.draw.uniform(-1.2, 1.2), canvas.draw.uniform(0.12, 0.24)
        foot = 0.02
        for tier in range(3):
            tip, base = foot - size * (0.45 + 0.275 * tier), foot - size * 0.25 * tier
            half = size * (0.26 - 0.06 * tier) * (canvas.y - tip) / (base - tip)
            inside = np.clip((half - np.abs(canvas.x - x)) / canvas.pixel + 0.5, 0, 1)
            canvas.lay(tree, inside * canvas.below(tip) * (1 - canvas.below(base)))
    ground(canvas, back, front, 0.025)


def _sunset(canvas: Canvas) -> None:
    top, low, sun, far, back, front = palette(
        canvas,
        "4a4e9c ffb070 ffe9a8 7a4f80 8a5a60 5c3b48",
        "7a4a9c ff9a8a ffd9a0 6a3f78 80506e 503350",
        "3f6fa8 ffc98a fff0b0 6f6a80 93785a 665238",
    )
    sky(canvas, top, low)
    x = canvas.draw.uniform(-0.45, 0.45)
    canvas.lay(sun, 0.55 * np.exp(-(((canvas.x - x) / 0.3) ** 2 + ((canvas.y + 0.09) / 0.22) ** 2)))
    canvas.lay(sun, canvas.disc(x, -0.09, 0.12))
    clouds(canvas, (1.0, 0.78, 0.66), 3, 0.5)
    canvas.lay(far, canvas.below(canvas.ridge(0.07, 0.7)))
    ground(canvas, back, front, 0.07)


def _night(canvas: Canvas) -> None:
    top, low, far, back, front = palette(
        canvas,
        "0b1236 3a4a86 1d2a52 2f4a5c 22384c",
        "150f38 54448a 2a2352 3d3a66 2b2a50",
        "081c30 2f6a86 12304a 24505a 1a3c48",
    )
    sky(canvas, top, low)
    stars(canvas, 45)
    x, y = canvas.draw.uniform(-0.4, 0.4), canvas.draw.uniform(-0.5, -0.36)
    canvas.lay((0.75, 0.8, 1.0), 0.3 * canvas.disc(x, y, 0.2, soft=1.0))
    canvas.lay((1.0, 0.97, 0.86), canvas.disc(x, y, 0.075))
    if canvas.draw.random() < 0.5:  # a crescent
        canvas.lay(
            canvas.gradient(top, low, -0.75, 0.02) + 0 * canvas.colours, canvas.disc(x + 0.035, y - 0.015, 0.066)
        )
    canvas.lay(far, canvas.below(canvas.ridge(0.1, 0.8)))
    ground(canvas, back, front, 0.07)


def _room(canvas: Canvas) -> None:
    wall, pattern, board, floor, dark, frame = palette(
        canvas,
        "f2dfc4 ecd3b2 fffaf0 c99a68 a2744a 9c7350",
        "cfe3e0 c0d8d4 ffffff d3ab7e ac8258 f4f4f0",
        "f3d3d6 ecc4c9 fff6f4 b98e70 94694e b07a68",
        "d6d9ee c8cce6 ffffff a88468 866449 8a7ab0",
    )
    canvas.colours[:] = np.asarray(wall, np.float32)
    if canvas.draw.random() < 0.5:
        canvas.lay(pattern, smooth(0.5 + 3 * np.sin(2 * np.pi * 6 * canvas.x)) + 0 * canvas.y)
    else:
        across, down = (canvas.x * 7) % 1 - 0.5, (canvas.y * 7) % 1 - 0.5
        canvas.lay(pattern, smooth((0.2 - np.hypot(across, down)) * 12))
    x, y = canvas.draw.choice([-1, 1]) * canvas.draw.uniform(0.2, 0.42), canvas.draw.uniform(-0.4, -0.36)
    canvas.lay(frame, canvas.box(x - 0.17, y - 0.15, x + 0.17, y + 0.15))
    outside = canvas.gradient((0.55, 0.78, 0.95), (0.88, 0.95, 1.0), y - 0.14, y + 0.14) + 0 * canvas.colours
    canvas.lay(outside, canvas.box(x - 0.15, y - 0.13, x + 0.15, y + 0.13))
    canvas.lay((0.5, 0.72, 0.45), canvas.box(x - 0.15, y + 0.06, x + 0.15, y + 0.13))
    canvas.lay(frame, canvas.box(x - 0.008, y - 0.13, x + 0.008, y + 0.13))
    boards(canvas, floor, dark)
    canvas.lay(board, canvas.below(-0.045) * (1 - canvas.below(0.0)))
    canvas.lay((0.25, 0.18, 0.12), 0.25 * np.exp(-np.maximum(canvas.y, 0) / 0.03) * canvas.below(0.0))


def _stage(canvas: Canvas) -> None:
    curtain, fold, floor, dark = palette(
        canvas, "a0202c 5c0f18 b07c50 6b4526", "26408f 121f52 a88058 62452c", "6a2a86 36134a b58a62 6e4c30"
    )
    canvas.colours[:] = np.asarray(curtain, np.float32)
    folds = 0.5 + 0.5 * np.sin(26 * canvas.x + 1.5 * np.sin(7 * canvas.x + canvas.draw.uniform(0, 6)))
    canvas.lay(fold, 0.85 * folds**1.5 + 0 * canvas.y)
    canvas.lay((0.0, 0.0, 0.0), 0.45 * smooth(-(canvas.y + 0.35) / 0.5) + 0 * canvas.x)
    boards(canvas, floor, dark)
    canvas.lay((0.05, 0.02, 0.02), 0.3 * canvas.below(0.0))
    canvas.lay((0.05, 0.02, 0.02), 0.5 * np.exp(-np.maximum(canvas.y, 0) / 0.03) * canvas.below(0.0))
    canvas.lay((1.0, 0.93, 0.78), 0.42 * canvas.disc(0.0, EYE_HEIGHT, 0.62, 0.16, soft=0.5))
    canvas.lay((1.0, 0.95, 0.85), 0.16 * canvas.disc(0.0, -0.1, 0.5, 0.5, soft=0.9))


def _sea_floor(canvas: Canvas) -> None:
    top, low, back, front, weed = palette(
        canvas,
        "7fdcf0 1f6fae 6fa8b4 b8c9a8 1f7a5c",
        "8fe6dc 127a8c 5aa39c a3c4a0 2f7f4a",
        "86c4f6 2a4f9c 6f8fc0 b3b4c4 3a5f9c",
    )
    canvas.colours[:] = canvas.gradient(top, low, -0.85, -0.02)
    for _ in range(5):  # rays of light
        x, slant, width = (
            canvas.draw.uniform(-1.1, 1.1),
            canvas.draw.uniform(-0.3, 0.3),
            canvas.draw.uniform(0.05, 0.12),
        )
        spread = width * (1.6 + canvas.y)
        ray = np.exp(-(((canvas.x - x - slant * (canvas.y + 0.7)) / spread) ** 2))
        canvas.lay((0.9, 1.0, 1.0), 0.22 * ray * smooth((0.05 - canvas.y) / 0.8))
    canvas.lay(0.5 * (np.array(low) + np.array(back)), canvas.below(canvas.ridge(0.09, 0.9)))
    for _ in range(9):
        x, length, sway = canvas.draw.uniform(-1.2, 1.2), canvas.draw.uniform(0.12, 0.3), canvas.draw.uniform(0, 6)
        middle = x + 0.02 * np.sin(canvas.y / 0.05 + sway)
        blade = np.clip((0.014 * (canvas.y + length) / length - np.abs(canvas.x - middle)) / canvas.pixel + 0.5, 0, 1)
        canvas.lay(weed, 0.8 * blade * canvas.below(-length) * (1 - canvas.below(0.012)))
    ground(canvas, back, front, 0.07)
    for _ in range(8):
        x, y, size = canvas.draw.uniform(-0.8, 0.8), canvas.draw.uniform(-0.55, 0.0), canvas.draw.uniform(0.01, 0.022)
        canvas.lay((0.92, 1.0, 1.0), 0.4 * (canvas.disc(x, y, size) - 0.7 * canvas.disc(x, y, 0.7 * size)))


def _above_clouds(canvas: Canvas) -> None:
    top, low, shade, white = palette(
        canvas, "3f93ea cfeafc 9fc0e4 ffffff", "8fa0ea fde3ee bfaede fff8fb", "f0a87a fff0cf e0a69c fffaf2"
    )
    sky(canvas, top, low)
    clouds(canvas, white, 3, 0.7)
    canvas.lay(0.5 * (np.array(shade) + np.array(white)), canvas.below(-0.01))
    for row in range(8):  # banks of cloud that grow towards the camera
        depth = 4.5 * 0.73**row
        y, size = EYE_HEIGHT / depth, 0.2 / depth
        bank = np.zeros_like(canvas.colours[..., 0])
        for x in np.arange(-2.0, 2.0, 1.15 * size) + canvas.draw.uniform(0, size):
            radius, middle = size * canvas.draw.uniform(0.65, 1.1), y + 0.15 * size * canvas.draw.uniform(-1, 1)
            near = np.abs(canvas.x[0] - x) < 1.3 * radius
            if near.any():
                part = narrow(canvas, near).disc(x, middle, radius, 0.55 * radius, soft=0.35)
                bank[:, near] = np.maximum(bank[:, near], part)
        canvas.lay(canvas.gradient(white, shade, y - 0.5 * size, y + 0.35 * size) + 0 * canvas.colours, bank)


def _moon(canvas: Canvas) -> None:
    space, glow, far, back, front = palette(
        canvas,
        "05060f 10142a 6e7079 8f9199 b3b4ba",
        "0a0614 1d1230 756a70 9a8f94 bcb0b2",
        "030a12 0c2230 64727a 87969c acb8bc",
    )
    sky(canvas, space, glow)
    stars(canvas, 60)
    x, y = canvas.draw.uniform(-0.4, 0.4), canvas.draw.uniform(-0.5, -0.38)
    canvas.lay((0.16, 0.42, 0.82), canvas.disc(x, y, 0.1))
    land = smooth(2.5 * canvas.noise(14.0, 14.0)) * canvas.disc(x, y, 0.098)
    canvas.lay((0.3, 0.62, 0.36), land)
    canvas.lay((0.0, 0.0, 0.05), 0.6 * canvas.disc(x, y, 0.1) * smooth((canvas.x - x) / 0.09))
    canvas.lay(far, canvas.below(canvas.ridge(0.045, 1.2)))
    ground(canvas, back, front, 0.08)
    for _ in range(14):
        y = EYE_HEIGHT / canvas.draw.uniform(0.6, 4.0)
        x, size = canvas.draw.uniform(-1.2, 1.2), y * canvas.draw.uniform(0.15, 0.4)
        canvas.lay(front, 0.8 * canvas.disc(x, y + 0.05 * size, size, 0.3 * size, soft=0.25))
        canvas.lay(far, 0.65 * canvas.disc(x, y, 0.86 * size, 0.24 * size, soft=0.3))


def _city(canvas: Canvas) -> None:
    top, low, far, near, window, pavement, front = palette(
        canvas,
        "6fb0e8 e3f1f8 a9bccb 7f93a8 d8ecf5 a7a9ab 8b8d90",
        "8f8fd0 fbd9cf b3a0bf 86709a ffe3a8 9a949c 7d7880",
        "f0b488 fff0d0 d0aa98 a87c78 fff2c4 b0a498 928678",
    )
    sky(canvas, top, low)
    for colour, tall, width in ((far, 0.5, 0.17), (near, 0.33, 0.22)):
        left = -2.0
        while left < 2.0:
            right, height = left + width * canvas.draw.uniform(0.7, 1.2), tall * canvas.draw.uniform(0.45, 1.0)
            house = canvas.box(left, -height, right, 0.01)
            canvas.lay(colour, house)
            across, down = ((canvas.x - left) / 0.045) % 1, ((canvas.y + height) / 0.06) % 1
            panes = smooth((0.3 - np.abs(across - 0.5)) * 12) * smooth((0.3 - np.abs(down - 0.5)) * 12)
            inside = canvas.box(left + 0.015, -height + 0.02, right - 0.015, -0.03)
            canvas.lay(window, 0.45 * panes * inside)
            left = right + canvas.draw.uniform(0.0, 0.04)
    ground(canvas, pavement, front, 0.03)
    across = np.abs((canvas.x * canvas.depth() / EYE_HEIGHT * 0.5) % 1 - 0.5)
    blur = canvas.pixel * canvas.depth() / EYE_HEIGHT
    seam = np.clip(1.2 - (0.5 - across) / np.maximum(0.02, blur), 0, 1) * smooth(1.2 - 4 * blur)
    canvas.lay(front, 0.35 * seam * canvas.below(0.02))
    canvas.lay((0.3, 0.3, 0.33), 0.4 * np.exp(-np.maximum(canvas.y, 0) / 0.015) * canvas.below(0.0))


PAINTERS: dict[Backdrop, Callable[[Canvas], None]] = {
    "meadow": _meadow,
    "beach": _beach,
    "desert": _desert,
    "snow": _snow,
    "sunset": _sunset,
    "night": _night,
    "room": _room,
    "stage": _stage,
    "sea_floor": _sea_floor,
    "clouds": _above_clouds,
    "moon": _moon,
    "city": _city,
}
