"""Events of a shot: random actors and the action of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from vitascope.worlds.solids.cast import MATERIALS
from vitascope.worlds.solids.physics import Body, BodyShape, Experiment, Law, Vector, sample_experiment
from vitascope.worlds.solids.scene import Action, Actor
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

DROP = 1.1  # metres of a fall; the actor's centre starts inside the picture
FALL_SECONDS = 0.9  # an actor lands after 0.7 s and then rebounds
HIDE_PERIOD, OUT_AGAIN = (1.9, 2.3), 0.85  # seconds, and the share of the period after which the actor reappears
GIVE_PERIOD, HANDED = (3.6, 4.4), 0.35  # seconds, and the share of the period after which the gift has changed hands
PERIODS: dict[Motion, float] = {"jump": 0.95, "spin": 2.0, "circle": 2.2, "sway": 1.7, "wave": 0.7, "right": 6.0}
GROUP_MOTIONS: tuple[Motion, ...] = ("jump", "spin", "sway", "fall")
ALONE_SHARE = 0.75  # share of single actors among events with independent actions
BODIES: dict[Kind, tuple[BodyShape, Vector]] = {  # half-sizes for a height of 1; characters are boxes that stay upright
    "ball": ("sphere", (0.5, 0.5, 0.5)),
    "cube": ("box", (0.5, 0.5, 0.5)),
    "cylinder": ("cylinder", (0.36, 0.36, 0.5)),
    "cone": ("cylinder", (0.3, 0.3, 0.5)),
    **dict.fromkeys(CHARACTERS, ("box", (0.25, 0.2, 0.5))),
}


@dataclass(frozen=True)
class Event:
    """Actors and their actions; `view_width` is the width in metres that the camera must show."""

    actors: tuple[Actor, ...]
    acts: tuple[Action, ...]
    view_width: float
    experiment: Experiment | None = None


class EventKind(NamedTuple):
    """A kind of event: its random generator and its share of all events at full variety."""

    draw: Callable[[Draw, float], Event]
    share: float
    seconds: float = 0.0  # time until the captioned action is complete


def draw_event(draw: Draw, variety: float, seconds: float) -> Event:
    """A random event whose captioned actions are complete within `seconds`."""
    u = draw.random() / max(variety, 1e-9)
    for event_kind in EVENT_KINDS.values():
        if u < event_kind.share and event_kind.seconds <= seconds:
            return _with_falls(draw, event_kind.draw(draw, variety))
        u -= event_kind.share
    while True:
        event = _apart(draw, variety)
        if seconds >= FALL_SECONDS or all(act.motion != "fall" for act in event.acts):
            return _with_falls(draw, event)


def can_continue(event: Event) -> bool:
    """True if all actions are independent, so that the actors can change them after a cut."""
    return all(act.partner is None and act.motion in (*SOLO, "wave") for act in event.acts)


def draw_next_event(draw: Draw, event: Event) -> Event:
    """An event of the same actors after a cut, with other actions. Requires `can_continue`."""
    before = event.acts[0].motion
    same = len({act.motion for act in event.acts}) == 1 and len(event.acts) > 1
    shared: Motion = pick(draw, [motion for motion in GROUP_MOTIONS if motion not in ("fall", before)])
    acts = []
    for actor, act in zip(event.actors, event.acts, strict=True):
        others: list[Motion] = [motion for motion in _motions(actor) if motion not in (act.motion, "fall")]
        motion = shared if same else pick(draw, others)
        acts.append(_own_act(draw, motion, _room(event), act.home))
    return replace(event, acts=tuple(acts), experiment=None)


def _room(event: Event) -> float:
    return event.view_width * (1.0 if len(event.acts) == 1 else 0.42)


def _apart(draw: Draw, variety: float) -> Event:
    """One actor, or two next to each other, with independent actions."""
    width = float(draw.uniform(2.3, 2.7))
    if draw.random() < ALONE_SHARE:
        actor = _draw_actor(draw, variety)
        act = _own_act(draw, pick(draw, _motions(actor)), width, (_between(draw, -0.2, 0.2), _between(draw, -0.2, 0.2)))
        return Event((actor,), (act,), width)
    width *= 1.3
    side, gap = draw.choice([-1.0, 1.0]), 0.26 * width
    actors = _draw_different(draw, variety)
    homes = ((float(side * gap), 0.0), (float(-side * gap), _between(draw, 0.0, 0.5)))
    acts = tuple(
        _own_act(draw, pick(draw, _motions(actor)), 0.42 * width, home)
        for actor, home in zip(actors, homes, strict=True)
    )
    return Event(actors, acts, width)


def _group(draw: Draw, variety: float) -> Event:
    """Two to four identical actors with the same action."""
    count = int(draw.integers(2, 5))
    actor = _draw_actor(draw, variety)
    motion = pick(draw, GROUP_MOTIONS)
    spacing = max(
        1.0, 0.2 + 2 * actor.height * BODIES[actor.kind][1][0]
    )  # so that falling actors clear their neighbours
    shared = _own_act(draw, motion, 1.6, (0.0, 0.0))
    acts = [
        replace(
            shared,
            home=(spacing * (k - 0.5 * (count - 1)) + _between(draw, -0.06, 0.06), _between(draw, -0.25, 0.25)),
            phase=_between(draw, 0.0, 0.3),
        )
        for k in range(count)
    ]
    return Event((actor,) * count, tuple(acts), spacing * count + 0.7)


def _chase(draw: Draw, variety: float) -> Event:
    """One character chases another in a circle."""
    actors = _draw_different(draw, variety, CHARACTERS, CHARACTERS)
    chase_action = Action("chase", (0.0, 0.1), 1.0, period=_between(draw, 2.6, 3.4), phase=_between(draw, 0.0, 1.0))
    lead = 0.2 * float(draw.uniform(0.9, 1.2))
    flight = replace(chase_action, motion="flee", phase=chase_action.phase + lead)
    return Event(actors, (replace(chase_action, partner=1), flight), 3.3)


def _orbit(draw: Draw, variety: float) -> Event:
    """A character circles a standing actor."""
    actors = _draw_different(draw, variety, CHARACTERS, (*CHARACTERS, *OBJECTS))
    orbit_action = Action("orbit", (0.0, 0.2), 1.05, period=_between(draw, 2.4, 3.2), phase=draw.random(), partner=1)
    return Event(actors, (orbit_action, Action("stand", (0.0, 0.2), heading=_between(draw, -0.4, 0.4))), 3.2)


def _hide(draw: Draw, variety: float) -> Event:
    """A character walks behind a wall, waits there and emerges on the other side."""
    wall = Actor("wall", pick(draw, COLOURS), _between(draw, 1.25, 1.35), _draw_shade(draw))
    character = _draw_actor(draw, variety, CHARACTERS)
    while character.colour == wall.colour:
        character = _draw_actor(draw, variety, CHARACTERS)
    character = replace(character, height=_between(draw, 0.85, 1.0))
    side = float(draw.choice([-1.0, 1.0]))
    walk = Action("hide", (0.0, 0.55), 1.25 * side, period=_between(draw, *HIDE_PERIOD), partner=1)
    return Event((character, wall), (walk, Action("stand")), 3.1)


def _give(draw: Draw, variety: float) -> Event:
    """A character hands a ball or cube to another."""
    first, second = _draw_different(draw, variety, CHARACTERS, CHARACTERS)
    first, second = replace(first, height=1.1), replace(second, height=1.1)
    gift = replace(_draw_actor(draw, variety, ("ball", "cube")), height=0.3)
    while gift.colour in (first.colour, second.colour):
        gift = replace(gift, colour=pick(draw, COLOURS))
    side, period = float(draw.choice([-1.0, 1.0])), _between(draw, *GIVE_PERIOD)
    gap, hands = 0.72, 0.28
    giver = Action("give", (-side * gap, 0.0), period=period, heading=side * 0.5 * math.pi, partner=1)
    taker = Action("take", (side * gap, 0.0), period=period, heading=-side * 0.5 * math.pi)
    carried = Action("carried", (-side * (gap - hands), 0.0), 2 * side * (gap - hands), 0.42, period, partner=0)
    return Event((first, second, gift), (giver, taker, carried), 2.7)


def _collide(draw: Draw, variety: float) -> Event:
    """A ball rolls into another ball."""
    colours = draw.permutation(len(COLOURS))[:2].tolist()
    return _simulated(draw, "collision", ("collide", "stand"), [COLOURS[c] for c in colours], 3.4)


def _ramp(draw: Draw, variety: float) -> Event:
    """A ball rolls down a ramp."""
    return _simulated(draw, "ramp", ("ramp",), [pick(draw, COLOURS)], 3.2)


def _swing(draw: Draw, variety: float) -> Event:
    """A ball swings from a rod."""
    return _simulated(draw, "pendulum", ("swing",), [pick(draw, COLOURS)], 3.2)


def _topple(draw: Draw, variety: float) -> Event:
    """A row of dominoes topples."""
    return _simulated(draw, "topple", ("topple",) * 5, [pick(draw, COLOURS)] * 5, 3.2)


EVENT_KINDS = {
    "group": EventKind(_group, 0.09, seconds=FALL_SECONDS),
    "chase": EventKind(_chase, 0.07),
    "orbit": EventKind(_orbit, 0.05),
    "hide": EventKind(_hide, 0.07, seconds=OUT_AGAIN * HIDE_PERIOD[1]),
    "give": EventKind(_give, 0.06, seconds=HANDED * GIVE_PERIOD[1]),
    "collide": EventKind(_collide, 0.07, seconds=1.2),  # the balls meet after 0.7 to 0.9 s
    "ramp": EventKind(_ramp, 0.05),
    "swing": EventKind(_swing, 0.05),
    "topple": EventKind(_topple, 0.04, seconds=1.5),
}


def _simulated(draw: Draw, law: Law, motions: Sequence[Motion], colours: Sequence[Colour], view_width: float) -> Event:
    """An event whose actors are the bodies of a simulated experiment, with the mechanics of their material."""
    experiment = sample_experiment(law, draw)
    material: Material = "plastic" if law == "topple" else pick(draw, MATERIAL_NAMES)
    properties, shade = MATERIALS[material], _draw_shade(draw)
    if law == "collision":
        experiment = _with_equal_density(experiment, properties.density)
        experiment = replace(experiment, restitution=max(0.4, properties.restitution), friction=properties.friction)
    kind: Kind = "domino" if law == "topple" else "ball"
    actors = tuple(
        Actor(kind, colour, 2 * body.size[2], shade, material)
        for colour, body in zip(colours, experiment.bodies, strict=True)
    )
    partners = [1 if motion == "collide" else None for motion in motions]
    acts = tuple(
        Action(motion, (body.position[0], body.position[1]), partner=partner)
        for motion, body, partner in zip(motions, experiment.bodies, partners, strict=True)
    )
    return Event(actors, acts, view_width, experiment)


def _with_equal_density(collision: Experiment, density: float) -> Experiment:
    """The same collision at the same time, with both balls of one density: the resting ball's size follows its mass."""
    moving, resting = collision.bodies
    radius = moving.size[0]
    other = radius * (resting.mass / moving.mass) ** (1 / 3)
    # balls on the ground touch when their centres are 2 sqrt(r1 r2) apart along it
    further = math.copysign(2 * math.sqrt(radius * other) - 2 * radius, resting.position[0] - moving.position[0])
    resting = replace(
        resting,
        size=(other, other, other),
        position=(resting.position[0] + further, resting.position[1], other),
    )
    bodies = tuple(replace(body, mass=density * body.size[0] ** 3) for body in (moving, resting))
    return replace(collision, bodies=bodies)


def _with_falls(draw: Draw, event: Event) -> Event:
    """The event with its falls simulated; the falling bodies don't touch one another."""
    falling = [(actor, act) for actor, act in zip(event.actors, event.acts, strict=True) if act.motion == "fall"]
    if not falling:
        return event
    bodies = tuple(_falling_body(draw, actor, act) for actor, act in falling)
    return replace(event, experiment=Experiment("bounce", bodies))


def _falling_body(draw: Draw, actor: Actor, act: Action) -> Body:
    shape, half = BODIES[actor.kind]
    size = tuple(actor.height * side for side in half)
    tumbles = actor.kind in ("cube", "cylinder")
    spin: Vector = (0.0, 0.0, 0.0)
    if tumbles:
        spin = (_between(draw, -0.1, 0.1), _between(draw, -0.9, 0.9), _between(draw, -0.3, 0.3))
    position = (*act.home, act.lift + size[2])
    properties = MATERIALS[actor.material]
    return Body(
        shape,
        (size[0], size[1], size[2]),
        position,
        spin=spin,
        mass=properties.density,
        restitution=properties.restitution,
        friction=properties.friction,
    )


def _own_act(draw: Draw, motion: Motion, room: float, home: tuple[float, float]) -> Action:
    """An independent action within a width of `room` metres."""
    reach = {"circle": 0.28 * room, "sway": 0.22 * room}.get(motion, max(0.3, 0.5 * room - 0.45))
    crosses = motion in ("right", "left", "approach", "leave")
    return Action(
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
    """Two actors that differ in kind or colour, so that a caption distinguishes them."""
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
    """A uniformly drawn element."""
    return names[int(draw.integers(len(names)))]
