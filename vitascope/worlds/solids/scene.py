"""Scenes: the content of clips before rendering, as actors, actions, settings and camera moves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vitascope.worlds.language import CameraMove
from vitascope.worlds.solids.physics import Experiment
from vitascope.worlds.solids.words import (
    Accessory,
    Colour,
    Expression,
    Kind,
    Material,
    Motion,
    Setting,
    Style,
    Time,
    Weather,
)

WORLD_VERSION = 5


@dataclass(frozen=True)
class Actor:
    """A character or object, the same in every shot; its height is in metres."""

    kind: Kind
    colour: Colour
    height: float
    shade: tuple[float, float, float] = (1.0, 1.0, 1.0)  # multiplies the colour
    material: Material = "plastic"
    accessory: Accessory | None = None
    expression: Expression | None = None


@dataclass(frozen=True)
class Action:
    """Action of one actor in a shot. Lengths are in metres, angles in radians, times in seconds."""

    motion: Motion
    home: tuple[float, float] = (0.0, 0.0)  # its base on the ground: right, away from the camera
    reach: float = 0.0  # greatest distance from home
    lift: float = 0.0  # height above the ground of a fall or of carrying hands
    period: float = 1.0  # period of a jump, turn, circle or sway, or twice the time to cross the reach
    phase: float = 0.0  # share of the period elapsed at time 0
    heading: float = 0.0  # orientation while it stays in place
    partner: int | None = None  # index of the partner


@dataclass(frozen=True)
class Shot:
    """A part of the clip without cuts. Action k belongs to actor k."""

    acts: tuple[Action, ...]
    place: Setting
    camera: CameraMove
    camera_height: float
    camera_speed: float
    view_width: float  # metres spanned by the frame's shorter side at the actors
    experiment: Experiment | None = None  # simulates the mechanical actors, in their order


@dataclass(frozen=True)
class Scene:
    """Complete content of a clip; with size, length and rate it determines the pixels."""

    seed: int
    actors: tuple[Actor, ...]
    shots: tuple[Shot, ...]
    cuts: tuple[float, ...]  # start of each shot after the first, as a share of the clip
    time: Time
    weather: Weather
    style: Style
    light: tuple[float, float]  # azimuth and elevation of sun or moon, in radians
    ground_shade: tuple[float, float, float]

    def first_frames(self, num_frames: int) -> list[int]:
        """First frame of each shot in a clip of `num_frames` frames."""
        return [0, *(max(1, round(cut * num_frames)) for cut in self.cuts)]

    def attributes(self) -> dict[str, Any]:
        """Content of the clip in words of the vocabulary."""
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
        """All fields, for the clip's record."""
        return asdict(self)
