"""What a clip shows, before anything is drawn: who, what they do, where, and how each shot is filmed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vitascope.worlds.solids.physics import Experiment
from vitascope.worlds.solids.words import (
    Accessory,
    Camera,
    Colour,
    Expression,
    Kind,
    Material,
    Motion,
    Place,
    Style,
    Time,
    Weather,
)

WORLD_VERSION = 5


@dataclass(frozen=True)
class Actor:
    """One character or object, the same in every shot. Its height is in metres."""

    kind: Kind
    colour: Colour
    height: float
    shade: tuple[float, float, float] = (1.0, 1.0, 1.0)  # multiplies the colour
    material: Material = "plastic"
    accessory: Accessory | None = None
    expression: Expression | None = None


@dataclass(frozen=True)
class Act:
    """What an actor does in a shot. Lengths are in metres, angles in radians, times in seconds."""

    motion: Motion
    home: tuple[float, float] = (0.0, 0.0)  # where on the ground (right, away from the camera) it is at home
    reach: float = 0.0  # how far from home it goes
    lift: float = 0.0  # how high above the ground: the drop of a fall, the hands that carry
    period: float = 1.0  # of a jump, a turn, a circle, a sway; or the time to cross the reach twice
    phase: float = 0.0  # share of the period that has passed at time 0
    heading: float = 0.0  # where it looks while it stays in place
    partner: int | None = None  # number of the actor with whom, behind whom, to whom


@dataclass(frozen=True)
class Shot:
    """A stretch of the clip without a cut. Act k is actor k's."""

    acts: tuple[Act, ...]
    place: Place
    camera: Camera
    camera_height: float
    camera_speed: float
    view_width: float  # metres that the shorter side of the frame spans at the actors
    experiment: Experiment | None = None  # of the actors whose motion is mechanical, in their order


@dataclass(frozen=True)
class Scene:
    """Everything that decides a clip's pixels but its size, length and rate."""

    seed: int
    actors: tuple[Actor, ...]
    shots: tuple[Shot, ...]
    cuts: tuple[float, ...]  # share of the clip at which each shot but the first begins
    time: Time
    weather: Weather
    style: Style
    light: tuple[float, float]  # azimuth and elevation of the sun or the moon
    ground_shade: tuple[float, float, float]

    def first_frames(self, num_frames: int) -> list[int]:
        """The frame with which each shot begins in a clip of so many frames."""
        return [0, *(max(1, round(cut * num_frames)) for cut in self.cuts)]

    def attributes(self) -> dict[str, Any]:
        """What the clip shows, in words of the vocabulary."""
        actors = [
            {"kind": a.kind, "color": a.colour, "material": a.material}
            | {"accessory": a.accessory, "expression": a.expression}
            for a in self.actors
        ]
        shots = [
            {
                "setting": shot.place,
                "camera": shot.camera,
                "motions": [act.motion for act in shot.acts],
                "partners": [act.partner for act in shot.acts],
            }
            for shot in self.shots
        ]
        return {"actors": actors, "shots": shots, "time": self.time, "weather": self.weather, "style": self.style}

    def as_dict(self) -> dict[str, Any]:
        """Every field, for the clip's record."""
        return asdict(self)
