"""Drawing a scene: its frames, and the truth of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from vitascope.errors import SizeError
from vitascope.video import Video
from vitascope.world.cast import PALETTE, body_centre, build
from vitascope.world.scene import Pose, Scene, View, pose, view
from vitascope.world.stage import MAX_SIDE, Lighting, Solid, about_x, about_y, about_z, project, solid, stage_of


class Frame(NamedTuple):
    """One picture, and where everything in it is: metres, radians, and places in the picture in pixels."""

    pixels: UInt8[np.ndarray, "h w 3"]
    truth: dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """A clip, and its rate with each frame's truth."""

    video: Video
    truth: dict[str, Any]


def render_scene(scene: Scene, *, num_frames: int, fps: float, height: int, width: int, start: float = 0.0) -> Rendered:
    """A scene's clip from `start` seconds on, and its truth.

    Raises:
        RenderError, SizeError: as `render_frames`.
    """
    frames = list(render_frames(scene, num_frames=num_frames, fps=fps, height=height, width=width, start=start))
    pixels = np.stack([frame.pixels for frame in frames])
    return Rendered(Video(pixels, fps), {"fps": fps, "frames": [frame.truth for frame in frames]})


def render_frames(
    scene: Scene, *, num_frames: int, fps: float, height: int, width: int, start: float = 0.0
) -> Iterator[Frame]:
    """The frames of a scene from `start` seconds on, one at a time, so that memory doesn't grow with the clip.

    Raises:
        RenderError: MuJoCo, EGL or OSMesa is missing.
        SizeError: a side above 8192 pixels, or below 1.
    """
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise SizeError(f"can't draw {width}x{height} pixels: each side must be 1 to {MAX_SIDE}")
    stage, lighting = stage_of(scene.place), Lighting(scene.ground_shade, *scene.light)
    for index in range(num_frames):
        seconds = start + index / fps
        poses = [pose(actor, seconds) for actor in scene.actors]
        look = view(scene, seconds, width / height)
        pixels = stage.draw(solids(scene, poses), lighting, look, height, width)
        yield Frame(pixels, _frame_truth(scene, poses, look, height, width))


def solids(scene: Scene, poses: Sequence[Pose]) -> Iterator[Solid]:
    """The parts of all actors where they are."""
    for actor, at in zip(scene.actors, poses, strict=True):
        red, green, blue = (min(1.0, c * s) for c, s in zip(PALETTE[actor.colour], actor.shade, strict=True))
        rotation = about_y(at.lean) @ about_z(at.yaw) @ about_x(at.rolled)
        pivot = body_centre(actor.kind) * actor.height
        foot = np.array([at.x, at.y, at.z + pivot]) - rotation @ (0, 0, pivot)
        for part in build(actor.kind, (red, green, blue)):
            yield solid(part, foot, rotation, scale=actor.height)


def _frame_truth(scene: Scene, poses: list[Pose], look: View, height: int, width: int) -> dict[str, Any]:
    actors = []
    for actor, at in zip(scene.actors, poses, strict=True):
        row, column, depth = project((at.x, at.y, at.z + 0.5 * actor.height), look, height, width)
        seen = depth > 0 and 0 <= row < height and 0 <= column < width
        position = [round(value, 4) for value in (at.x, at.y, at.z)]
        turns = {name: round(getattr(at, name), 4) for name in ("yaw", "lean", "rolled")}
        actors.append({"position": position, **turns, "pixel": [round(row, 2), round(column, 2)], "visible": seen})
    return {
        "actors": actors,
        "camera": {"eye": [round(v, 4) for v in look.eye], "target": [round(v, 4) for v in look.target]},
    }
