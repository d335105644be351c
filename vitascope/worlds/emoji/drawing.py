"""Rendering of emoji scenes: a painted backdrop, soft shadows, and the characters from back to front."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from vitascope.video.shape import VideoShape
from vitascope.worlds.emoji.animation import Animation, Picture, read_animation
from vitascope.worlds.emoji.backdrops import Light, paint
from vitascope.worlds.emoji.painting import EYE_HEIGHT
from vitascope.worlds.emoji.scene import LEAST_ZOOM, PAN, Actor, Pose, Scene, Viewport, pose, room_of, viewport
from vitascope.worlds.frame import Frame

DENSITY = 1.15  # backdrop pixels per frame pixel: enough for the largest zoom


@dataclass(frozen=True)
class FrameGeometry:
    """Geometry of a frame in pixels: the row of the horizon, and the shorter side as the unit of length."""

    height: int
    width: int

    @property
    def unit(self) -> int:
        """Shorter side of the frame."""
        return min(self.height, self.width)

    @property
    def horizon(self) -> float:
        """Row of the horizon; it centres an actor that stands in the middle."""
        return 0.5 * self.height + min(0.33 * self.height, 0.36 * self.unit) - EYE_HEIGHT * self.unit

    @property
    def aspect(self) -> float:
        """Width / height."""
        return self.width / self.height


@dataclass(frozen=True)
class Placement:
    """Placement of an actor's picture in the frame: (row, column) of its foot, scale, and rotation about a pivot.

    `ground` is the row of the ground below it; `foot` and `pivot` are (row, column) in the source picture.
    """

    row: float
    ground: float
    column: float
    scale: float
    angle: float
    foot: tuple[float, float]
    pivot: tuple[float, float]

    def place(self, row: float, column: float) -> tuple[float, float]:
        """(row, column) in the frame of a (row, column) in the source picture."""
        down, right = row - self.pivot[0], column - self.pivot[1]
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        row, column = self.pivot[0] + cos * down + sin * right, self.pivot[1] + cos * right - sin * down
        return self.row + self.scale * (row - self.foot[0]), self.column + self.scale * (column - self.foot[1])


def draw_frames(scene: Scene, shape: VideoShape) -> Iterator[Frame]:
    """Yield the frames of a scene.

    Raises:
        MediaError: a character's file can't be decoded.
    """
    stage = FrameGeometry(shape.height, shape.width)
    backdrop = _Panorama(scene, stage)
    animations = [read_animation(actor.character.path) for actor in scene.actors]
    for index in range(shape.num_frames):
        seconds = shape.start + index / shape.fps
        look = viewport(scene, seconds, stage.aspect)
        canvas = backdrop.seen(look)
        people: dict[int, tuple[Pose, Picture, Placement]] = {}
        for number, actor in enumerate(scene.actors):
            at = pose(scene, actor, seconds, stage.aspect)
            picture = animations[number].at(seconds + actor.phase)
            people[number] = at, picture, _placement(scene, actor, at, animations[number], stage, look)
        from_far = sorted(people, key=lambda number: -people[number][0].depth)
        for number in from_far:
            _, picture, where = people[number]
            _cast_shadow(canvas, animations[number], picture, where, backdrop.light)
        for number in from_far:
            _, picture, where = people[number]
            _blend(canvas, picture, where, backdrop.light)
        truth = {
            "actors": [_truth(picture, where, at, stage) for at, picture, where in people.values()],
            "camera": {"x": round(look.x, 4), "y": round(look.y, 4), "zoom": round(look.zoom, 4)},
        }
        yield Frame((canvas.clip(0, 1) * 255 + 0.5).astype(np.uint8), truth)


class _Panorama:
    """Backdrop of a scene, painted once and larger than the frame."""

    def __init__(self, scene: Scene, stage: FrameGeometry):
        from PIL import Image

        self.stage = stage
        half_width = (0.5 / LEAST_ZOOM + PAN) * stage.width + 2
        half_height = (0.5 / LEAST_ZOOM + 0.04) * stage.height + 2
        columns = np.arange(-half_width, half_width, 1 / DENSITY)
        rows = np.arange(-half_height, half_height, 1 / DENSITY)
        self.left, self.top = 0.5 * stage.width - half_width, 0.5 * stage.height - half_height
        y = (rows + 0.5 * stage.height - stage.horizon) / stage.unit
        painted = paint(scene.place, scene.variant, columns / stage.unit, y)
        self.image, self.light = Image.fromarray(painted.pixels), painted.light

    def seen(self, look: Viewport) -> Float[np.ndarray, "h w 3"]:
        """The visible part, in 0..1."""
        from PIL import Image

        stage = self.stage
        width, height = stage.width / look.zoom, stage.height / look.zoom
        left = DENSITY * (0.5 * stage.width + look.x * stage.unit - 0.5 * width - self.left)
        top = DENSITY * (0.5 * stage.height + look.y * stage.unit - 0.5 * height - self.top)
        box = (left, top, left + DENSITY * width, top + DENSITY * height)
        seen = self.image.resize((stage.width, stage.height), Image.Resampling.BICUBIC, box=box)
        return np.asarray(seen, np.float32) / 255


def _placement(
    scene: Scene, actor: Actor, at: Pose, animation: Animation, stage: FrameGeometry, look: Viewport
) -> Placement:
    top, left, bottom, right = animation.box
    size = room_of(scene, actor, stage.aspect).size * stage.unit / at.depth
    ground, row = (stage.horizon + (EYE_HEIGHT - up) / at.depth * stage.unit for up in (0.0, at.lift))
    column = 0.5 * stage.width + at.x / at.depth * stage.unit
    foot = (float(bottom), 0.5 * (left + right))
    spins = actor.motion == "spin"
    return Placement(
        row=0.5 * stage.height + (row - 0.5 * stage.height - look.y * stage.unit) * look.zoom,
        ground=0.5 * stage.height + (ground - 0.5 * stage.height - look.y * stage.unit) * look.zoom,
        column=0.5 * stage.width + (column - 0.5 * stage.width - look.x * stage.unit) * look.zoom,
        scale=look.zoom * size / max(bottom - top, right - left),
        angle=at.angle,
        foot=foot,
        pivot=(0.5 * (top + bottom), foot[1]) if spins else foot,
    )


def _cast_shadow(canvas: np.ndarray, animation: Animation, picture: Picture, where: Placement, light: Light) -> None:
    """Darken the ground below an actor by an ellipse, which gets fainter and wider with the actor's height."""
    height, width = canvas.shape[:2]
    middle, half = picture.footing
    if where.angle:
        middle, half = where.foot[1], 0.3 * (animation.box[3] - animation.box[1])
    unit = where.scale * max(animation.box[2] - animation.box[0], animation.box[3] - animation.box[1])
    air = where.scale * (animation.box[2] - picture.box[2])  # its own animation may jump, too
    lifted = (where.ground - where.row + air) / unit
    radius = max(1.0, where.scale * half * 1.15 + 0.04 * unit) * (1 + 0.5 * lifted)
    column, row = where.column + where.scale * (middle - where.foot[1]), where.ground - 0.02 * unit
    flat = 0.26 * radius + 0.015 * unit
    top, bottom = max(0, int(row - 1.6 * flat)), min(height, int(row + 1.6 * flat) + 2)
    left, right = max(0, int(column - 1.6 * radius)), min(width, int(column + 1.6 * radius) + 2)
    if top >= bottom or left >= right:
        return
    down = (np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5 - row) / flat
    across = (np.arange(left, right, dtype=np.float32)[None, :] + 0.5 - column) / radius
    fall_off = np.clip(1.45 - np.sqrt(down**2 + across**2), 0, 1) ** 1.5
    strength = light.shadow * math.exp(-1.6 * lifted)
    canvas[top:bottom, left:right] *= 1 - strength * fall_off[..., None]


def _blend(canvas: np.ndarray, picture: Picture, where: Placement, light: Light) -> None:
    """Blend an actor's picture onto the canvas with subpixel accuracy."""
    from PIL import Image

    height, width = canvas.shape[:2]
    image, scale = picture.image, where.scale
    margin = math.ceil(3 / scale)
    if where.angle:  # room for the rotated corners
        margin = max(margin, math.ceil(0.3 * max(image.size)))
    padded = Image.new("RGBa", (image.width + 2 * margin, image.height + 2 * margin))
    padded.paste(image, (margin, margin))
    if where.angle:
        pivot = (where.pivot[1] + margin, where.pivot[0] + margin)
        padded = padded.rotate(math.degrees(-where.angle), Image.Resampling.BICUBIC, center=pivot)
    top = where.row - scale * (where.foot[0] + margin)
    left = where.column - scale * (where.foot[1] + margin)
    first_row, first_column = max(0, math.ceil(top)), max(0, math.ceil(left))
    last_row = min(height, math.floor(top + scale * padded.height))
    last_column = min(width, math.floor(left + scale * padded.width))
    if first_row >= last_row or first_column >= last_column:
        return
    box = ((first_column - left) / scale, (first_row - top) / scale)
    box += ((last_column - left) / scale, (last_row - top) / scale)
    size = (last_column - first_column, last_row - first_row)
    # Bilinear keeps subpixel positions; Hamming's steeper filter shifts pictures by up to 0.3 pixels
    patch = np.asarray(padded.resize(size, Image.Resampling.BILINEAR, box=box), np.float32) / 255
    under = canvas[first_row:last_row, first_column:last_column]
    under *= 1 - patch[..., 3:]
    under += patch[..., :3] * np.asarray(light.tint, np.float32)


def _truth(picture: Picture, where: Placement, at: Pose, stage: FrameGeometry) -> dict[str, Any]:
    """Ground truth of an actor: centroid and bounding box of its picture, which may extend beyond the frame."""
    row, column = where.place(*picture.centre)
    top, left, bottom, right = picture.box
    corners = np.array([where.place(float(r), float(c)) for r in (top, bottom) for c in (left, right)])
    box = [*corners.min(axis=0), *corners.max(axis=0)]
    return {
        "pixel": [round(row, 2), round(column, 2)],
        "box": [round(float(side), 2) for side in box],
        "scale": round(where.scale, 5),
        "depth": round(at.depth, 4),
        "lift": round(at.lift, 4),
        "visible": 0 <= row < stage.height and 0 <= column < stage.width,
    }
