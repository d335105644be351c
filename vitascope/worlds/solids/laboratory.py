"""Clips of physics experiments, rendered by a still camera with the ground truth of every body."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from vitascope.video import Video
from vitascope.worlds.frame import RenderedClip
from vitascope.worlds.language import Language
from vitascope.worlds.solids.camera import FIELD_OF_VIEW, View, project
from vitascope.worlds.solids.cast import BUILDS, PALETTE
from vitascope.worlds.solids.physics import Experiment, Law, Trajectory
from vitascope.worlds.solids.rig import rig_solids
from vitascope.worlds.solids.rotations import from_quaternion
from vitascope.worlds.solids.stage import Lighting, Solid, solid, stage_of
from vitascope.worlds.solids.words import COLOURS, Colour, Setting

CAPTIONS: dict[Law, dict[Language, str]] = {  # `{}` is the first body's colour
    "uniform": {"en": "a {} ball rolls across a wooden floor", "zh": "一个{}的球滚过木地板"},
    "parabola": {"en": "a {} ball is thrown and lands on a wooden floor", "zh": "一个{}的球抛出后落在木地板上"},
    "bounce": {
        "en": "a {} ball falls from above and bounces on a wooden floor",
        "zh": "一个{}的球从上面掉下来，在木地板上弹起",
    },
    "collision": {"en": "a {} ball rolls into another ball", "zh": "一个{}的球撞上另一个球"},
    "ramp": {"en": "a {} ball rolls down a ramp", "zh": "一个{}的球从斜坡上滚下来"},
    "pendulum": {"en": "a {} ball swings from a rod", "zh": "一个{}的球挂在杆上摆动"},
    "topple": {"en": "a row of dominoes topples", "zh": "一排多米诺骨牌倒下"},
}
VIEW_METRES = 4.0  # span of the picture's shorter side at the bodies
DEPTH = 0.0  # y of the plane in which the bodies move


def laboratory_view(aspect: float) -> View:
    """Camera of an experiment: still, level and facing the bodies. `aspect` is width / height."""
    distance = VIEW_METRES / (2 * math.tan(FIELD_OF_VIEW / 2)) * max(1.0, 1 / aspect)
    return View((0.0, DEPTH - distance, 1.25), (0.0, DEPTH, 1.25))


def render_experiment(
    experiment: Experiment,
    motion: Trajectory,
    *,
    height: int,
    width: int,
    colours: Sequence[Colour] = COLOURS,
    place: Setting = "room",
) -> RenderedClip:
    """The clip of a simulated experiment with one frame per sample, and its ground truth; body k has colour k.

    The truth holds `fps`, `law`, `frames` and `contacts` (`seconds`, `body`, `other`). Each frame lists for each body
    its `position` in metres, `velocity`, `turn` (a quaternion) and `pixel` (row and column of its centre).

    Raises:
        RenderError: MuJoCo, EGL or OSMesa is missing.
    """
    look, stage = laboratory_view(width / height), stage_of(place)
    lighting = Lighting((1.0, 1.0, 1.0), 0.4, 0.9)
    frames, truths = [], []
    for index in range(len(motion.positions)):
        parts = [*rig_solids(experiment, motion.positions[index]), *_bodies(experiment, motion, index, colours)]
        stage.arrange(parts, lighting, look, width / height)
        frames.append(stage.picture(height, width))
        truths.append({"bodies": _truth(motion, index, look, height, width)})
    contacts = [{"seconds": round(c.seconds, 4), "body": c.body, "other": c.other} for c in motion.contacts]
    truth = {"fps": motion.rate, "law": experiment.law, "frames": truths, "contacts": contacts}
    return RenderedClip(Video(np.stack(frames), motion.rate), truth)


def _truth(motion: Trajectory, index: int, look: View, height: int, width: int) -> list[dict[str, list[float]]]:
    bodies = []
    for position, velocity, turn in zip(
        motion.positions[index], motion.velocities[index], motion.turns[index], strict=True
    ):
        row, column, _ = project(tuple(position), look, height, width)
        bodies.append(
            {
                "position": [round(float(v), 4) for v in position],
                "velocity": [round(float(v), 4) for v in velocity],
                "turn": [round(float(v), 4) for v in turn],
                "pixel": [round(row, 2), round(column, 2)],
            }
        )
    return bodies


def _bodies(experiment: Experiment, motion: Trajectory, index: int, colours: Sequence[Colour]) -> Iterator[Solid]:
    for number, body in enumerate(experiment.bodies):
        colour = PALETTE[colours[number % len(colours)]]
        centre, rotation = motion.positions[index, number], from_quaternion(motion.turns[index, number])
        if body.shape == "sphere":
            diameter = 2 * body.size[0]
            foot = centre - rotation @ (0.0, 0.0, body.size[0])
            for part in BUILDS["ball"].parts(colour):
                yield solid(part, foot, rotation, scale=diameter)
        else:
            yield Solid("box", np.array(body.size), centre, rotation, colour)
