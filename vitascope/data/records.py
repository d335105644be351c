"""Records of clips and indexes of shards as they are on disk, validated, since any program may have written them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from vitascope.config import validation_message
from vitascope.errors import PromptError, reason
from vitascope.model.text import MAX_CHARACTERS, check_prompt
from vitascope.video import MAX_FPS, MAX_PIXELS, MIN_FPS
from vitascope.worlds.language import ShotCaptions

TextT = TypeVar("TextT", str, ShotCaptions)
MAX_FRAMES = 1_000_000
MAX_MEMBER_BYTES = 4 * 2**30


def _check_name(name: str) -> str:
    if len(name) > 255 or name in ("", ".", "..") or any(mark in name for mark in "/\\:"):
        raise ValueError("not a file name of at most 255 characters without / \\ and :")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("a name with a control character")
    return name


Name = Annotated[str, AfterValidator(_check_name)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class StoryboardRecord(_Record):
    """Captions of a clip shot by shot: `text` holds for all shots."""

    text: str
    shots: list[str]


class ClipRecord(_Record):
    """Record of a clip, as `ID.json` holds it. Unknown keys are ignored, since worlds add their ground truth.

    `source` names the footage or scene that the clip shows part of; without it, the clip is a source of its own.
    """

    id: Name
    num_frames: int = Field(ge=1, le=MAX_FRAMES)
    height: int = Field(ge=1, le=MAX_PIXELS)
    width: int = Field(ge=1, le=MAX_PIXELS)
    fps: float = Field(ge=MIN_FPS, le=MAX_FPS, allow_inf_nan=False)
    captions: dict[str, list[str]]
    attributes: dict[str, Any] | None = None
    cuts: list[int] = []
    storyboards: dict[str, list[StoryboardRecord]] = {}
    source: str = ""
    seed: int | str | None = None

    @model_validator(mode="after")
    def _check_shape(self) -> ClipRecord:
        if self.height * self.width > MAX_PIXELS:
            raise ValueError(f"{self.width}x{self.height} has more than {MAX_PIXELS} pixels")
        borders = [0, *self.cuts, self.num_frames]
        if any(start >= stop for start, stop in pairwise(borders)) and borders != [0, self.num_frames]:
            raise ValueError(f"cuts must rise from 1 to {self.num_frames - 1}")
        return self


class MemberRecord(ClipRecord):
    """Record of a clip in a shard, as the index holds it, with the name, byte range and SHA-256 of its media."""

    name: Name
    offset: int = Field(ge=0, lt=2**63)
    bytes: int = Field(ge=1, le=MAX_MEMBER_BYTES)
    sha256: Digest


class ShardRecord(_Record):
    """A line of an index: the name, size and SHA-256 of a shard, and its clips."""

    shard: Name
    bytes: int = Field(default=0, ge=0, lt=2**63)
    sha256: Digest | None = None
    clips: list[MemberRecord]


def caption_problem(text: str) -> str | None:
    """Reason for which a caption can't be a prompt; None if it can."""
    if len(text) > MAX_CHARACTERS:
        return f"caption of more than {MAX_CHARACTERS:,} characters"
    try:
        check_prompt(text)
    except PromptError as error:
        return "empty caption" if "empty" in str(error) else "caption with a control character"
    return None


def usable(
    captions: Mapping[str, Sequence[TextT]], prompts: Callable[[TextT], list[str]], problems: Counter[str]
) -> dict[str, list[TextT]]:
    """Captions by language whose prompts a text encoder takes; the others are counted in `problems` by reason."""
    kept: dict[str, list[TextT]] = {}
    for language, some in captions.items():
        for caption in some:
            found = next(filter(None, map(caption_problem, prompts(caption))), None)
            if found is None:
                kept.setdefault(language, []).append(caption)
            else:
                problems[found] += 1
    return kept


def one_line(error: Exception) -> str:
    """Message of an error about a text of unknown origin, printable and at most 200 characters long."""
    message = validation_message(error) if isinstance(error, ValidationError) else reason(error)
    return "".join(character if character.isprintable() else "?" for character in message)[:200]
