"""Random scenes from seeds, and the held-out combinations."""

from __future__ import annotations

import itertools
import math

import numpy as np

from vitascope.errors import ConfigError
from vitascope.worlds.language import CAMERA_MOVES, CameraMove
from vitascope.worlds.solids.events import Draw, Event, can_continue, draw_event, draw_next_event, pick
from vitascope.worlds.solids.scene import WORLD_VERSION, Scene, Shot
from vitascope.worlds.solids.words import (
    COLOURS,
    INDOORS,
    KINDS,
    MOTIONS,
    SETTINGS,
    STYLES,
    TIMES,
    WEATHERS,
    Setting,
    Style,
)
from vitascope.worlds.splits import Split, is_within_share

SHARES = {"more shots": 0.35, "weather": 0.25, "style": 0.2}  # shares of the eligible clips, at full variety
STILL_SHARE = 0.5  # share of still cameras in shots that allow one
MIN_SHOT = 0.8  # seconds
CUT_JITTER = 0.15  # as a share of a shot's length
MAX_DRAWS = 20_000  # maximum number of scenes rejected for the wrong split
LEVEL: tuple[CameraMove, ...] = ("zoom_in", "zoom_out", "pan_left", "pan_right")  # moves that don't look over a wall
FRAMED: tuple[CameraMove, ...] = tuple(camera for camera in CAMERA_MOVES if camera not in ("still", "follow", "close"))


def sample_scene(
    seed: int,
    split: Split = "train",
    held_out_share: float = 0.1,
    variety: float = 1.0,
    seconds: float = math.inf,
) -> Scene:
    """The scene of a seed for clips of `seconds`; the same arguments give the same scene.

    All captioned actions are complete within `seconds`, so shorter clips have fewer shots and kinds of events.

    `variety`, 0 to 1, scales the frequency of shots after the first, interactions, accessories, expressions, materials,
    weather and styles. 0 leaves independent actions of plain actors in one shot.

    No actor of a training scene is a held-out combination. In a held-out scene, the first actor is one
    in the first shot. `count_combinations` counts the combinations of a split.

    Raises:
        ConfigError: no scene of the split was found at this share.
    """
    draw = np.random.default_rng([WORLD_VERSION, seed])
    for _ in range(MAX_DRAWS):
        scene = _draw_scene(seed, draw, variety, seconds)
        held_out = [
            is_held_out(actor.colour, actor.kind, act.motion, shot.place, held_out_share)
            for shot in scene.shots
            for actor, act in zip(scene.actors, shot.acts, strict=True)
        ]
        if held_out[0] if split == "held_out" else not any(held_out):
            return scene
    raise ConfigError(f"held_out_share {held_out_share}: no scene of the split {split!r} found; choose another share")


def is_held_out(colour: str, kind: str, motion: str, place: str, share: float) -> bool:
    """True if a combination is excluded from training; a hash decides, so the result never changes."""
    return is_within_share(f"{colour} {kind} {motion} {place}", share)


def count_combinations(split: Split, share: float) -> int:
    """Number of combinations of colour, kind, motion and setting in a split."""
    every = itertools.product(COLOURS, KINDS, MOTIONS, SETTINGS)
    return sum(is_held_out(*combination, share) == (split == "held_out") for combination in every)


def _draw_scene(seed: int, draw: Draw, variety: float, seconds: float) -> Scene:
    wanted = 1 + int(draw.random() < variety * SHARES["more shots"]) * int(draw.integers(1, 3))
    num_shots = max(n for n in range(1, wanted + 1) if n == 1 or _shortest_shot(seconds, n) >= MIN_SHOT)
    events = [draw_event(draw, variety, _shortest_shot(seconds, num_shots))]
    while len(events) < num_shots and can_continue(events[-1]):
        events.append(draw_next_event(draw, events[-1]))
    first, num_shots = events[0], len(events)
    shots = [_draw_shot(draw, events[0], None)]
    for event in events[1:]:
        shots.append(_draw_shot(draw, event, shots[-1]))
    cuts = [(k + float(draw.uniform(-CUT_JITTER, CUT_JITTER))) / num_shots for k in range(1, num_shots)]
    outdoors = all(shot.place not in INDOORS for shot in shots)
    styles: list[Style] = [style for style in STYLES[1:] if style != "noir" or _differ_in_kind(first)]
    shade = 1 + 0.05 * draw.standard_normal() + 0.015 * draw.standard_normal(3)  # varies brightness, and tint a little
    return Scene(
        seed=seed,
        actors=first.actors,
        shots=tuple(shots),
        cuts=tuple(cuts),
        time=pick(draw, ("day", "day", *TIMES)),
        weather=pick(draw, WEATHERS[1:]) if draw.random() < variety * SHARES["weather"] and outdoors else "clear",
        style=pick(draw, styles) if draw.random() < variety * SHARES["style"] else "plain",
        light=(float(draw.uniform(-0.9, 0.9)), float(draw.uniform(0.7, 1.1))),
        ground_shade=(float(shade[0]), float(shade[1]), float(shade[2])),
    )


def _differ_in_kind(event: Event) -> bool:
    """True if no two different actors are of the same kind, so that they are distinguishable without colours."""
    return len({actor.kind for actor in event.actors}) == len(set(event.actors))


def _shortest_shot(seconds: float, num_shots: int) -> float:
    """Shortest possible shot of a clip, in seconds; a middle shot can be shortened by both of its cuts."""
    return seconds * (1 - (0 if num_shots == 1 else 1 if num_shots == 2 else 2) * CUT_JITTER) / num_shots


def _draw_shot(draw: Draw, event: Event, before: Shot | None) -> Shot:
    """A shot of an event. After a cut it keeps the setting with probability 0.5 and always changes the camera."""
    stays = before is not None and draw.random() < 0.5
    place: Setting = before.place if before is not None and stays else pick(draw, SETTINGS)
    can_be_still = before is None or before.camera != "still"
    moves: list[CameraMove] = [camera for camera in _moves(event) if before is None or camera != before.camera]
    return Shot(
        acts=event.acts,
        place=place,
        camera="still" if can_be_still and draw.random() < STILL_SHARE else pick(draw, moves),
        camera_height=float(draw.uniform(1.0, 1.7)),
        camera_speed=float(draw.uniform(0.8, 1.2)),
        view_width=event.view_width * float(draw.uniform(0.92, 1.08)),
        experiment=event.experiment,
    )


def _moves(event: Event) -> tuple[CameraMove, ...]:
    """Camera moves that suit an event."""
    motions = {act.motion for act in event.acts}
    if "hide" in motions:
        return LEVEL
    more: tuple[CameraMove, ...] = ()
    if len(event.acts) == 1:
        if motions & {"right", "left", "circle"}:
            more = ("follow", "follow")
        if motions & {"wave", "sway", "spin"}:
            more = ("close",)
    return (*FRAMED, *more)
