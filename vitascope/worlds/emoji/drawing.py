"""Rendering of emoji scenes: a painted backdrop, soft shadows, and the characters from back to front."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from vitascope.video.shape import VideoShape
from vitascope.worlds.emoji.animation import Animation, Picture, read_animation
from vitascope.worlds.emoji.backdrops import Light, paint
from vitascope.worlds.emoji.painting import EYE_HEIGHT
from vitascope.worlds.emoji.scene import LEAST_ZOOM, PAN, Actor, Pose, Scene, Viewport, pose, room_of, viewport
from vitascope.worlds.frame import NO_MAPS, Frame, Maps, RenderedClip, TruthMap, as_clip, check_maps

Coordinate = TypeVar("Coordinate", float, np.ndarray)
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

    def seen(self, row: Coordinate, column: Coordinate, look: Viewport) -> tuple[Coordinate, Coordinate]:
        """(row, column) in a view's frame of a (row, column) in the scene, where the still camera shows it."""
        row = 0.5 * self.height + (row - 0.5 * self.height - look.y * self.unit) * look.zoom
        return row, 0.5 * self.width + (column - 0.5 * self.width - look.x * self.unit) * look.zoom

    def unseen(self, row: Coordinate, column: Coordinate, look: Viewport) -> tuple[Coordinate, Coordinate]:
        """Inverse of `seen`."""
        row = 0.5 * self.height + (row - 0.5 * self.height) / look.zoom + look.y * self.unit
        return row, 0.5 * self.width + (column - 0.5 * self.width) / look.zoom + look.x * self.unit


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

    def place(self, row: Coordinate, column: Coordinate) -> tuple[Coordinate, Coordinate]:
        """(row, column) in the frame of a (row, column) in the source picture."""
        down, right = row - self.pivot[0], column - self.pivot[1]
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        row, column = self.pivot[0] + cos * down + sin * right, self.pivot[1] + cos * right - sin * down
        return self.row + self.scale * (row - self.foot[0]), self.column + self.scale * (column - self.foot[1])

    def unplace(self, row: Coordinate, column: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Inverse of `place`."""
        down = (row - self.row) / self.scale + self.foot[0] - self.pivot[0]
        right = (column - self.column) / self.scale + self.foot[1] - self.pivot[1]
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.pivot[0] + cos * down - sin * right, self.pivot[1] + sin * down + cos * right


_Arrangement = tuple[Viewport, list[tuple[Pose, Picture, Placement]]]  # the view, and each actor at a time
_Layer = tuple[slice, slice, np.ndarray]  # rows and columns of the frame, and the opacity [h, w] there


def draw_scene(scene: Scene, shape: VideoShape, maps: Collection[TruthMap] = ()) -> RenderedClip:
    """The clip of a scene, with its ground truth and the named maps.

    Raises:
        MediaError, ConfigError: as `draw_frames`.
    """
    return as_clip(list(draw_frames(scene, shape, maps)), shape.fps)


def draw_frames(scene: Scene, shape: VideoShape, maps: Collection[TruthMap] = ()) -> Iterator[Frame]:
    """Yield the frames of a scene. `maps` names ground truth per pixel (see `Maps`); pixels don't depend on it.

    Depth is that of the actors' planes; the backdrop's is infinite. Flow is the motion of those planes and of the
    camera, without the animation inside an actor's picture.

    Raises:
        MediaError: a character's file can't be decoded.
        ConfigError: an unknown map.
    """
    check_maps(maps)
    stage = FrameGeometry(shape.height, shape.width)
    backdrop = _Panorama(scene, stage)
    animations = [read_animation(actor.character.path) for actor in scene.actors]
    for index in range(shape.num_frames):
        seconds = shape.start + index / shape.fps
        look, cast = _arrange(scene, animations, seconds, stage)
        canvas = backdrop.seen(look)
        from_far = sorted(range(len(cast)), key=lambda number: -cast[number][0].depth)
        for number in from_far:
            _, picture, where = cast[number]
            _cast_shadow(canvas, animations[number], picture, where, backdrop.light)
        layers = [(number, _blend(canvas, *cast[number][1:], backdrop.light)) for number in from_far]
        truth = {
            "actors": [_truth(picture, where, at, stage) for at, picture, where in cast],
            "camera": {"x": round(look.x, 4), "y": round(look.y, 4), "zoom": round(look.zoom, 4)},
        }
        drawn = NO_MAPS
        if maps:
            after = _arrange(scene, animations, seconds + 1 / shape.fps, stage)
            drawn = _draw_maps(maps, stage, layers, (look, cast), after)
        yield Frame((canvas.clip(0, 1) * 255 + 0.5).astype(np.uint8), truth, drawn)


def _arrange(scene: Scene, animations: Sequence[Animation], seconds: float, stage: FrameGeometry) -> _Arrangement:
    look = viewport(scene, seconds, stage.aspect)
    cast = []
    for actor, animation in zip(scene.actors, animations, strict=True):
        at = pose(scene, actor, seconds, stage.aspect)
        where = _placement(scene, actor, at, animation, stage, look)
        cast.append((at, animation.at(seconds + actor.phase), where))
    return look, cast


def _draw_maps(
    maps: Collection[TruthMap],
    stage: FrameGeometry,
    layers: Sequence[tuple[int, _Layer | None]],
    now: _Arrangement,
    later: _Arrangement,
) -> Maps:
    """The named maps of a frame from its layers, back to front: each an actor's number, rows, columns and opacity."""
    look, cast = now
    shares = np.zeros((len(cast) + 1, stage.height, stage.width), np.float32)
    shares[0] = 1
    for number, layer in layers:
        if layer is not None:
            rows, columns, opacity = layer
            shares[:, rows, columns] *= 1 - opacity
            shares[number + 1, rows, columns] += opacity
    owners = shares.argmax(axis=0)
    depth = np.array([np.inf, *(at.depth for at, _, _ in cast)], np.float32)[owners]
    row, column = np.mgrid[: stage.height, : stage.width] + 0.5
    ends = [stage.seen(*stage.unseen(row, column, look), later[0])]
    ends += [
        then.place(*where.unplace(row, column)) for (_, _, where), (_, _, then) in zip(cast, later[1], strict=True)
    ]
    to_row, to_column = (np.choose(owners, [end[axis] for end in ends]) for axis in (0, 1))
    flow = np.stack([to_column - column, to_row - row], axis=-1).astype(np.float32)
    return Maps(
        masks=owners.astype(np.uint8) if "masks" in maps else None,
        depth=depth if "depth" in maps else None,
        flow=flow if "flow" in maps else None,
    )


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
    seen_row, seen_column = stage.seen(row, column, look)
    return Placement(
        row=seen_row,
        ground=stage.seen(ground, column, look)[0],
        column=seen_column,
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


def _blend(canvas: np.ndarray, picture: Picture, where: Placement, light: Light) -> _Layer | None:
    """Blend an actor's picture onto the canvas with subpixel accuracy; return its part of the frame, if any."""
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
        return None
    box = ((first_column - left) / scale, (first_row - top) / scale)
    box += ((last_column - left) / scale, (last_row - top) / scale)
    size = (last_column - first_column, last_row - first_row)
    # Bilinear keeps subpixel positions; Hamming's steeper filter shifts pictures by up to 0.3 pixels
    patch = np.asarray(padded.resize(size, Image.Resampling.BILINEAR, box=box), np.float32) / 255
    rows, columns = slice(first_row, last_row), slice(first_column, last_column)
    under = canvas[rows, columns]
    under *= 1 - patch[..., 3:]
    under += patch[..., :3] * np.asarray(light.tint, np.float32)
    return rows, columns, patch[..., 3]


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
