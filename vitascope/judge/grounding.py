"""What each token of the judge's video encoder shows, by the truth of a rendered clip: a loss beside that on words.

A word of the attribute sentence says that somewhere a red ball jumps. The truth says where it is in every frame; so the
token there learns to tell what it shows, and all tokens of a moment together where they are, how it is filmed and
whether a shot begins. Clips learned by heart say nothing of this, so the judge learns more of as many clips.

    truth -> Whereabouts of a clip's actors -> labels of each token and moment -> Pointer, which reads them off tokens

The layers that read belong to training alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from vitascope.data.clips import Clip
from vitascope.errors import DatasetError, reason
from vitascope.judge.framing import Window
from vitascope.judge.network import PAIR
from vitascope.judge.sentence import NONE, VALUES

UNKNOWN = -100  # a label that nothing is asked of
LOOKS = {
    "kind": "kind",
    "colour": "color",
    "material": "material",
    "accessory": "accessory",
    "expression": "expression",
}
TOKEN_LABELS = ("somebody", *LOOKS, "motion")  # whether somebody's middle is there; what the one in front is and does
MOMENT_LABELS = ("begins", "setting", "camera")  # whether a shot begins
CLASSES = {name: len(VALUES.get(name, ("no", "yes"))) for name in (*TOKEN_LABELS, *MOMENT_LABELS)}
MIN_AREA = 0.001  # of the picture: below it nobody can be told

Labels = dict[str, Int64[Tensor, "b ..."]]  # of tokens [b, t, y, x], of moments [b, t]; UNKNOWN where nobody knows


class Whereabouts(NamedTuple):
    """The shot of each frame that the judge sees, where each actor's middle is, and how much of it is seen."""

    shot: Int64[np.ndarray, " t"]
    place: Float32[np.ndarray, "t actors 2"]  # from 0 to 1 of the rows and of the columns, beyond if out of the picture
    area: Float32[np.ndarray, "t actors"]  # its share

    def mirrored(self) -> Whereabouts:
        """With left for right."""
        return self._replace(place=self.place * np.array([1, -1], np.float32) + np.array([0, 1], np.float32))

    def framed(self, window: Window) -> Whereabouts:
        """As a window shows it."""
        place = (self.place - np.array([window.top, window.left], np.float32)) / np.float32(window.share)
        return self._replace(place=place, area=self.area / np.float32(window.share**2))


def whereabouts(clip: Clip, frames: Int64[np.ndarray, " t"]) -> Whereabouts | None:
    """Where everybody is in some of a clip's frames; None if its record doesn't tell, as in shards.

    Raises:
        DatasetError: a truth of another form than the world's.
    """
    if clip.member is not None:
        return None
    try:
        truth = json.loads(clip.path.with_suffix(".json").read_bytes()).get("truth")
        if truth is None:
            return None
        first = 0 if clip.part is None else clip.part[0]
        told = [truth["frames"][first + frame] for frame in frames.tolist()]
        place = np.array([[actor["pixel"] for actor in each["actors"]] for each in told], np.float32)
        area = np.array([[actor["area"] for actor in each["actors"]] for each in told], np.float32)
        shot = np.array([each["shot"] for each in told], np.int64)
        shot = shot if clip.part is None else np.zeros_like(shot)
        return Whereabouts(
            shot, place / np.array([clip.height, clip.width], np.float32), area / np.float32(clip.height * clip.width)
        )
    except OSError as error:
        raise DatasetError(f"the record of clip {clip.id} can't be read: {reason(error)}") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DatasetError(
            f"clip {clip.id}: a truth that is not the world's ({type(error).__name__} {error})"
        ) from None


def labels(
    attributes: Mapping[str, Any], where: Whereabouts | None, num_frames: int, height: int, width: int, side: int
) -> Labels:
    """What each token, of `side` pixels a side, and each moment of a video of this many pixels shows; all without b.

    Nothing is known without whereabouts, and neither motion nor camera of a picture.
    """
    shape = (-(-num_frames // PAIR), -(-height // side), -(-width // side))
    found = {name: torch.full(shape, UNKNOWN) for name in TOKEN_LABELS}
    found |= {name: torch.full(shape[:1], UNKNOWN) for name in MOMENT_LABELS}
    for moment in range(shape[0] if where is not None else 0):
        assert where is not None
        pair = slice(PAIR * moment, PAIR * (moment + 1))
        shots = where.shot[pair]
        shot = attributes["shots"][shots[-1]]
        found["setting"][moment] = _index("setting", shot["setting"])
        if num_frames > 1:
            found["camera"][moment] = _index("camera", shot["camera"])
            found["begins"][moment] = int(shots[-1] != where.shot[max(0, pair.start - 1)])
        if (shots == shots[-1]).all():  # else nobody is in one place
            found["somebody"][moment] = 0
            middles = where.place[pair].mean(axis=0) * (height, width) // side
            for actor in np.argsort(where.area[pair].min(axis=0)).tolist():  # the largest last: it is in front
                row, column = middles[actor].astype(int)
                if where.area[pair, actor].min() < MIN_AREA or not (0 <= row < shape[1] and 0 <= column < shape[2]):
                    continue
                for name, word in _told(attributes, shot, actor, is_image=num_frames == 1).items():
                    found[name][moment, row, column] = word
    return found


def _told(attributes: Mapping[str, Any], shot: Mapping[str, Any], number: int, *, is_image: bool) -> dict[str, int]:
    """The labels of a token that shows an actor."""
    actor = attributes["actors"][number]
    told = {name: _index(name, actor[key]) for name, key in LOOKS.items()}
    if attributes["style"] == "noir":
        told["colour"] = _index("colour", NONE)
    if not is_image:
        told["motion"] = _index("motion", shot["motions"][number])
    return {"somebody": 1, **told}


class Pointer(nn.Module):
    """Reads labels off the tokens of a judge's video encoder."""

    def __init__(self, width: int):
        super().__init__()
        self.of_tokens = nn.Linear(width, sum(CLASSES[name] for name in TOKEN_LABELS))
        self.of_moments = nn.Linear(width, sum(CLASSES[name] for name in MOMENT_LABELS))

    def forward(self, memory: Float[Tensor, "b n d"], labels: Labels) -> Float[Tensor, ""]:
        """The mean cross-entropy of each kind of label, and of these the mean; 0 without labels."""
        t, rows, columns = labels["somebody"].shape[1:]
        tokens = rearrange(memory, "b (t y x) d -> b t y x d", t=t, y=rows, x=columns)
        read = _split(self.of_tokens(tokens), TOKEN_LABELS)
        read |= _split(self.of_moments(tokens.mean(dim=(2, 3))), MOMENT_LABELS)
        losses = [
            F.cross_entropy(read[name].float().flatten(0, -2), labels[name].flatten(), ignore_index=UNKNOWN)
            for name in read
            if (labels[name] != UNKNOWN).any()
        ]
        return torch.stack(losses).mean() if losses else memory.new_zeros(())


def _split(logits: Float[Tensor, "... c"], names: Sequence[str]) -> dict[str, Tensor]:
    parts = logits.split([CLASSES[name] for name in names], dim=-1)
    return dict(zip(names, parts, strict=True))


def _index(attribute: str, word: str | None) -> int:
    return VALUES[attribute].index(NONE if word is None else word)
