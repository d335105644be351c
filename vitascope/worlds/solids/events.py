"""What can happen in a shot: stories draw their actors, and what each of them does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from vitascope.worlds.solids.cast import MATERIALS
from vitascope.worlds.solids.physics import Body, BodyShape, Experiment, Law, Vector, sample_experiment
from vitascope.worlds.solids.scene import Act, Actor
from vitascope.worlds.solids.words import (
    ACCESSORIES,
    CHARACTERS,
    COLOURS,
    EXPRESSIONS,
    OBJECTS,
    SOLO,
    Colour,
    Kind,
    Material,
    Motion,
)
from vitascope.worlds.solids.words import MATERIALS as MATERIAL_NAMES

Draw = np.random.Generator
Name = TypeVar("Name")

DROP = 1.1  # metres from which an actor falls: its middle is still in the picture
FALL_SECONDS = 0.9  # until it has come down, at 0.7, and been thrown up again
HIDE_PERIOD, OUT_AGAIN = (1.9, 2.3), 0.85  # seconds, and the share of them after which one sees who hid
GIVE_PERIOD, HANDED = (3.6, 4.4), 0.35  # seconds, and the share of them after which a thing has changed hands
PERIODS: dict[Motion, float] = {"jump": 0.95, "spin": 2.0, "circle": 2.2, "sway": 1.7, "wave": 0.7, "right": 6.0}
GROUP_MOTIONS: tuple[Motion, ...] = ("jump", "spin", "sway", "fall")
ALONE_SHARE = 0.75  # of the stories in which everybody does something of their own
BODIES: dict[
    Kind, tuple[BodyShape, Vector]
] = {  # half-sizes for a height of one; a character is a box that stays upright
    "ball": ("sphere", (0.5, 0.5, 0.5)),
    "cube": ("box", (0.5, 0.5, 0.5)),
    "cylinder": ("cylinder", (0.36, 0.36, 0.5)),
    "cone": ("cylinder", (0.3, 0.3, 0.5)),
    **dict.fromkeys(CHARACTERS, ("box", (0.25, 0.2, 0.5))),
}


@dataclass(frozen=True)
class Story:
    """Who, and what each does; `view_width` is how many metres the camera has to show."""

    actors: tuple[Actor, ...]
    acts: tuple[Act, ...]
    view_width: float
    experiment: Experiment | None = None


class Plot(NamedTuple):
    """A kind of story: how it is drawn, and how often, at full variety."""

    tell: Callable[[Draw, float], Story]
    share: float
    seconds: float = 0.0  # until what is told of it has happened


def draw_story(draw: Draw, variety: float, seconds: float) -> Story:
    """A story with its actors, of which everything that is told happens within so many seconds."""
    u = draw.random() / max(variety, 1e-9)
    for plot in PLOTS.values():
        if u < plot.share and plot.seconds <= seconds:
            return _with_falls(draw, plot.tell(draw, variety))
        u -= plot.share
    while True:
        story = _apart(draw, variety)
        if seconds >= FALL_SECONDS or all(act.motion != "fall" for act in story.acts):
            return _with_falls(draw, story)


def has_sequel(story: Story) -> bool:
    """Whether everybody does something of their own, so that they can do something else after a cut."""
    return all(act.partner is None and act.motion in (*SOLO, "wave") for act in story.acts)


def draw_sequel(draw: Draw, story: Story) -> Story:
    """What the actors of a story that has a sequel do after a cut: something else."""
    before = story.acts[0].motion
    same = len({act.motion for act in story.acts}) == 1 and len(story.acts) > 1
    shared: Motion = pick(draw, [motion for motion in GROUP_MOTIONS if motion not in ("fall", before)])
    acts = []
    for actor, act in zip(story.actors, story.acts, strict=True):
        others: list[Motion] = [motion for motion in _motions(actor) if motion not in (act.motion, "fall")]
        motion = shared if same else pick(draw, others)
        acts.append(_own_act(draw, motion, _room(story), act.home))
    return replace(story, acts=tuple(acts), experiment=None)


def _room(story: Story) -> float:
    return story.view_width * (1.0 if len(story.acts) == 1 else 0.42)


def _apart(draw: Draw, variety: float) -> Story:
    """One actor, or two side by side, each doing something of its own."""
    width = float(draw.uniform(2.3, 2.7))
    if draw.random() < ALONE_SHARE:
        actor = _draw_actor(draw, variety)
        act = _own_act(draw, pick(draw, _motions(actor)), width, (_between(draw, -0.2, 0.2), _between(draw, -0.2, 0.2)))
        return Story((actor,), (act,), width)
    width *= 1.3
    side, gap = draw.choice([-1.0, 1.0]), 0.26 * width
    actors = _draw_different(draw, variety)
    homes = ((float(side * gap), 0.0), (float(-side * gap), _between(draw, 0.0, 0.5)))
    acts = tuple(
        _own_act(draw, pick(draw, _motions(actor)), 0.42 * width, home)
        for actor, home in zip(actors, homes, strict=True)
    )
    return Story(actors, acts, width)


def _group(draw: Draw, variety: float) -> Story:
    """Two to four of a kind, all doing the same."""
    count = int(draw.integers(2, 5))
    actor = _draw_actor(draw, variety)
    motion = pick(draw, GROUP_MOTIONS)
    spacing = max(1.0, 0.2 + 2 * actor.height * BODIES[actor.kind][1][0])  # so that nobody falls into a neighbour
    shared = _own_act(draw, motion, 1.6, (0.0, 0.0))
    acts = [
        replace(
            shared,
            home=(spacing * (k - 0.5 * (count - 1)) + _between(draw, -0.06, 0.06), _between(draw, -0.25, 0.25)),
            phase=_between(draw, 0.0, 0.3),
        )
        for k in range(count)
    ]
    return Story((actor,) * count, tuple(acts), spacing * count + 0.7)


def _chase(draw: Draw, variety: float) -> Story:
    """One character runs after another, round and round."""
    actors = _draw_different(draw, variety, CHARACTERS, CHARACTERS)
    round_course = Act("chase", (0.0, 0.1), 1.0, period=_between(draw, 2.6, 3.4), phase=_between(draw, 0.0, 1.0))
    lead = 0.2 * float(draw.uniform(0.9, 1.2))
    flight = replace(round_course, motion="flee", phase=round_course.phase + lead)
    return Story(actors, (replace(round_course, partner=1), flight), 3.3)


def _orbit(draw: Draw, variety: float) -> Story:
    """A character goes round something that stands still."""
    actors = _draw_different(draw, variety, CHARACTERS, (*CHARACTERS, *OBJECTS))
    course = Act("orbit", (0.0, 0.2), 1.05, period=_between(draw, 2.4, 3.2), phase=draw.random(), partner=1)
    return Story(actors, (course, Act("stand", (0.0, 0.2), heading=_between(draw, -0.4, 0.4))), 3.2)


def _hide(draw: Draw, variety: float) -> Story:
    """A character goes behind a wall, waits, and comes out on the other side."""
    wall = Actor("wall", pick(draw, COLOURS), _between(draw, 1.25, 1.35), _draw_shade(draw))
    character = _draw_actor(draw, variety, CHARACTERS)
    while character.colour == wall.colour:
        character = _draw_actor(draw, variety, CHARACTERS)
    character = replace(character, height=_between(draw, 0.85, 1.0))
    side = float(draw.choice([-1.0, 1.0]))
    walk = Act("hide", (0.0, 0.55), 1.25 * side, period=_between(draw, *HIDE_PERIOD), partner=1)
    return Story((character, wall), (walk, Act("stand")), 3.1)


def _give(draw: Draw, variety: float) -> Story:
    """A character hands a small thing to another."""
    first, second = _draw_different(draw, variety, CHARACTERS, CHARACTERS)
    first, second = replace(first, height=1.1), replace(second, height=1.1)
    gift = replace(_draw_actor(draw, variety, ("ball", "cube")), height=0.3)
    while gift.colour in (first.colour, second.colour):
        gift = replace(gift, colour=pick(draw, COLOURS))
    side, period = float(draw.choice([-1.0, 1.0])), _between(draw, *GIVE_PERIOD)
    gap, hands = 0.72, 0.28
    giver = Act("give", (-side * gap, 0.0), period=period, heading=side * 0.5 * math.pi, partner=1)
    taker = Act("take", (side * gap, 0.0), period=period, heading=-side * 0.5 * math.pi)
    carried = Act("carried", (-side * (gap - hands), 0.0), 2 * side * (gap - hands), 0.42, period, partner=0)
    return Story((first, second, gift), (giver, taker, carried), 2.7)


def _collide(draw: Draw, variety: float) -> Story:
    """A ball rolls into another ball."""
    colours = draw.permutation(len(COLOURS))[:2].tolist()
    return _mechanical(draw, "collision", ("collide", "stand"), [COLOURS[c] for c in colours], 3.4)


def _ramp(draw: Draw, variety: float) -> Story:
    """A ball rolls down a ramp."""
    return _mechanical(draw, "ramp", ("ramp",), [pick(draw, COLOURS)], 3.2)


def _swing(draw: Draw, variety: float) -> Story:
    """A ball swings from a rod."""
    return _mechanical(draw, "pendulum", ("swing",), [pick(draw, COLOURS)], 3.2)


def _topple(draw: Draw, variety: float) -> Story:
    """A row of dominoes falls over, one after another."""
    return _mechanical(draw, "topple", ("topple",) * 5, [pick(draw, COLOURS)] * 5, 3.2)


PLOTS = {
    "group": Plot(_group, 0.09, seconds=FALL_SECONDS),
    "chase": Plot(_chase, 0.07),
    "orbit": Plot(_orbit, 0.05),
    "hide": Plot(_hide, 0.07, seconds=OUT_AGAIN * HIDE_PERIOD[1]),
    "give": Plot(_give, 0.06, seconds=HANDED * GIVE_PERIOD[1]),
    "collide": Plot(_collide, 0.07, seconds=1.2),  # a collision's balls meet after 0.7 to 0.9
    "ramp": Plot(_ramp, 0.05),
    "swing": Plot(_swing, 0.05),
    "topple": Plot(_topple, 0.04, seconds=1.5),
}


def _mechanical(draw: Draw, law: Law, motions: Sequence[Motion], colours: Sequence[Colour], view_width: float) -> Story:
    """A story whose actors are an experiment's bodies, of what they are made of."""
    experiment = sample_experiment(law, draw)
    material: Material = "plastic" if law == "topple" else pick(draw, MATERIAL_NAMES)
    matter, shade = MATERIALS[material], _draw_shade(draw)
    if law == "collision":
        experiment = _of_one_stuff(experiment, matter.density)
        experiment = replace(experiment, restitution=max(0.4, matter.restitution), friction=matter.friction)
    kind: Kind = "domino" if law == "topple" else "ball"
    actors = tuple(
        Actor(kind, colour, 2 * body.size[2], shade, material)
        for colour, body in zip(colours, experiment.bodies, strict=True)
    )
    partners = [1 if motion == "collide" else None for motion in motions]
    acts = tuple(
        Act(motion, (body.position[0], body.position[1]), partner=partner)
        for motion, body, partner in zip(motions, experiment.bodies, partners, strict=True)
    )
    return Story(actors, acts, view_width, experiment)


def _of_one_stuff(collision: Experiment, density: float) -> Experiment:
    """The same collision, at the same time, with the resting ball as large as its mass makes it."""
    moving, resting = collision.bodies
    radius = moving.size[0]
    other = radius * (resting.mass / moving.mass) ** (1 / 3)
    # balls on the ground touch when their middles are 2 sqrt(r1 r2) apart along it
    further = math.copysign(2 * math.sqrt(radius * other) - 2 * radius, resting.position[0] - moving.position[0])
    resting = replace(
        resting,
        size=(other, other, other),
        position=(resting.position[0] + further, resting.position[1], other),
    )
    bodies = tuple(replace(body, mass=density * body.size[0] ** 3) for body in (moving, resting))
    return replace(collision, bodies=bodies)


def _with_falls(draw: Draw, story: Story) -> Story:
    """The story with its falls simulated: each body falls on its own, so they stand apart."""
    falling = [(actor, act) for actor, act in zip(story.actors, story.acts, strict=True) if act.motion == "fall"]
    if not falling:
        return story
    bodies = tuple(_falling_body(draw, actor, act) for actor, act in falling)
    return replace(story, experiment=Experiment("bounce", bodies))


def _falling_body(draw: Draw, actor: Actor, act: Act) -> Body:
    shape, half = BODIES[actor.kind]
    size = tuple(actor.height * side for side in half)
    tumbles = actor.kind in ("cube", "cylinder")
    spin: Vector = (0.0, 0.0, 0.0)
    if tumbles:
        spin = (_between(draw, -0.1, 0.1), _between(draw, -0.9, 0.9), _between(draw, -0.3, 0.3))
    position = (*act.home, act.lift + size[2])
    matter = MATERIALS[actor.material]
    return Body(
        shape,
        (size[0], size[1], size[2]),
        position,
        spin=spin,
        mass=matter.density,
        restitution=matter.restitution,
        friction=matter.friction,
    )


def _own_act(draw: Draw, motion: Motion, room: float, home: tuple[float, float]) -> Act:
    """What an actor does by itself, within `room` metres."""
    reach = {"circle": 0.28 * room, "sway": 0.22 * room}.get(motion, max(0.3, 0.5 * room - 0.45))
    crosses = motion in ("right", "left", "approach", "leave")
    return Act(
        motion,
        home,
        float(reach),
        lift=DROP if motion == "fall" else 0.0,
        period=PERIODS.get(motion, PERIODS["right"]) * _between(draw, 0.85, 1.15),
        phase=_between(draw, 0.0, 0.05) if crosses else draw.random(),
        heading=_between(draw, -0.5, 0.5),
    )


def _motions(actor: Actor) -> tuple[Motion, ...]:
    return (*SOLO, "wave") if actor.kind in CHARACTERS else SOLO


def _draw_different(
    draw: Draw,
    variety: float,
    first: Sequence[Kind] = (*CHARACTERS, *OBJECTS),
    second: Sequence[Kind] = (*CHARACTERS, *OBJECTS),
) -> tuple[Actor, Actor]:
    """Two actors that a caption can tell apart."""
    one = _draw_actor(draw, variety, first)
    while True:
        other = _draw_actor(draw, variety, second)
        if (one.kind, one.colour) != (other.kind, other.colour):
            return one, other


def _draw_actor(draw: Draw, variety: float, kinds: Sequence[Kind] = (*CHARACTERS, *OBJECTS)) -> Actor:
    kind = pick(draw, kinds)
    character = kind in CHARACTERS
    dressed, moved, special = (draw.random() < variety * share for share in (0.4, 0.4, 0.5))
    return Actor(
        kind=kind,
        colour=pick(draw, COLOURS),
        height=_between(draw, 1.0, 1.25) * (1.0 if character else 0.85),
        shade=_draw_shade(draw),
        material=pick(draw, MATERIAL_NAMES) if special and not character else "plastic",
        accessory=pick(draw, ACCESSORIES) if dressed and character else None,
        expression=pick(draw, EXPRESSIONS) if moved and character else None,
    )


def _draw_shade(draw: Draw) -> tuple[float, float, float]:
    red, green, blue = np.clip(1 + 0.06 * draw.standard_normal(3), 0.8, 1.15).tolist()
    return red, green, blue


def _between(draw: Draw, low: float, high: float) -> float:
    return float(draw.uniform(low, high))


def pick(draw: Draw, names: Sequence[Name]) -> Name:
    """One of the names, each as likely as the others."""
    return names[int(draw.integers(len(names)))]
