"""Attributes and captions of mirrored clips: left becomes right. All other attributes stay the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OPPOSITES = {"left": "right", "right": "left", "左": "右", "右": "左"}
# phrases with both sides stay the same in a mirror, in the same order
SIDES = re.compile(r"left and right|左右|(?<![a-z])(?:left|right)(?![a-z])|[左右]")


def mirrored_words(text: str) -> str:
    """A caption, or a word of the world's vocabulary, for the mirror image."""
    return SIDES.sub(lambda found: OPPOSITES.get(found[0], found[0]), text)


def mirrored_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of the mirror image: motions and camera moves change sides."""
    shots = [
        {**shot, "camera": _mirrored(shot["camera"]), "motions": [_mirrored(motion) for motion in shot["motions"]]}
        for shot in attributes["shots"]
    ]
    return {**attributes, "shots": shots}


def _mirrored(word: str | None) -> str | None:
    return None if word is None else mirrored_words(word)
