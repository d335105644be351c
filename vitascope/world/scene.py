"""What a clip shows, before anything is drawn: who, what they do, where, and how the camera moves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from vitascope.production import Split, is_within_share
from vitascope.world.words import COLOURS, KINDS, MOTIONS, PLACES, SHOTS, WALKERS, Colour, Kind, Motion, Place, Shot

WORLD_VERSION = 2
Name = TypeVar("Name")


@dataclass(frozen=True)
class Actor:
    """One character or object. Lengths are in metres, angles in radians, times in seconds."""

    kind: Kind
    colour: Colour
    motion: Motion
    home: tuple[float, float]  # where on the ground (right, away from the camera) it is at home
    reach: float  # how far from home it goes
    height: float
    period: float  # of a jump, a turn, a circle, a sway; or the time to cross the reach twice
    phase: float  # share of the period that has passed at time 0
    shade: tuple[float, float, float]  # multiplies the colour
    heading: float  # where it looks while it stays in place


@dataclass(frozen=True)
class Scene:
    """Everything that decides a clip's pixels but its size, length and rate."""

    seed: int
    actors: tuple[Actor, ...]
    place: Place
    shot: Shot
    ground_shade: tuple[float, float, float]
    light: tuple[float, float]  # azimuth and elevation of the sun
    camera_height: float
    view_width: float  # metres that the shorter side of the frame spans at the actors
    shot_speed: float

    def attributes(self) -> dict[str, Any]:
        """What the clip shows, in words of the vocabulary."""
        actors = [{"kind": a.kind, "color": a.colour, "motion": a.motion} for a in self.actors]
        return {"actors": actors, "setting": self.place, "camera": self.shot}

    def as_dict(self) -> dict[str, Any]:
        """Every field, for the clip's record."""
        return asdict(self)


def sample_scene(seed: int, split: Split = "train", held_out_share: float = 0.1) -> Scene:
    """The scene of a seed: always the same one.

    No actor of a training scene is a held-out combination; in a held-out scene the first actor is one. A share that
    leaves the split without any combination has no scene: see `count_combinations`.
    """
    draw = np.random.default_rng([WORLD_VERSION, seed])
    while True:
        scene = _draw_scene(seed, draw)
        held_out = [is_held_out(a.colour, a.kind, a.motion, scene.place, held_out_share) for a in scene.actors]
        if held_out[0] if split == "held_out" else not any(held_out):
            return scene


def is_held_out(colour: str, kind: str, motion: str, place: str, share: float) -> bool:
    """Whether a combination is kept from training: by a hash, so the answer never changes."""
    return is_within_share(f"{colour} {kind} {motion} {place}", share)


def count_combinations(split: Split, share: float) -> int:
    """How many combinations of colour, kind, motion and place a split's first actor can be."""
    every = itertools.product(COLOURS, KINDS, MOTIONS, PLACES)
    return sum(is_held_out(*combination, share) == (split == "held_out") for combination in every)


def _draw_scene(seed: int, draw: np.random.Generator) -> Scene:
    two = draw.random() < 0.25
    view_width = draw.uniform(2.3, 2.7) * (1.3 if two else 1.0)
    actors = [_draw_actor(draw, view_width, home=(draw.uniform(-0.2, 0.2), draw.uniform(-0.2, 0.2)))]
    if two:
        side = draw.choice([-1.0, 1.0])
        gap = 0.26 * view_width
        first = _draw_actor(draw, 0.55 * view_width, home=(side * gap, 0.0))
        second = _draw_actor(draw, 0.55 * view_width, home=(-side * gap, draw.uniform(0.0, 0.5)))
        while (second.colour, second.kind) == (first.colour, first.kind):
            second = _draw_actor(draw, 0.55 * view_width, home=second.home)
        actors = [first, second]
    shade = 1 + 0.05 * draw.standard_normal() + 0.015 * draw.standard_normal(3)  # bright or dark, hardly tinted
    return Scene(
        seed=seed,
        actors=tuple(actors),
        place=_pick(draw, PLACES),
        shot=_pick(draw, ("still", *SHOTS)),  # still twice as often as each move
        ground_shade=(float(shade[0]), float(shade[1]), float(shade[2])),
        light=(float(draw.uniform(-0.9, 0.9)), float(draw.uniform(0.7, 1.1))),
        camera_height=float(draw.uniform(1.0, 1.7)),
        view_width=float(view_width),
        shot_speed=float(draw.uniform(0.8, 1.2)),
    )


def _draw_actor(draw: np.random.Generator, room: float, home: tuple[float, float]) -> Actor:
    kind, motion = _pick(draw, KINDS), _pick(draw, MOTIONS)
    height = float(draw.uniform(1.0, 1.25))
    reach = {"circle": 0.28 * room, "sway": 0.22 * room}.get(motion, max(0.3, 0.5 * room - 0.45))
    period = {"jump": 0.95, "spin": 2.0, "circle": 2.2, "sway": 1.7}.get(motion, 6.0)
    shade = np.clip(1 + 0.06 * draw.standard_normal(3), 0.8, 1.15)
    start = draw.uniform(0.0, 0.05) if motion in ("right", "left", "approach", "fall") else draw.random()
    return Actor(
        kind=kind,
        colour=_pick(draw, COLOURS),
        motion=motion,
        home=(float(home[0]), float(home[1])),
        reach=float(reach),
        height=height,
        period=float(period * draw.uniform(0.85, 1.15)),
        phase=float(start),
        shade=(float(shade[0]), float(shade[1]), float(shade[2])),
        heading=float(draw.uniform(-0.5, 0.5)),
    )


def _pick(draw: np.random.Generator, names: Sequence[Name]) -> Name:
    return names[int(draw.integers(len(names)))]


@dataclass(frozen=True)
class Pose:
    """Where an actor is: its foot point in metres and its turns in radians."""

    x: float
    y: float
    z: float
    yaw: float  # 0 looks at the camera, positive turns to its right in the picture
    lean: float = 0.0  # about the axis that points away from the camera
    rolled: float = 0.0  # how far a ball has turned forwards, the way it is heading


DROP = 1.1  # metres from which an actor falls: its middle is still in the picture


def pose(actor: Actor, seconds: float) -> Pose:
    """The actor's pose at a time; every motion goes on for ever."""
    cycles = seconds / actor.period + actor.phase
    x, y = actor.home
    is_ball = actor.kind == "ball"
    radius = 0.5 * actor.height
    match actor.motion:
        case "right" | "left":
            sign = 1.0 if actor.motion == "right" else -1.0
            along, direction = _to_and_fro(cycles)
            step = 0.05 if actor.kind in WALKERS else 0.0
            bob = step * abs(math.sin(2 * math.pi * seconds / 0.5))
            x += sign * actor.reach * along
            if is_ball:
                return Pose(x, y, 0.0, sign * math.pi / 2, rolled=actor.reach * along / radius)
            return Pose(x, y, bob, sign * direction * 1.05)
        case "jump":
            share = cycles % 1.0
            return Pose(x, y, 0.5 * actor.height * 4 * share * (1 - share) * 1.3, actor.heading)
        case "fall":
            return Pose(x, y, _fall(seconds + 0.1 * actor.phase, DROP), actor.heading)
        case "spin":
            return Pose(x, y, 0.0, 2 * math.pi * cycles)
        case "circle":
            angle = 2 * math.pi * cycles
            x, y = x + actor.reach * math.cos(angle), y + actor.reach * math.sin(angle)
            return Pose(x, y, 0.0, angle + math.pi, rolled=angle * actor.reach / radius if is_ball else 0.0)
        case "sway":
            swing = math.sin(2 * math.pi * cycles)
            if is_ball:
                return Pose(x + actor.reach * swing, y, 0.0, math.pi / 2, rolled=actor.reach * swing / radius)
            return Pose(x + actor.reach * swing, y, 0.0, actor.heading, lean=0.22 * swing)
        case "approach":
            along, direction = _to_and_fro(cycles)
            yaw = 0.0 if direction > 0 or is_ball else math.pi
            return Pose(x, y + 0.7 - 1.2 * along, 0.0, yaw, rolled=1.2 * along / radius if is_ball else 0.0)
    raise AssertionError(actor.motion)


def _to_and_fro(cycles: float) -> tuple[float, float]:
    """(-1 to 1 and back at constant speed, direction of travel): starts at -1."""
    share = cycles % 1.0
    return (4 * share - 1, 1.0) if share < 0.5 else (3 - 4 * share, -1.0)


def _fall(seconds: float, height: float, gravity: float = 5.0, restitution: float = 0.5, rest: float = 2.6) -> float:
    """Height of a dropped body that bounces; it is dropped anew `rest` seconds after the last drop."""
    seconds %= rest + 1.0
    duration = math.sqrt(2 * height / gravity)
    if seconds < duration:
        return height - 0.5 * gravity * seconds**2
    seconds -= duration
    speed = restitution * gravity * duration
    while speed > 0.3:
        flight = 2 * speed / gravity
        if seconds < flight:
            return speed * seconds - 0.5 * gravity * seconds**2
        seconds -= flight
        speed *= restitution
    return 0.0


@dataclass(frozen=True)
class View:
    """Where the camera is and what it looks at, in metres."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]


FIELD_OF_VIEW = math.radians(36)  # vertical


def view(scene: Scene, seconds: float, aspect: float) -> View:
    """The camera at a time; moves ease towards a limit, so that long clips keep the actors in the picture."""
    distance = scene.view_width / (2 * math.tan(FIELD_OF_VIEW / 2)) * max(1.0, 0.92 / aspect)
    progress = math.tanh(0.55 * scene.shot_speed * seconds)
    target_x, target_z, angle, height, factor = 0.0, 0.72, 0.0, scene.camera_height, 1.0
    match scene.shot:
        case "pan_left":
            target_x = 0.4 - 0.8 * progress
        case "pan_right":
            target_x = -0.4 + 0.8 * progress
        case "zoom_in":
            factor = 1.25 - 0.45 * progress
        case "zoom_out":
            factor = 0.85 + 0.5 * progress
        case "orbit":
            angle = -0.6 + 1.2 * progress
        case "rise":
            height = 0.5 + 2.2 * progress
    eye = (distance * factor * math.sin(angle), -distance * factor * math.cos(angle), height)
    return View(eye, (target_x, 0.0, target_z))
