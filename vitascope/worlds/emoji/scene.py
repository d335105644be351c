"""Emoji scenes: the content of clips before rendering, and the poses of actors and camera over time.

Lengths are in shorter sides of the frame at depth 1; times are in seconds. Nothing here depends on a clip's size,
length or rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from vitascope.worlds.emoji.names import Name
from vitascope.worlds.language import CameraMove
from vitascope.worlds.splits import Split, is_within_share

EMOJI_VERSION = 1
Motion = Literal["stay", "right", "left", "approach", "recede", "hop", "rise", "fall", "circle", "sway", "spin"]
Backdrop = Literal[
    "meadow", "beach", "desert", "snow", "sunset", "night", "room", "stage", "sea_floor", "clouds", "moon", "city"
]
MOTIONS, BACKDROPS = get_args(Motion), get_args(Backdrop)
CAMERA_MOVES: tuple[CameraMove, ...] = ("still", "pan_left", "pan_right", "zoom_in", "zoom_out")
T = TypeVar("T")


@dataclass(frozen=True)
class Character:
    """An animated emoji: its code points, its name and the path of its animation."""

    code: str
    name: Name
    path: Path


@dataclass(frozen=True)
class Actor:
    """One actor. It stays within its slot, so the order from left to right never changes."""

    character: Character
    motion: Motion
    slot: float  # centre of its part of the frame's width: -0.5 left to 0.5 right
    depth: float  # 1 in the middle; larger is farther away
    size: float  # length of its longer side, as a share of the available room
    speed: float  # factor of the usual speed
    phase: float  # its animation's time at time 0, in seconds


@dataclass(frozen=True)
class Scene:
    """Complete content of a clip; with size, length and rate it determines the pixels."""

    seed: int
    actors: tuple[Actor, ...]
    place: Backdrop
    variant: int  # seed of the backdrop's colours and shapes
    shot: CameraMove
    shot_speed: float

    @property
    def is_group(self) -> bool:
        """True if there are several actors of the same character, which then have the same motion."""
        return len(self.actors) > 1 and len({actor.character.code for actor in self.actors}) == 1

    def attributes(self) -> dict[str, Any]:
        """Content of the clip in words; actors from left to right."""
        actors = [{"character": a.character.name.en, "code": a.character.code, "motion": a.motion} for a in self.actors]
        return {"actors": actors, "setting": self.place, "camera": self.shot}


def sample_scene(
    characters: Sequence[Character], seed: int, split: Split = "train", held_out_share: float = 0.1
) -> Scene:
    """The scene of a seed; the same characters and seed give the same scene.

    No actor of a training scene is a held-out combination; in a held-out scene the first drawn actor is one. The
    split must not be empty, see `has_combinations`.
    """
    draw = np.random.default_rng([EMOJI_VERSION, seed])
    while True:
        place = _pick(draw, BACKDROPS)
        cast = [(_draw_character(draw, characters), _pick(draw, MOTIONS)) for _ in range(_draw_count(draw))]
        if draw.random() < 0.4 and cast[0][0].name.plural is not None:
            cast = cast[:1] * len(cast)
        held_out = [is_held_out(character, motion, place, held_out_share) for character, motion in cast]
        distinct = len({character.name.en for character, _ in cast}) in (1, len(cast)) and _fits(cast)
        if distinct and (held_out[0] if split == "held_out" else not any(held_out)):
            return _draw_scene(seed, draw, cast, place)


def is_held_out(character: Character, motion: str, place: str, share: float) -> bool:
    """True if a combination is excluded from training; emoji of the same name count as one character."""
    return is_within_share(f"{character.name.en} {motion} {place}", share)


def has_combinations(characters: Sequence[Character], split: Split, share: float) -> bool:
    """True if a split has any combination."""
    every = ((character, motion, place) for character in characters for motion in MOTIONS for place in BACKDROPS)
    return any(is_held_out(*combination, share) == (split == "held_out") for combination in every)


def _draw_character(draw: np.random.Generator, characters: Sequence[Character]) -> Character:
    """A random character; all characters of one name, such as the 24 clocks, count as one."""
    while True:
        character = _pick(draw, characters)
        if draw.random() * sum(other.name.en == character.name.en for other in characters) < 1:
            return character


def _draw_count(draw: np.random.Generator) -> int:
    return int(draw.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))


def _fits(cast: Sequence[tuple[Character, Motion]]) -> bool:
    """True unless a character is repeated with different motions or without a plural."""
    same = len(cast) > 1 and len({character.name.en for character, _ in cast}) == 1
    return not same or (len({*cast}) == 1 and cast[0][0].name.plural is not None)


def _draw_scene(
    seed: int, draw: np.random.Generator, cast: Sequence[tuple[Character, Motion]], place: Backdrop
) -> Scene:
    count = len(cast)
    spacing = {1: 0.0, 2: 0.46, 3: 0.31}[count]
    order = draw.permutation(count)
    group_speed = draw.uniform(0.85, 1.2)
    actors = []
    for index, number in enumerate(order):
        character, motion = cast[number]
        actors.append(
            Actor(
                character=character,
                motion=motion,
                slot=float(spacing * (index - (count - 1) / 2) + draw.uniform(-0.02, 0.02)),
                depth=float(draw.uniform(0.95, 1.1) if count == 1 else draw.uniform(0.95, 1.22)),
                size=float(draw.uniform(0.85, 1.0)),
                speed=float(group_speed * draw.uniform(0.95, 1.05)),
                phase=float(draw.uniform(0.0, 3.0)),
            )
        )
    return Scene(
        seed=seed,
        actors=tuple(actors),
        place=place,
        variant=int(draw.integers(2**31)),
        shot=_pick(draw, ("still", *CAMERA_MOVES)),  # "still" is twice as likely as each move
        shot_speed=float(draw.uniform(0.8, 1.2)),
    )


def _pick(draw: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(draw.integers(len(choices)))]


@dataclass(frozen=True)
class Pose:
    """Pose of an actor: x from the middle of the frame, depth, height above the ground, and rotation."""

    x: float
    depth: float
    lift: float = 0.0
    angle: float = (
        0.0  # clockwise, in radians; swaying actors rotate about their foot, spinning ones about their centre
    )


ROOM_FOR = {"right": 0.75, "left": 0.75, "circle": 0.75, "hop": 0.85, "rise": 0.8, "fall": 0.8, "spin": 0.85}


@dataclass(frozen=True)
class Room:
    """Room of one actor, in shorter sides of the frame: half its range of motion, and its longer side."""

    reach: float
    size: float


def room_of(scene: Scene, actor: Actor, aspect: float) -> Room:
    """Room of an actor in a frame of the given width / height."""
    width = max(1.0, aspect)
    share = width * {1: 0.96, 2: 0.44, 3: 0.295}[len(scene.actors)]
    size = actor.size * min(0.6, 0.92 * share) * ROOM_FOR.get(actor.motion, 1.0)
    least = {1: 0.25, 2: 0.1, 3: 0.06}[len(scene.actors)]
    return Room(reach=max(least, min(0.5 * (share - size), 0.6)), size=size)


def pose(scene: Scene, actor: Actor, seconds: float, aspect: float) -> Pose:
    """Pose of an actor at a time. Travel stops at its destination, so long clips still match their captions."""
    room = room_of(scene, actor, aspect)
    home, time = actor.slot * max(1.0, aspect), seconds * actor.speed
    way = math.tanh(0.75 * time)  # 0 to 1, mostly in the first two seconds
    far = 0.9 if len(scene.actors) == 1 else 0.5
    beat = 2 * math.pi * (time + actor.phase)
    match actor.motion:
        case "stay":
            return Pose(home, actor.depth)
        case "right" | "left":
            sign = 1.0 if actor.motion == "right" else -1.0
            return Pose(home + sign * room.reach * (2 * way - 1), actor.depth)
        case "approach":
            return Pose(home, actor.depth + far * (1 - way) - 0.05)
        case "recede":
            return Pose(home, actor.depth + far * way - 0.05)
        case "hop":
            share = (1.15 * time + actor.phase) % 1.0
            return Pose(home, actor.depth, lift=(0.12 + 0.2 * room.size) * 4 * share * (1 - share))
        case "rise":
            return Pose(home, actor.depth + 0.12, lift=0.34 * way)
        case "fall":
            return Pose(home, actor.depth + 0.1, lift=_bounce(time + 0.02 * actor.phase, height=0.37))
        case "circle":
            angle = 0.42 * beat
            radius = min(room.reach, 0.22)
            return Pose(home + radius * math.cos(angle), actor.depth + 0.05 + 0.2 * math.sin(angle))
        case "sway":
            return Pose(home, actor.depth, angle=0.3 * math.sin(0.62 * beat))
        case "spin":
            return Pose(home, actor.depth, lift=0.03, angle=0.45 * beat)
    raise AssertionError(actor.motion)


def _bounce(seconds: float, height: float, gravity: float = 2.4, restitution: float = 0.5) -> float:
    """Height of a dropped body that bounces until it rests."""
    duration = math.sqrt(2 * height / gravity)
    if seconds < duration:
        return height - 0.5 * gravity * seconds**2
    seconds -= duration
    speed = restitution * gravity * duration
    while speed > 0.08:
        flight = 2 * speed / gravity
        if seconds < flight:
            return speed * seconds - 0.5 * gravity * seconds**2
        seconds -= flight
        speed *= restitution
    return 0.0


@dataclass(frozen=True)
class Viewport:
    """Visible part of the scene: offset of its centre in shorter sides of the frame, and zoom."""

    x: float
    y: float
    zoom: float


PAN = 0.11  # largest offset, as a share of the frame's width
LEAST_ZOOM = 0.8


def viewport(scene: Scene, seconds: float, aspect: float) -> Viewport:
    """Viewport at a time. Moves ease towards a limit, so that long clips keep the actors in the picture."""
    progress = math.tanh(0.7 * scene.shot_speed * seconds)
    width = max(1.0, aspect)
    match scene.shot:
        case "pan_left":
            return Viewport(PAN * width * (1 - 2 * progress), 0.0, 0.86)
        case "pan_right":
            return Viewport(-PAN * width * (1 - 2 * progress), 0.0, 0.86)
        case "zoom_in":
            return Viewport(0.0, 0.03 * progress, LEAST_ZOOM + 0.32 * progress)
        case "zoom_out":
            return Viewport(0.0, 0.03 * (1 - progress), 1.12 - 0.32 * progress)
    return Viewport(0.0, 0.0, 1.0)
