"""Animated emoji in a folder of unpacked npm packages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from vitascope.errors import DatasetError, reason
from vitascope.files import load_json
from vitascope.worlds.emoji.names import name_of
from vitascope.worlds.emoji.scene import Character

SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
HOW_TO_GET = (
    "get the packages with `npm pack @lobehub/fluent-emoji-anim-1 @lobehub/fluent-emoji-anim-2 "
    "@lobehub/fluent-emoji-anim-3 @lobehub/fluent-emoji-anim-4 emojibase-data` "
    'and `for f in *.tgz; do tar xf "$f"; done`'
)


@lru_cache(maxsize=4)
def find_characters(source: Path) -> tuple[Character, ...]:
    """Named animated emoji below a folder, sorted by code; variants with a skin tone are left out.

    Raises:
        DatasetError: the animations or the names are missing; the message has the commands that get them.
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
    """Short hash of a set of characters."""
    codes = " ".join(character.code for character in characters)
    return hashlib.sha256(codes.encode()).hexdigest()[:16]


def _labels(source: Path, language: str) -> dict[str, tuple[str, int]]:
    """(label, subgroup) of each emoji, by code."""
    path = next(iter(sorted(source.rglob(f"{language}/data.json"))), None)
    if path is None:
        raise DatasetError(f"no names ({language}/data.json of emojibase-data) in {source}; in it {HOW_TO_GET}")
    try:
        entries = load_json(path)
        return {_without_selectors(e["hexcode"].lower()): (e["label"], e.get("subgroup", -1)) for e in entries}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(f"{path} is not emojibase's list of emoji: {reason(error)}; {HOW_TO_GET}") from None


def _without_selectors(code: str) -> str:
    """Code points without variation selectors, which the packages use inconsistently."""
    return "-".join(point for point in code.split("-") if point != "fe0f")


def _is_animated(path: Path) -> bool:
    """True if a WebP file is an animation. Source: RFC 9649, section 2.7."""
    with path.open("rb") as file:
        head = file.read(21)
    return head[12:16] == b"VP8X" and bool(head[20] & 2)
