"""Scenes and shots for tests: one actor with one action in front of a still camera."""

from __future__ import annotations

from dataclasses import replace

from vitascope.worlds.language import CameraMove
from vitascope.worlds.solids.events import Draw, Event, _own_act, _with_falls
from vitascope.worlds.solids.sampling import sample_scene
from vitascope.worlds.solids.scene import Action, Actor, Scene, Shot
from vitascope.worlds.solids.words import Kind, Motion, Setting

_SCENES: list[Scene] = []


def scenes(count: int) -> list[Scene]:
    """The scenes of the first seeds, drawn once per process."""
    _SCENES.extend(sample_scene(seed) for seed in range(len(_SCENES), count))
    return _SCENES[:count]


def own_act(draw: Draw, motion: Motion, room: float = 2.5) -> Action:
    """An independent action at the centre of the picture."""
    return _own_act(draw, motion, room, (0.0, 0.0))


def fall(draw: Draw, actor: Actor) -> Event:
    """An event with one fall."""
    return _with_falls(draw, Event((actor,), (own_act(draw, "fall"),), 2.5))


def shot_of(act: Action, camera: CameraMove = "still", place: Setting = "grass") -> Shot:
    """A shot of one actor, two and a half metres wide."""
    return Shot((act,), place, camera, camera_height=1.3, camera_speed=1.0, view_width=2.5)


def alone(actor: Actor, act: Action, place: Setting = "grass", camera: CameraMove = "still") -> Scene:
    """A plain daytime scene with one actor and one shot."""
    return Scene(0, (actor,), (shot_of(act, camera, place),), (), "day", "clear", "plain", (0.3, 0.9), (1.0, 1.0, 1.0))


def with_kind(scene: Scene, kind: Kind) -> Scene:
    """The scene with another first actor."""
    return replace(scene, actors=(replace(scene.actors[0], kind=kind), *scene.actors[1:]))
