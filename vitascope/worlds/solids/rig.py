"""Rig of an experiment: slopes, and the beam and rod of a pendulum."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from vitascope.worlds.solids.cast import RGB, Part
from vitascope.worlds.solids.physics import Experiment
from vitascope.worlds.solids.rotations import about_y
from vitascope.worlds.solids.stage import Point, Solid, solid

WOOD: RGB = (0.55, 0.38, 0.22)
IRON: RGB = (0.32, 0.33, 0.36)


def rig_solids(experiment: Experiment, centres: Float[np.ndarray, "bodies 3"]) -> Iterator[Solid]:
    """Solids of the rig for the bodies' present centres in metres."""
    for fixture in experiment.fixtures:
        yield Solid("box", np.array(fixture.size), np.array(fixture.position), about_y(fixture.tilt), WOOD)
    if experiment.pivot is not None:
        x, y, z = experiment.pivot
        yield Solid("box", np.array((0.5, 0.06, 0.04)), np.array((x, y, z + 0.04)), np.eye(3), WOOD)
        for centre in centres:
            yield _rod(np.array(experiment.pivot), centre)


def _rod(top: Point, bottom: Point) -> Solid:
    length, along = float(np.linalg.norm(bottom - top)), bottom - top
    rotation = about_y(math.atan2(-along[0], -along[2]))
    part = Part("box", (0.015, 0.015, 0.5 * length), (0.0, 0.0, 0.0), IRON)
    return solid(part, 0.5 * (top + bottom), rotation)
