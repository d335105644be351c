"""Painting with NumPy arrays: soft shapes, skies and grounds in layers.

Coordinates are in shorter sides of the frame: x to the right of the middle, y down from the horizon.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

RGB = tuple[float, float, float]
Mask = Float[np.ndarray, "h w"]
WHITE: RGB = (1.0, 1.0, 1.0)
EYE_HEIGHT = 0.26  # distance of the ground at depth 1 below the horizon


class Canvas:
    """Colours [h, w, 3] in 0..1, painted in layers from back to front."""

    def __init__(self, x: np.ndarray, y: np.ndarray, draw: np.random.Generator):
        self.x, self.y, self.draw = x[None, :].astype(np.float32), y[:, None].astype(np.float32), draw
        self.pixel = float(y[1] - y[0])
        self.colours = np.zeros((y.size, x.size, 3), np.float32)

    def lay(self, colour: RGB | np.ndarray, mask: np.ndarray) -> None:
        """Blend a colour onto the canvas by a mask in 0..1."""
        self.colours += mask[..., None] * (np.asarray(colour, np.float32) - self.colours)

    def below(self, line: np.ndarray | float) -> Mask:
        """Mask of the area below a line (y for each x), with an edge one pixel wide."""
        return np.clip((self.y - line) / self.pixel + 0.5, 0, 1) + 0 * self.x

    def disc(self, x: float, y: float, rx: float, ry: float | None = None, soft: float = 0.0) -> Mask:
        """Mask of an ellipse; it fades over `soft` times its radius."""
        ry = rx if ry is None else ry
        distance = np.sqrt(((self.x - x) / rx) ** 2 + ((self.y - y) / ry) ** 2)
        width = max(soft, self.pixel / min(rx, ry))
        return smooth((1 + 0.5 * width - distance) / width) if soft else np.clip((1 - distance) / width + 0.5, 0, 1)

    def box(self, left: float, top: float, right: float, bottom: float) -> Mask:
        """Mask of an axis-aligned rectangle."""
        inside_x = np.clip((self.x - left) / self.pixel + 0.5, 0, 1) * np.clip(
            (right - self.x) / self.pixel + 0.5, 0, 1
        )
        return (
            inside_x
            * np.clip((self.y - top) / self.pixel + 0.5, 0, 1)
            * np.clip((bottom - self.y) / self.pixel + 0.5, 0, 1)
        )

    def noise(self, across: float, down: float, *, perspective: bool = False) -> Mask:
        """Smooth noise in -1..1 with `across` and `down` cells per unit; `perspective` projects it onto the ground."""
        grid = self.draw.uniform(-1, 1, (64, 64)).astype(np.float32)
        rows = 2.5 * np.log(np.maximum(self.y, 0.0) + 0.04) if perspective else self.y
        return _weights(rows[:, 0] * down) @ grid @ _weights(self.x[0] * across).T

    def ridge(self, height: float, roughness: float) -> Float[np.ndarray, "1 w"]:
        """Silhouette of a range of hills above the horizon (negative y)."""
        line = np.zeros_like(self.x)
        for octave in range(3):
            phase, wave = self.draw.uniform(0, 2 * np.pi), self.draw.uniform(2.0, 3.4) * (1 + octave * roughness)
            line += np.sin(wave * self.x + phase) / (1 + 1.6 * octave)
        return -height * (0.75 + 0.4 * line)

    def gradient(self, top: RGB, bottom: RGB, start: float, end: float) -> np.ndarray:
        """Vertical gradient [h, 1, 3] between the heights `start` and `end`."""
        share = smooth((self.y - start) / (end - start))[..., None]
        return np.asarray(top, np.float32) + share * (np.asarray(bottom, np.float32) - np.asarray(top, np.float32))

    def depth(self) -> Float[np.ndarray, "h 1"]:
        """Depth of the ground in each row; large at the horizon."""
        return EYE_HEIGHT / np.maximum(self.y, 0.25 * self.pixel)


def smooth(share: np.ndarray) -> np.ndarray:
    """Smoothstep: 0 to 1 with zero slope at both ends; shares are clipped to 0..1."""
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def _weights(at: np.ndarray, size: int = 64) -> Float[np.ndarray, "n size"]:
    """Weights that interpolate a ring of `size` values smoothly at the positions `at`."""
    low = np.floor(at)
    share = smooth(at - low)
    weights = np.zeros((at.size, size), np.float32)
    index = np.arange(at.size)
    weights[index, low.astype(int) % size] = 1 - share
    weights[index, (low.astype(int) + 1) % size] += share
    return weights


def _rgb(code: str) -> RGB:
    return int(code[0:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:6], 16) / 255


def palette(canvas: Canvas, *palettes: str) -> list[RGB]:
    """A random palette of several, each a string of hexadecimal colours, with random brightness."""
    colours = palettes[int(canvas.draw.integers(len(palettes)))].split()
    shade = 1 + 0.04 * float(canvas.draw.standard_normal())
    return [(r * shade, g * shade, b * shade) for r, g, b in map(_rgb, colours)]


def sky(canvas: Canvas, top: RGB, bottom: RGB) -> None:
    """Paint a sky down to the horizon."""
    canvas.colours[:] = canvas.gradient(top, bottom, -0.75, 0.02)


def ground(canvas: Canvas, far: RGB, near: RGB, texture: float = 0.05) -> None:
    """Paint textured ground from the horizon to the camera."""
    colour = canvas.gradient(far, near, 0.0, 0.5) + 0 * canvas.colours
    mottle = canvas.noise(5.0, 5.0, perspective=True) + 0.6 * canvas.noise(11.0, 9.0, perspective=True)
    fade = np.clip(canvas.y / 0.08, 0.0, 1.0)
    canvas.lay(colour * (1 + texture * (mottle * fade)[..., None]), canvas.below(0.0))


def clouds(canvas: Canvas, colour: RGB, number: int, opacity: float = 0.85) -> None:
    """Paint clouds with flat undersides."""
    for _ in range(number):
        x, y = canvas.draw.uniform(-1.1, 1.1), canvas.draw.uniform(-0.62, -0.22)
        size = canvas.draw.uniform(0.05, 0.09)
        mask = np.zeros_like(canvas.colours[..., 0])
        for puff in range(5):
            offset = (puff - 2) * 0.75 * size
            radius = size * (1.1 - 0.22 * abs(puff - 2)) * canvas.draw.uniform(0.85, 1.15)
            mask = np.maximum(mask, canvas.disc(x + offset, y - 0.3 * radius, radius, 0.75 * radius, soft=0.55))
        canvas.lay(colour, opacity * mask * (1 - 0.8 * smooth((canvas.y - y) / (0.8 * size))))


def stars(canvas: Canvas, number: int) -> None:
    """Paint stars, at most a few pixels wide."""
    for _ in range(number):
        x, y, size = canvas.draw.uniform(-1.6, 1.6), canvas.draw.uniform(-1.4, -0.1), canvas.draw.uniform(0.004, 0.009)
        glow = np.exp(-(((canvas.x - x) / size) ** 2 + ((canvas.y - y) / size) ** 2) / 2)
        canvas.lay((1.0, 0.98, 0.9), canvas.draw.uniform(0.5, 1.0) * glow)


def boards(canvas: Canvas, light: RGB, dark: RGB) -> None:
    """Paint a floor of boards that recede from the camera."""
    across = canvas.x * canvas.depth() / EYE_HEIGHT * 1.1
    board = np.floor(across)
    shade = 0.5 + 0.5 * np.sin(board * 12.9898 + 3.1)
    blur = 1.1 * canvas.pixel * canvas.depth() / EYE_HEIGHT * 1.1  # one pixel in units of boards
    gap = np.clip(1.2 - np.abs(across - np.round(across)) / np.maximum(0.02, blur), 0, 1)
    fade = smooth(1.2 - 6 * blur)  # distant boards blend
    colours = np.asarray(light) + (shade * fade)[..., None] * 0.35 * (np.asarray(dark) - np.asarray(light))
    canvas.lay(colours.astype(np.float32), canvas.below(0.0))
    canvas.lay(dark, 0.6 * gap * fade * canvas.below(0.0))


def narrow(canvas: Canvas, columns: np.ndarray) -> Canvas:
    """A canvas of a subset of columns, for small shapes."""
    return Canvas(canvas.x[0][columns], canvas.y[:, 0], canvas.draw)
