"""Parts of captions that both languages share: verbosity, groups of actors and random choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vitascope.worlds.language import Language
from vitascope.worlds.solids.phrases import MOTION_PHRASES_EN
from vitascope.worlds.solids.scene import Action, Actor, Scene, Shot
from vitascope.worlds.solids.words import INDOORS, PASSIVE, TIME_PHRASES

MOONLIT = ("under the moon", "月光下")  # only outdoors without fog
IN_FRONT = ("glasses", "bow")  # accessories that are invisible from behind


class Verbosity(NamedTuple):
    """Detail of a caption: the probability of mentioning each optional fact.

    Unusual facts are always mentioned: night, weather, a style, a moving camera. A model thus learns that facts a
    prompt omits are ordinary.
    """

    appearance: float  # materials, accessories, expressions
    place: float
    day: float  # daytime
    still: float  # a still camera


SHORT = Verbosity(appearance=0.3, place=0.4, day=0.2, still=0.0)
PLAIN = Verbosity(appearance=0.7, place=0.75, day=0.6, still=0.4)
DETAILED = Verbosity(1.0, 1.0, 1.0, 1.0)


class Group(NamedTuple):
    """Consecutive identical actors with the same motion, described by one clause."""

    actor: Actor
    act: Action
    count: int


def groups(scene: Scene, shot: Shot) -> list[Group]:
    """Groups of actors in caption order, without partners, which another actor's clause names."""
    found: list[Group] = []
    partners = {act.partner for act in shot.acts}
    for number, (actor, act) in enumerate(zip(scene.actors, shot.acts, strict=True)):
        if act.motion in PASSIVE and (number in partners or act.partner is not None):
            continue
        if found and (found[-1].actor, found[-1].act.motion) == (actor, act.motion):
            found[-1] = found[-1]._replace(count=found[-1].count + 1)
        else:
            found.append(Group(actor, act, 1))
    return found


def manner(group: Group) -> str:
    """Key into the motion phrases: the motion, or its variant for a ball."""
    motion = group.act.motion
    return f"{motion} ball" if group.actor.kind == "ball" and f"{motion} ball" in MOTION_PHRASES_EN else motion


def time_phrase(scene: Scene, language: Language, verbosity: Verbosity, draw: np.random.Generator) -> str:
    """Phrase for the time of day; empty if the day is left implicit."""
    if scene.time == "day" and not mentions(draw, verbosity.day):
        return ""
    hidden = scene.weather == "fog" or any(shot.place in INDOORS for shot in scene.shots)
    return pick(draw, [phrase for phrase in TIME_PHRASES[language][scene.time] if not (hidden and phrase in MOONLIT)])


def shows_face(scene: Scene, actor: Actor) -> bool:
    """True unless the actor only walks away from the camera."""
    acts = [act for shot in scene.shots for other, act in zip(scene.actors, shot.acts, strict=True) if other == actor]
    return any(act.motion != "leave" for act in acts)


def counted_actors(scene: Scene) -> list[tuple[Actor, int]]:
    """Distinct actors of a scene with their counts."""
    counts: dict[Actor, int] = {}
    for actor in scene.actors:
        counts[actor] = counts.get(actor, 0) + 1
    return list(counts.items())


def add(text: str, more: str, joiner: str) -> str:
    """The text with more text appended, unless that is empty."""
    return f"{text}{joiner}{more}" if more else text


def mentions(draw: np.random.Generator, share: float) -> bool:
    """True with a probability of `share`."""
    return bool(draw.random() < share)


def pick(draw: np.random.Generator, choices: Sequence[str]) -> str:
    """A uniformly drawn choice."""
    return choices[int(draw.integers(len(choices)))]
