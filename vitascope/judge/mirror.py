"""What a mirrored clip shows: left is right, in attributes and in captions. It doubles the clips that there are.

Nothing else of the world tells its mirror image from itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OPPOSITES = {"left": "right", "right": "left", "左": "右", "右": "左"}
# both at once are the same in the mirror, and said in this order
SIDES = re.compile(r"left and right|左右|(?<![a-z])(?:left|right)(?![a-z])|[左右]")


def mirrored_words(text: str) -> str:
    """A caption, or a word of the world's vocabulary, as it is in the mirror."""
    return SIDES.sub(lambda found: OPPOSITES.get(found[0], found[0]), text)


def mirrored_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A record's attributes as they are in the mirror: motions and cameras go the other way."""
    shots = [
        {**shot, "camera": _mirrored(shot["camera"]), "motions": [_mirrored(motion) for motion in shot["motions"]]}
        for shot in attributes["shots"]
    ]
    return {**attributes, "shots": shots}


def _mirrored(word: str | None) -> str | None:
    return None if word is None else mirrored_words(word)
