"""Drawing scenes from seeds, and keeping combinations from training."""

from __future__ import annotations

import itertools
import math

import numpy as np

from vitascope.errors import ConfigError
from vitascope.worlds.solids.events import Draw, Story, draw_sequel, draw_story, has_sequel, pick
from vitascope.worlds.solids.scene import WORLD_VERSION, Scene, Shot
from vitascope.worlds.solids.words import (
    CAMERAS,
    COLOURS,
    INDOORS,
    KINDS,
    MOTIONS,
    PLACES,
    STYLES,
    TIMES,
    WEATHERS,
    Camera,
    Place,
    Style,
)
from vitascope.worlds.splits import Split, is_within_share

SHARES = {"more shots": 0.35, "weather": 0.25, "style": 0.2}  # at full variety, of the clips that can have it
STILL_SHARE = 0.5  # of the shots that can be filmed by a still camera
MIN_SHOT = 0.8  # seconds
CUT_JITTER = 0.15  # of a shot's length
MAX_DRAWS = 20_000  # of scenes that are in the other split
LEVEL: tuple[Camera, ...] = ("zoom_in", "zoom_out", "pan_left", "pan_right")  # these don't look over a wall
FRAMED: tuple[Camera, ...] = tuple(camera for camera in CAMERAS if camera not in ("still", "follow", "close"))


def sample_scene(
    seed: int,
    split: Split = "train",
    held_out_share: float = 0.1,
    variety: float = 1.0,
    seconds: float = math.inf,
) -> Scene:
    """The scene of a seed: always the same one for clips of so many `seconds`.

    Within them everything happens that its captions tell; shorter clips have fewer shots and stories.

    `variety` from 0 to 1 is how often there is more to see than actors who each do something of their own, in one
    shot, plainly dressed and drawn, in clear weather.

    No actor of a training scene is ever a held-out combination; in a held-out scene the first actor is one from the
    start. A share that leaves the split without any combination has no scene: see `count_combinations`.

    Raises:
        ConfigError: a share of which no scene is found, since what it holds back, or leaves, never happens.
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
    """Whether a combination is kept from training: by a hash, so the answer never changes."""
    return is_within_share(f"{colour} {kind} {motion} {place}", share)


def count_combinations(split: Split, share: float) -> int:
    """How many combinations of colour, kind, motion and place fall in a split."""
    every = itertools.product(COLOURS, KINDS, MOTIONS, PLACES)
    return sum(is_held_out(*combination, share) == (split == "held_out") for combination in every)


def _draw_scene(seed: int, draw: Draw, variety: float, seconds: float) -> Scene:
    wanted = 1 + int(draw.random() < variety * SHARES["more shots"]) * int(draw.integers(1, 3))
    num_shots = max(n for n in range(1, wanted + 1) if n == 1 or _shortest_shot(seconds, n) >= MIN_SHOT)
    stories = [draw_story(draw, variety, _shortest_shot(seconds, num_shots))]
    while len(stories) < num_shots and has_sequel(stories[-1]):
        stories.append(draw_sequel(draw, stories[-1]))
    first, num_shots = stories[0], len(stories)
    shots = [_draw_shot(draw, stories[0], None)]
    for story in stories[1:]:
        shots.append(_draw_shot(draw, story, shots[-1]))
    cuts = [(k + float(draw.uniform(-CUT_JITTER, CUT_JITTER))) / num_shots for k in range(1, num_shots)]
    outdoors = all(shot.place not in INDOORS for shot in shots)
    styles: list[Style] = [style for style in STYLES[1:] if style != "noir" or _differ_in_kind(first)]
    shade = 1 + 0.05 * draw.standard_normal() + 0.015 * draw.standard_normal(3)  # bright or dark, hardly tinted
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


def _differ_in_kind(story: Story) -> bool:
    """Whether actors that aren't alike can be told apart without colours."""
    return len({actor.kind for actor in story.actors}) == len(set(story.actors))


def _shortest_shot(seconds: float, num_shots: int) -> float:
    """Seconds of the shortest shot that a clip can have; the one between two cuts can lose at both."""
    return seconds * (1 - (0 if num_shots == 1 else 1 if num_shots == 2 else 2) * CUT_JITTER) / num_shots


def _draw_shot(draw: Draw, story: Story, before: Shot | None) -> Shot:
    """A story filmed somewhere; after a cut half the time in the same place, and never by the same camera."""
    stays = before is not None and draw.random() < 0.5
    place: Place = before.place if before is not None and stays else pick(draw, PLACES)
    can_be_still = before is None or before.camera != "still"
    moves: list[Camera] = [camera for camera in _moves(story) if before is None or camera != before.camera]
    return Shot(
        acts=story.acts,
        place=place,
        camera="still" if can_be_still and draw.random() < STILL_SHARE else pick(draw, moves),
        camera_height=float(draw.uniform(1.0, 1.7)),
        camera_speed=float(draw.uniform(0.8, 1.2)),
        view_width=story.view_width * float(draw.uniform(0.92, 1.08)),
        experiment=story.experiment,
    )


def _moves(story: Story) -> tuple[Camera, ...]:
    """Which cameras that aren't still serve a story."""
    motions = {act.motion for act in story.acts}
    if "hide" in motions:
        return LEVEL
    more: tuple[Camera, ...] = ()
    if len(story.acts) == 1:
        if motions & {"right", "left", "circle"}:
            more = ("follow", "follow")
        if motions & {"wave", "sway", "spin"}:
            more = ("close",)
    return (*FRAMED, *more)
