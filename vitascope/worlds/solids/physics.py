"""Physics experiments: rigid bodies simulated by MuJoCo.

Lengths are in metres, times in seconds. x points right in the picture, y away from the camera, z up; the ground is
z = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from vitascope.worlds.solids.engine import mujoco

Law = Literal["uniform", "parabola", "bounce", "collision", "ramp", "pendulum", "topple"]
LAWS: tuple[Law, ...] = get_args(Law)
BodyShape = Literal["sphere", "box", "cylinder"]
Vector = tuple[float, float, float]

GRAVITY = 5.0  # m/s^2; at 9.8 a fall of one metre takes only four frames at 8 frames per second
TIMESTEP = 1 / 2000
REST = 0.05  # seconds of separation before a new contact counts; resting bodies separate and touch continually
STIFFNESS = 2e5  # stiffness of contacts in 1/s^2; a bounce takes pi / sqrt(STIFFNESS) = 7 ms, or 14 time steps


@dataclass(frozen=True)
class Body:
    """A moving body in its initial state. `size` holds half-sizes; a cylinder is upright and repeats its radius."""

    shape: BodyShape
    size: Vector
    position: Vector
    velocity: Vector = (0.0, 0.0, 0.0)
    spin: Vector = (0.0, 0.0, 0.0)  # radians per second about x, y and z
    mass: float = 1.0
    restitution: float | None = None  # None: the experiment's value
    friction: float | None = None


@dataclass(frozen=True)
class Fixture:
    """A fixed box of half-sizes `size`, rotated about y by `tilt` radians; positive tilts slope down to the right."""

    size: Vector
    position: Vector
    tilt: float = 0.0


@dataclass(frozen=True)
class Experiment:
    """Bodies that obey one law; `restitution` is the ratio of speeds after and before a bounce.

    A pendulum's only body hangs from `pivot`.
    """

    law: Law
    bodies: tuple[Body, ...]
    fixtures: tuple[Fixture, ...] = ()
    pivot: Vector | None = None
    restitution: float = 0.0
    friction: float = 0.8
    gravity: float = GRAVITY


@dataclass(frozen=True)
class Contact:
    """Beginning of a contact: the numbers of both bodies; `other` is None for the ground and fixtures."""

    seconds: float
    body: int
    other: int | None


@dataclass(frozen=True)
class Trajectory:
    """Sampled centres of the bodies in metres, rotations as unit quaternions (w, x, y, z), and contacts."""

    rate: float  # samples per second
    positions: Float[np.ndarray, "t bodies 3"]
    turns: Float[np.ndarray, "t bodies 4"]
    velocities: Float[np.ndarray, "t bodies 3"]
    contacts: tuple[Contact, ...]


def simulate(experiment: Experiment, *, num_samples: int, rate: float) -> Trajectory:
    """Trajectory of an experiment from time 0, with `rate` samples per second. Deterministic."""
    engine = mujoco()
    model = engine.MjModel.from_xml_string(_xml(experiment))
    data = engine.MjData(model)
    _set_start(experiment, model, data)
    engine.mj_forward(model, data)
    num_bodies = len(experiment.bodies)
    positions, turns = np.empty((num_samples, num_bodies, 3)), np.empty((num_samples, num_bodies, 4))
    velocities = np.empty((num_samples, num_bodies, 3))
    contacts: list[Contact] = []
    last_touch = dict.fromkeys(_touching(model, data, num_bodies), 0.0)
    for sample in range(num_samples):
        steps = round(sample / rate / TIMESTEP) - round(data.time / TIMESTEP)
        for _ in range(steps):
            engine.mj_step(model, data)
            for pair in sorted(_touching(model, data, num_bodies), key=str):
                if data.time - last_touch.get(pair, -math.inf) > REST:
                    contacts.append(Contact(data.time, *pair))
                last_touch[pair] = data.time
        positions[sample] = data.xpos[1 : num_bodies + 1]
        turns[sample] = data.xquat[1 : num_bodies + 1]
        for body in range(num_bodies):
            velocity = np.empty(6)
            engine.mj_objectVelocity(model, data, engine.mjtObj.mjOBJ_XBODY, body + 1, velocity, 0)
            velocities[sample, body] = velocity[3:]
    return Trajectory(rate, positions, turns, velocities, tuple(contacts))


def _touching(model: Any, data: Any, num_bodies: int) -> set[tuple[int, int | None]]:
    bodies = np.sort(model.geom_bodyid[data.contact.geom], axis=1) - 1
    return {(a, b) if a >= 0 else (b, None) for a, b in bodies.tolist()}


def _set_start(experiment: Experiment, model: Any, data: Any) -> None:
    if experiment.pivot is not None:
        (body,) = experiment.bodies
        offset = np.array(body.position) - np.array(experiment.pivot)
        data.qpos[0] = math.atan2(-offset[0], -offset[2])  # the hinge turns about y, from hanging straight down
        return
    for number, body in enumerate(experiment.bodies):
        data.qvel[6 * number : 6 * number + 6] = (*body.velocity, *body.spin)


def damping(restitution: float, stiffness: float = STIFFNESS) -> float:
    """Damping of a contact in 1/s that gives a bounce the coefficient of restitution.

    Source: Schwager and Poeschel 2007, "Coefficient of restitution and linear-dashpot model revisited": a damped spring
    that only pushes.
    """
    low, high = (
        0.0,
        1.0,
    )  # as a share of critical damping, whose restitution is exp(-2) = 0.14; smaller ones are not reachable
    for _ in range(50):
        share = 0.5 * (low + high)
        root = math.sqrt(1 - share**2)
        kept = math.exp(-share / root * (math.pi - math.atan2(2 * share * root, 1 - 2 * share**2)))
        low, high = (share, high) if kept > restitution else (low, share)
    return 2 * math.sqrt(stiffness) * low


def _xml(experiment: Experiment) -> str:
    surface = _surface(experiment.restitution, experiment.friction)
    fixtures = "".join(
        f'<geom type="box" size="{_numbers(f.size)}" pos="{_numbers(f.position)}" '
        f'euler="0 {math.degrees(f.tilt)} 0" {surface}/>'
        for f in experiment.fixtures
    )
    bodies = "".join(_body_xml(body, experiment) for body in experiment.bodies)
    return f"""
    <mujoco>
      <option timestep="{TIMESTEP}" gravity="0 0 {-experiment.gravity}" cone="elliptic" impratio="10"
        integrator="implicitfast"/>
      <worldbody>
        <geom type="plane" size="100 100 1" {surface}/>
        {fixtures}{bodies}
      </worldbody>
    </mujoco>"""


def _surface(restitution: float, friction: float) -> str:
    contact = f'solref="{-STIFFNESS} {-damping(restitution)}" solimp="0.99 0.99 0.001"'
    return f'{contact} condim="3" friction="{friction} 0 0"'


def _body_xml(body: Body, experiment: Experiment) -> str:
    size = body.size[1:] if body.shape == "cylinder" else body.size
    restitution = experiment.restitution if body.restitution is None else body.restitution
    surface = _surface(restitution, experiment.friction if body.friction is None else body.friction)
    # priority 1: on the ground the body's surface decides
    geom = f'<geom type="{body.shape}" size="{_numbers(size)}" mass="{body.mass}" priority="1" {surface}/>'
    if experiment.pivot is None:
        return f'<body pos="{_numbers(body.position)}"><freejoint/>{geom}</body>'
    length = math.dist(body.position, experiment.pivot)
    x, y, z = experiment.pivot
    joint = f'<joint type="hinge" axis="0 1 0" pos="0 0 {length}"/>'
    return f'<body pos="{_numbers((x, y, z - length))}">{joint}{geom}</body>'


def _numbers(values: Sequence[float]) -> str:
    return " ".join(map(repr, values))


def sample_experiment(law: Law, draw: np.random.Generator, *, widened: float = 1.0) -> Experiment:
    """A random experiment for a law.

    `widened` > 1 draws speeds, heights and angles outside the ordinary range: from its upper end to `widened` times it.
    """

    def between(low: float, high: float) -> float:
        return float(draw.uniform(low, high) if widened == 1.0 else draw.uniform(high, high * widened))

    side = float(draw.choice([-1.0, 1.0]))
    match law:
        case "uniform":
            radius, speed = float(draw.uniform(0.3, 0.45)), between(0.6, 1.4)
            return _mirrored(Experiment(law, (_rolling(radius, -1.4, speed),)), side)
        case "parabola":
            radius = float(draw.uniform(0.2, 0.3))
            ball = _ball(radius, (-1.4, 0.0, radius + 0.1), (between(0.8, 1.5), 0.0, between(2.2, 3.0)))
            return _mirrored(Experiment(law, (ball,), restitution=0.5), side)
        case "bounce":
            radius = float(draw.uniform(0.25, 0.4))
            ball = _ball(radius, (float(draw.uniform(-0.5, 0.5)), 0.0, radius + between(0.8, 1.4)))
            return Experiment(law, (ball,), restitution=float(draw.uniform(0.6, 0.85)))
        case "collision":
            radius, speed = float(draw.uniform(0.25, 0.35)), between(0.9, 1.6)
            moving = _rolling(radius, -1.4, speed)
            meeting = -1.4 + 2 * radius + speed * float(draw.uniform(0.7, 0.9))  # the factor: seconds until they touch
            resting = _ball(radius, (meeting, 0.0, radius))
            # half, equal or double mass: both continue, the first stops, or the first rebounds
            resting = replace(resting, mass=float(draw.choice([0.5, 1.0, 2.0])))
            return _mirrored(Experiment(law, (moving, resting), restitution=0.9, friction=0.0), side)
        case "ramp":
            angle, radius = between(0.25, 0.45), float(draw.uniform(0.2, 0.3))
            return _mirrored(_ramp(law, angle, radius), side)
        case "pendulum":
            length, angle = between(0.9, 1.2), between(0.4, 0.9)
            pivot = (0.0, 0.0, 2.0)
            x, z = -length * math.sin(angle), pivot[2] - length * math.cos(angle)
            return _mirrored(Experiment(law, (_ball(0.22, (x, 0.0, z)),), pivot=pivot), side)
        case "topple":
            gap, height = float(draw.uniform(0.35, 0.45)), 0.45
            row = [Body("box", (0.06, 0.25, height), (-0.6 + gap * k, 0.0, height)) for k in range(5)]
            push = between(0.7, 1.1)  # about the lower edge
            row[0] = replace(row[0], velocity=(push * height, 0.0, 0.0), spin=(0.0, push, 0.0))
            return _mirrored(Experiment(law, tuple(row), friction=0.5), side)
    raise AssertionError(law)


def _ball(radius: float, position: Vector, velocity: Vector = (0.0, 0.0, 0.0)) -> Body:
    return Body("sphere", (radius, radius, radius), position, velocity)


def _rolling(radius: float, x: float, speed: float) -> Body:
    return replace(_ball(radius, (x, 0.0, radius), (speed, 0.0, 0.0)), spin=(0.0, speed / radius, 0.0))


def _ramp(law: Law, angle: float, radius: float, length: float = 1.8) -> Experiment:
    """A ball at the upper end of a slope that meets the ground at the centre of the picture."""
    along, normal = (math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))
    thickness, foot = 0.05, (0.2, 0.0)
    middle = tuple(f - 0.5 * length * a - thickness * n for f, a, n in zip(foot, along, normal, strict=True))
    start = tuple(f - (length - radius) * a + radius * n for f, a, n in zip(foot, along, normal, strict=True))
    slope = Fixture((0.5 * length, 0.5, thickness), (middle[0], 0.0, middle[1]), angle)
    return Experiment(law, (_ball(radius, (start[0], 0.0, start[1])),), (slope,))


def _mirrored(experiment: Experiment, side: float) -> Experiment:
    """The experiment, mirrored to the left if `side` is -1."""
    if side > 0:
        return experiment

    def flip(vector: Vector) -> Vector:
        return (-vector[0], *vector[1:])

    bodies = tuple(
        replace(b, position=flip(b.position), velocity=flip(b.velocity), spin=(b.spin[0], -b.spin[1], -b.spin[2]))
        for b in experiment.bodies
    )
    fixtures = tuple(replace(f, position=flip(f.position), tilt=-f.tilt) for f in experiment.fixtures)
    pivot = None if experiment.pivot is None else flip(experiment.pivot)
    return replace(experiment, bodies=bodies, fixtures=fixtures, pivot=pivot)
