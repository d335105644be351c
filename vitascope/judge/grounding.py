"""Grounding: a second training loss that labels the judge's video tokens with ground truth of rendered clips.

An attribute sentence states that a red ball jumps, not where; the truth has its position in every frame. Each token
learns its own content; all tokens of one time step together learn setting, camera and cuts. Memorised clips
don't help here, so the judge learns more from the same clips.

    truth -> ActorTrack of a clip -> labels of tokens and moments -> GroundingHead, which predicts them from tokens

The head is used in training only.
"""

from __future__ import annotations

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
from vitascope.files import load_json
from vitascope.judge.augment import Window
from vitascope.judge.network import PAIR
from vitascope.judge.sentence import NONE, VALUES

UNKNOWN = -100  # label that the loss ignores
LOOKS = {
    "kind": "kind",
    "colour": "color",
    "material": "material",
    "accessory": "accessory",
    "expression": "expression",
}
TOKEN_LABELS = ("presence", *LOOKS, "motion")  # attributes of the front actor whose centre is in the token
MOMENT_LABELS = ("cut", "setting", "camera")  # whether a shot begins
CLASSES = {name: len(VALUES.get(name, ("no", "yes"))) for name in (*TOKEN_LABELS, *MOMENT_LABELS)}
MIN_AREA = 0.001  # share of the picture below which an actor is not recognisable

Labels = dict[
    str, Int64[Tensor, "b ..."]
]  # of tokens [b, t, y, x], of moments [b, t]; UNKNOWN where the truth is unknown


class ActorTrack(NamedTuple):
    """Shot index, actor centres and visible areas in each frame that the judge sees."""

    shot: Int64[np.ndarray, " t"]
    place: Float32[np.ndarray, "t actors 2"]  # row and column in [0, 1]; outside of it if out of the picture
    area: Float32[np.ndarray, "t actors"]  # share of the picture

    def mirrored(self) -> ActorTrack:
        """The track in the mirror image."""
        return self._replace(place=self.place * np.array([1, -1], np.float32) + np.array([0, 1], np.float32))

    def framed(self, window: Window) -> ActorTrack:
        """The track in a window of the picture."""
        place = (self.place - np.array([window.top, window.left], np.float32)) / np.float32(window.share)
        return self._replace(place=place, area=self.area / np.float32(window.share**2))


def actor_track(clip: Clip, frames: Int64[np.ndarray, " t"]) -> ActorTrack | None:
    """Actors in some of a clip's frames; None for records without ground truth, as in shards.

    Raises:
        DatasetError: ground truth that doesn't have the world's form.
    """
    if clip.member is not None:
        return None
    try:
        truth = load_json(clip.path.with_suffix(".json")).get("truth")
        if truth is None:
            return None
        first = 0 if clip.part is None else clip.part[0]
        frames_truth = [truth["frames"][first + frame] for frame in frames.tolist()]
        place = np.array([[actor["pixel"] for actor in each["actors"]] for each in frames_truth], np.float32)
        area = np.array([[actor["area"] for actor in each["actors"]] for each in frames_truth], np.float32)
        shot = np.array([each["shot"] for each in frames_truth], np.int64)
        shot = shot if clip.part is None else np.zeros_like(shot)
        return ActorTrack(
            shot, place / np.array([clip.height, clip.width], np.float32), area / np.float32(clip.height * clip.width)
        )
    except OSError as error:
        raise DatasetError(f"the record of clip {clip.id} can't be read: {reason(error)}") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DatasetError(
            f"clip {clip.id}: a truth that is not the world's ({type(error).__name__} {error})"
        ) from None


def labels(
    attributes: Mapping[str, Any], track: ActorTrack | None, num_frames: int, height: int, width: int, side: int
) -> Labels:
    """Labels of each token and moment of one video, without the batch axis. Tokens have `side` x `side` pixels.

    Without a track all labels are unknown; for an image motion, camera and cut are.
    """
    shape = (-(-num_frames // PAIR), -(-height // side), -(-width // side))
    found = {name: torch.full(shape, UNKNOWN) for name in TOKEN_LABELS}
    found |= {name: torch.full(shape[:1], UNKNOWN) for name in MOMENT_LABELS}
    for moment in range(shape[0] if track is not None else 0):
        assert track is not None
        pair = slice(PAIR * moment, PAIR * (moment + 1))
        shots = track.shot[pair]
        shot = attributes["shots"][shots[-1]]
        found["setting"][moment] = _index("setting", shot["setting"])
        if num_frames > 1:
            found["camera"][moment] = _index("camera", shot["camera"])
            found["cut"][moment] = int(shots[-1] != track.shot[max(0, pair.start - 1)])
        if (shots == shots[-1]).all():  # otherwise actors have no single place
            found["presence"][moment] = 0
            centres = track.place[pair].mean(axis=0) * (height, width) // side
            for actor in np.argsort(track.area[pair].min(axis=0)).tolist():  # the largest last: it is the front one
                row, column = centres[actor].astype(int)
                if track.area[pair, actor].min() < MIN_AREA or not (0 <= row < shape[1] and 0 <= column < shape[2]):
                    continue
                for name, word in _actor_labels(attributes, shot, actor, is_image=num_frames == 1).items():
                    found[name][moment, row, column] = word
    return found


def known_kinds(labels: Labels) -> tuple[str, ...]:
    """Kinds of labels with at least one known label."""
    return tuple(name for name, each in labels.items() if (each != UNKNOWN).any())


def _actor_labels(
    attributes: Mapping[str, Any], shot: Mapping[str, Any], number: int, *, is_image: bool
) -> dict[str, int]:
    """Labels of a token that shows an actor."""
    actor = attributes["actors"][number]
    words = {name: _index(name, actor[key]) for name, key in LOOKS.items()}
    if attributes["style"] == "noir":
        words["colour"] = _index("colour", NONE)
    if not is_image:
        words["motion"] = _index("motion", shot["motions"][number])
    return {"presence": 1, **words}


class GroundingHead(nn.Module):
    """Predicts labels from the tokens of a judge's video encoder."""

    def __init__(self, width: int):
        super().__init__()
        self.token_logits = nn.Linear(width, sum(CLASSES[name] for name in TOKEN_LABELS))
        self.moment_logits = nn.Linear(width, sum(CLASSES[name] for name in MOMENT_LABELS))

    def forward(self, memory: Float[Tensor, "b n d"], labels: Labels, known: Sequence[str]) -> Float[Tensor, ""]:
        """Mean over the `known` label kinds of their mean cross-entropy; 0 without any."""
        t, rows, columns = labels["presence"].shape[1:]
        tokens = rearrange(memory, "b (t y x) d -> b t y x d", t=t, y=rows, x=columns)
        logits = _split(self.token_logits(tokens), TOKEN_LABELS)
        logits |= _split(self.moment_logits(tokens.mean(dim=(2, 3))), MOMENT_LABELS)
        losses = [
            F.cross_entropy(logits[name].float().flatten(0, -2), labels[name].flatten(), ignore_index=UNKNOWN)
            for name in logits
            if name in known
        ]
        return torch.stack(losses).mean() if losses else memory.new_zeros(())


def _split(logits: Float[Tensor, "... c"], names: Sequence[str]) -> dict[str, Tensor]:
    parts = logits.split([CLASSES[name] for name in names], dim=-1)
    return dict(zip(names, parts, strict=True))


def _index(attribute: str, word: str | None) -> int:
    return VALUES[attribute].index(NONE if word is None else word)
