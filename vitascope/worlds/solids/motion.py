"""Poses of all actors at any time of a shot: closed formulas for actions, simulation for mechanics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from vitascope.worlds.solids.cast import Limb
from vitascope.worlds.solids.physics import Trajectory, simulate
from vitascope.worlds.solids.rotations import Matrix, about_x, about_y, about_z, from_quaternion
from vitascope.worlds.solids.scene import Action, Actor, Shot
from vitascope.worlds.solids.words import CHARACTERS, MECHANICAL

RATE = 120.0  # simulation samples per second; poses use the nearest sample
STEP_PERIOD = 0.5  # seconds per two steps
Point = Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Pose:
    """Foot point in metres, rotation of the actor, and rotations of its limbs about their joints."""

    foot: Point
    turn: Matrix
    limbs: Mapping[Limb, Matrix] = field(default_factory=dict)


class ShotMotion:
    """Motion of a shot's actors during its first `seconds`."""

    def __init__(self, actors: Sequence[Actor], shot: Shot, seconds: float):
        self.actors, self.shot, self.seconds = actors, shot, seconds
        takes_part = [
            act.motion in MECHANICAL or (shot.experiment is not None and act.motion == "stand") for act in shot.acts
        ]
        numbers = iter(range(len(shot.acts)))
        self.bodies = [next(numbers) if taking else None for taking in takes_part]

    @cached_property
    def trajectory(self) -> Trajectory | None:
        """Trajectory of the simulated bodies, or None if the shot has none."""
        if self.shot.experiment is None:
            return None
        return simulate(self.shot.experiment, num_samples=math.ceil(self.seconds * RATE) + 2, rate=RATE)

    def poses(self, seconds: float) -> list[Pose]:
        """Pose of every actor at a time of the shot."""
        return [
            self._simulated(body, actor, seconds) if body is not None else pose(actor, act, seconds)
            for actor, act, body in zip(self.actors, self.shot.acts, self.bodies, strict=True)
        ]

    def _simulated(self, body: int, actor: Actor, seconds: float) -> Pose:
        assert self.trajectory is not None
        sample = round(seconds * RATE)
        turn = from_quaternion(self.trajectory.turns[sample, body])
        return Pose(self.trajectory.positions[sample, body] - turn @ (0.0, 0.0, 0.5 * actor.height), turn)


def pose(actor: Actor, act: Action, seconds: float) -> Pose:
    """Pose of an actor that isn't simulated, at any time of its shot; motions repeat without end."""
    cycles = seconds / act.period + act.phase
    x, y = act.home
    match act.motion:
        case "right" | "left":
            sign = 1.0 if act.motion == "right" else -1.0
            along, direction = _back_and_forth(cycles)
            yaw = sign * (math.pi / 2 if actor.kind == "ball" else direction * 1.05)
            return _travel(actor, x + sign * act.reach * along, y, yaw, act.reach * along, seconds)
        case "approach" | "leave":
            along, direction = _back_and_forth(cycles if act.motion == "approach" else cycles + 0.5)
            yaw = 0.0 if direction > 0 else math.pi
            return _travel(actor, x, y + 0.7 - 1.2 * along, yaw, 1.2 * along * direction, seconds)
        case "circle" | "chase" | "flee" | "orbit":
            angle = 2 * math.pi * cycles
            x, y = x + act.reach * math.cos(angle), y + act.reach * math.sin(angle)
            return _travel(actor, x, y, angle + math.pi, angle * act.reach, seconds)
        case "jump":
            share = cycles % 1.0
            height = 0.5 * actor.height * 4 * share * (1 - share) * 1.3
            return Pose(np.array((x, y, height)), about_z(act.heading), _arms(actor, 0.9 * height))
        case "spin":
            return Pose(np.array((x, y, 0.0)), about_z(2 * math.pi * cycles))
        case "sway":
            return _sway(actor, act, math.sin(2 * math.pi * cycles))
        case "wave":
            raised = about_y(2.3 + 0.45 * math.sin(2 * math.pi * cycles))
            return Pose(np.array((x, y, 0.0)), about_z(act.heading), {"right_arm": raised})
        case "hide":
            return _hide(actor, act, cycles, seconds)
        case "give":
            return _hold(actor, act, 1 - _handed(cycles))
        case "take":
            return _hold(actor, act, _handed(cycles))
        case "carried":
            share = _handed(cycles)
            arc = 0.12 * math.sin(math.pi * share)
            return Pose(np.array((x + act.reach * share, y, act.lift + arc)), np.eye(3))
        case "stand":
            return Pose(np.array((x, y, 0.0)), about_z(act.heading))
    raise AssertionError(act.motion)


def _travel(actor: Actor, x: float, y: float, yaw: float, distance: float, seconds: float) -> Pose:
    """Pose of an actor that moves in the direction `yaw`. Balls roll by `distance`; characters with feet walk."""
    if actor.kind == "ball":
        radius = 0.5 * actor.height
        turn = about_z(yaw) @ about_x(distance / radius)
        return Pose(np.array((x, y, radius)) - turn @ (0.0, 0.0, radius), turn)
    if actor.kind not in CHARACTERS or actor.kind == "snowman":
        return Pose(np.array((x, y, 0.0)), about_z(yaw))
    stride = math.sin(2 * math.pi * seconds / STEP_PERIOD)
    forward, back = about_x(0.55 * stride), about_x(-0.55 * stride)
    limbs: dict[Limb, Matrix] = {"left_leg": forward, "right_arm": forward, "right_leg": back, "left_arm": back}
    bob = 0.03 * actor.height * abs(stride)
    return Pose(np.array((x, y, bob)), about_z(yaw), limbs)


def _sway(actor: Actor, act: Action, swing: float) -> Pose:
    x, y = act.home[0] + act.reach * swing, act.home[1]
    if actor.kind == "ball":
        return _travel(actor, x, y, math.pi / 2, act.reach * swing, 0.0)
    return Pose(np.array((x, y, 0.0)), about_y(0.22 * swing) @ about_z(act.heading), _arms(actor, 0.3 * (1 + swing)))


def _hide(actor: Actor, act: Action, cycles: float, seconds: float) -> Pose:
    """Pose on the way behind the wall, during the wait, and out on the other side; the next cycle returns."""
    share, direction = cycles % 1.0, 1.0 if int(cycles) % 2 == 0 else -1.0
    along = min(0.0, share / 0.4 - 1) + max(0.0, (share - 0.6) / 0.4)
    x, y = act.home[0] + direction * act.reach * along, act.home[1]
    if 0.4 < share < 0.6:
        return Pose(np.array((x, y, 0.0)), np.eye(3))
    return _travel(actor, x, y, math.copysign(1.2, direction * act.reach), act.reach * along, seconds)


def _handed(cycles: float) -> float:
    """Share of the way from giver to taker that the gift has covered; it returns later in the cycle."""
    share = cycles % 1.0
    there, back = (share - 0.12) / 0.2, (share - 0.62) / 0.2
    return float(np.clip(there, 0, 1) - np.clip(back, 0, 1))


def _hold(actor: Actor, act: Action, share: float) -> Pose:
    """Standing pose with the arms forward; `share` raises them."""
    forward = about_x(-1.2 * (0.3 + 0.7 * share))
    limbs: dict[Limb, Matrix] = {"left_arm": forward, "right_arm": forward} if actor.kind in CHARACTERS else {}
    return Pose(np.array((*act.home, 0.0)), about_z(act.heading), limbs)


def _arms(actor: Actor, angle: float) -> dict[Limb, Matrix]:
    """Both arms raised sideways by an angle."""
    return {"left_arm": about_y(-angle), "right_arm": about_y(angle)} if actor.kind in CHARACTERS else {}


def _back_and_forth(cycles: float) -> tuple[float, float]:
    """(position, direction) of a triangle wave that starts at -1 and reaches 1 after half a cycle."""
    share = cycles % 1.0
    return (4 * share - 1, 1.0) if share < 0.5 else (3 - 4 * share, -1.0)
