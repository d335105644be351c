"""Rendering of scenes: frames with their ground truth."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from vitascope.errors import SizeError
from vitascope.worlds.frame import NO_MAPS, Frame, RenderedClip, TruthMap, as_clip, check_maps
from vitascope.worlds.solids.accessories import accessory_parts, expression_parts
from vitascope.worlds.solids.camera import View, project, view
from vitascope.worlds.solids.cast import BUILDS, MATERIALS, PALETTE, PLASTIC, Part
from vitascope.worlds.solids.motion import Pose, ShotMotion
from vitascope.worlds.solids.postprocess import postprocess
from vitascope.worlds.solids.rig import rig_solids
from vitascope.worlds.solids.rotations import to_quaternion
from vitascope.worlds.solids.scene import Actor, Scene, Shot
from vitascope.worlds.solids.stage import MAX_SIDE, Lighting, Solid, solid, stage_of
from vitascope.worlds.solids.surfaces import draw_maps


def render_scene(
    scene: Scene,
    *,
    num_frames: int,
    fps: float,
    height: int,
    width: int,
    start: float = 0.0,
    maps: Collection[TruthMap] = (),
) -> RenderedClip:
    """The clip of a scene from `start` seconds, with its ground truth and the named maps.

    Raises:
        RenderError, SizeError, ConfigError: as `render_frames`.
    """
    frames = render_frames(scene, num_frames=num_frames, fps=fps, height=height, width=width, start=start, maps=maps)
    return as_clip(list(frames), fps)


def render_frames(
    scene: Scene,
    *,
    num_frames: int,
    fps: float,
    height: int,
    width: int,
    start: float = 0.0,
    maps: Collection[TruthMap] = (),
) -> Iterator[Frame]:
    """Yield the frames of a scene from `start` seconds, in constant memory.

    Cuts are at fixed shares of the clip's length. Every shot but the first begins at its own time 0. `maps` names
    ground truth per pixel (see `Maps`); pixels don't depend on it. Flow in the last frame of a shot is the motion that
    the shot would continue with.

    Raises:
        RenderError: MuJoCo, EGL or OSMesa is missing.
        SizeError: a side above 8192 pixels, or below 1.
        ConfigError: an unknown map.
    """
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise SizeError(f"can't render {width}x{height} pixels; each side must be 1 to {MAX_SIDE}, choose another size")
    check_maps(maps)
    beginnings = scene.first_frames(num_frames)
    ends = [*beginnings[1:], num_frames]
    for number, (shot, beginning, end) in enumerate(zip(scene.shots, beginnings, ends, strict=True)):
        first = start if number == 0 else 0.0
        shot_motion = ShotMotion(scene.actors, shot, first + (end - beginning) / fps)
        for index in range(beginning, end):
            seconds = first + (index - beginning) / fps
            moment = _Moment(scene, shot, shot_motion, seconds, width / height)
            later = _Moment(scene, shot, shot_motion, seconds + 1 / fps, width / height) if "flow" in maps else None
            pixels, truth, drawn = _draw(moment, later, start + index / fps, height, width, maps)
            yield Frame(pixels, {"shot": number, **truth, "contacts": _contacts(shot_motion, seconds, 1 / fps)}, drawn)


def solids(scene: Scene, shot: Shot, poses: Sequence[Pose]) -> Iterator[Solid]:
    """Solids of all actors in their poses, and of the experiment's rig."""
    for number, (actor, at) in enumerate(zip(scene.actors, poses, strict=True)):
        surface = MATERIALS[actor.material].finish
        for own, part in actor_parts(actor):
            foot, turn = at.foot, at.turn
            if part.limb is not None and part.limb in at.limbs:
                joint = actor.height * np.array((BUILDS[actor.kind].joints or {})[part.limb])
                turn = at.turn @ at.limbs[part.limb]
                foot = at.foot + at.turn @ joint - turn @ joint
            placed = solid(part, foot, turn, scale=actor.height)
            yield replace(placed, finish=surface if own else PLASTIC, owner=number)
    if shot.experiment is not None:
        bodies = [p.foot + p.turn @ (0, 0, 0.5 * a.height) for a, p in zip(scene.actors, poses, strict=True)]
        yield from rig_solids(shot.experiment, np.array(bodies))


@lru_cache(maxsize=64)  # enough for all actors of one clip
def actor_parts(actor: Actor) -> tuple[tuple[bool, Part], ...]:
    """Parts of an actor, each with True if it has the actor's own material."""
    red, green, blue = (
        min(1.0, MATERIALS[actor.material].tint * c * s)
        for c, s in zip(PALETTE[actor.colour], actor.shade, strict=True)
    )
    build = BUILDS[actor.kind]
    extras: list[Part] = []
    if build.face is not None:
        extras += expression_parts(build.face, actor.expression)
        if actor.accessory is not None:
            extras += accessory_parts(build.face, actor.accessory, (red, green, blue))
    return (*((True, part) for part in build.parts((red, green, blue))), *((False, part) for part in extras))


class _Moment:
    """Poses, camera and solids at a time of a shot; `aspect` is width / height."""

    def __init__(self, scene: Scene, shot: Shot, shot_motion: ShotMotion, seconds: float, aspect: float):
        self.scene, self.shot, self.aspect = scene, shot, aspect
        self.poses = shot_motion.poses(seconds)
        subject = (float(self.poses[0].foot[0]), scene.actors[0].height)
        self.look = view(shot, seconds, aspect, subject)

    def solids(self) -> list[Solid]:
        return list(solids(self.scene, self.shot, self.poses))


def _draw(
    moment: _Moment, later: _Moment | None, clock: float, height: int, width: int, maps: Collection[TruthMap]
) -> Frame:
    scene = moment.scene
    stage = stage_of(moment.shot.place, scene.time)
    lighting = Lighting(scene.ground_shade, *scene.light, foggy=scene.weather == "fog")
    stage.arrange(moment.solids(), lighting, moment.look, moment.aspect)
    pixels, owners = stage.picture(height, width), stage.owners(height, width)
    pixels = postprocess(pixels, scene.weather, scene.style, scene.seed, clock)
    drawn = NO_MAPS
    if maps:
        after = None if later is None else (later.look, later.solids())
        drawn = draw_maps(stage, maps, height, width, moment.look, after)
    return Frame(pixels, _frame_truth(scene, moment.poses, moment.look, owners), drawn)


def _frame_truth(scene: Scene, poses: list[Pose], look: View, owners: np.ndarray) -> dict[str, Any]:
    actors = []
    height, width = owners.shape
    areas = np.bincount(owners.ravel() + 1, minlength=len(poses) + 1)[1:]
    for actor, at, area in zip(scene.actors, poses, areas.tolist(), strict=True):
        middle = at.foot + at.turn @ (0.0, 0.0, 0.5 * actor.height)
        row, column, _ = project(tuple(middle.tolist()), look, height, width)
        actors.append(
            {
                "position": [round(value, 4) for value in middle.tolist()],
                "turn": [round(value, 4) for value in to_quaternion(at.turn)],
                "pixel": [round(row, 2), round(column, 2)],
                "area": area,
            }
        )
    return {
        "actors": actors,
        "camera": {"eye": [round(v, 4) for v in look.eye], "target": [round(v, 4) for v in look.target]},
    }


def _contacts(shot_motion: ShotMotion, seconds: float, interval: float) -> list[list[int | None]]:
    """Pairs of actors whose contact began since the previous frame; None stands for the ground and fixtures."""
    if shot_motion.trajectory is None:
        return []
    actors = {body: actor for actor, body in enumerate(shot_motion.bodies) if body is not None}
    return [
        [actors[contact.body], None if contact.other is None else actors[contact.other]]
        for contact in shot_motion.trajectory.contacts
        if seconds - interval < contact.seconds <= seconds
    ]
