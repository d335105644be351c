"""Tiny packages of animated emoji, drawn here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitascope.config import parse_config
from vitascope.data.production import ProductionConfig
from vitascope.worlds.emoji.scene import (
    Actor,
    Character,
    Scene,
)

# code -> English label, Chinese label, subgroup of emojibase
NAMES = {
    "1F438": ("frog", "青蛙", 36),
    "1F680": ("rocket", "火箭", 56),
    "1F408": ("cat", "猫", 34),
    "1F9D1-200D-1F680": ("astronaut", "宇航员", 25),
    "1F642": ("slightly smiling face", "呵呵", 0),
    "1F440": ("eyes", "双眼", 22),
}


COLOUR = (230, 30, 200)
SMALL: dict[str, Any] = {"num_clips": 6, "sizes": ["32x32", "48x32"], "num_frames": [5, 3], "image_share": 0.3}


def animate(path: Path, num_frames: int = 4) -> None:
    """An L of one colour that grows taller, on nothing; 100 ms a frame."""
    Image = pytest.importorskip("PIL.Image")
    frames = []
    for index in range(num_frames):
        pixels = np.zeros((64, 64, 4), np.uint8)
        pixels[30 - 4 * index : 58, 12:28] = pixels[46:58, 12:52] = (*COLOUR, 255)
        frames.append(Image.fromarray(pixels))
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, lossless=True)


def config(**changes: Any) -> ProductionConfig:
    return parse_config({**SMALL, **changes}, ProductionConfig)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "clips").iterdir() if not file.name.startswith(".")}


def scene_of(*cast: tuple[Character, str], place: str = "meadow", shot: str = "still") -> Scene:
    """A scene with these actors from left to right."""
    slots = {1: (0.0,), 2: (-0.23, 0.23), 3: (-0.31, 0.0, 0.31)}[len(cast)]
    actors = [
        Actor(character, motion, slot, depth=1.0, size=1.0, speed=1.0, phase=0.3)  # type: ignore[arg-type]
        for (character, motion), slot in zip(cast, slots, strict=True)
    ]
    return Scene(0, tuple(actors), place, 1, shot, 1.0)  # type: ignore[arg-type]
