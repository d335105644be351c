"""Requests: one frozen config per verb, shared by Python, the command line, evaluations and servers.

A request describes the result only: it contains no model, device or output file. It is JSON on disk and in the metadata
of its videos. `planning.plan` turns one into a timeline.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from vitascope.config import Config, load_config, parse_config, validation_message
from vitascope.errors import ConfigError, PromptError, reason
from vitascope.files import load_json
from vitascope.types import MAX_CHARACTERS, MAX_GUIDANCE, MAX_SEED, MAX_SHIFT, MAX_STEPS, Number
from vitascope.video import Video
from vitascope.video.shape import MAX_FRAMES

MAX_REQUEST_BYTES = 1 << 20
_IN_MEMORY = "in memory: "


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler; None is the model's default. The same seed gives the same frames."""

    seed: int = 0
    num_steps: int | None = None
    guidance: Number | None = None
    negative: str = ""
    solver: str | None = None
    shift: Number | None = None

    def of_window(self, number: int) -> int:
        """The seed of a window: the first window uses the seed itself."""
        if number == 0:
            return self.seed
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)[0] >> 1)


def _to_float(value: object) -> object:
    try:
        return float(value) if isinstance(value, int | Fraction) and not isinstance(value, bool) else value
    except OverflowError:
        raise ValueError("is too large") from None


Real: TypeAlias = Annotated[float, BeforeValidator(_to_float)]


def _check_text(text: str) -> str:
    # PromptErrors pass through pydantic as they are
    if len(text) > MAX_CHARACTERS:
        raise PromptError(f"a prompt of {len(text):,} characters; the limit is {MAX_CHARACTERS:,}, shorten it")
    for character in text:
        if character not in "\n\r\t" and unicodedata.category(character) in ("Cc", "Cs"):
            raise PromptError(f"the prompt has the control character U+{ord(character):04X}; remove it")
    return text


Text: TypeAlias = Annotated[str, AfterValidator(_check_text)]
"""Text that a tokenizer and a file can take: no control characters, no half of a surrogate pair."""


def _to_media(value: object) -> object:
    if isinstance(value, str | Path) and "\0" in str(value):
        raise ValueError("has a NUL character, which no path can hold")
    if isinstance(value, str) and value.startswith(_IN_MEMORY):
        raise ValueError(f"it was footage in memory ({value.removeprefix(_IN_MEMORY)}); save that and name the file")
    return Path(value) if isinstance(value, str) else value


def _from_media(value: Video | Path) -> str:
    if isinstance(value, Path):
        return str(value)
    digest = hashlib.sha256(value.frames.tobytes()).hexdigest()[:16]
    return f"{_IN_MEMORY}{value.num_frames} frames of {value.width}x{value.height}, SHA-256 {digest}"


Media: TypeAlias = Annotated[
    Video | Path | str, BeforeValidator(_to_media), PlainSerializer(_from_media, return_type=str, when_used="always")
]
"""Footage: a file's path, or a `Video` in memory, which JSON names but doesn't hold."""


RequestT = TypeVar("RequestT", bound="Request")


class Request(Config):
    """Fields of every verb. Sizes default to those of the footage, or to the model's."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    verb: ClassVar[str]
    prompt: Text = Field(default="", description="Prompt, in English or Chinese.")
    height: int | None = Field(default=None, description="Rows of pixels.")
    width: int | None = Field(default=None, description="Columns of pixels.")
    fps: Real | None = Field(default=None, description="Frames per second.")
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="The same seed gives the same video.")
    num_steps: int | None = Field(
        default=None, ge=1, le=MAX_STEPS, description="Sampling steps; more is slower and finer."
    )
    guidance: Real | None = Field(
        default=None, ge=0, le=MAX_GUIDANCE, description="Guidance scale; 1 turns guidance off."
    )
    negative: Text = Field(default="", description="Negative prompt: content that the video should not show.")
    solver: str | None = Field(default=None, description="Solver of the flow equation, a name in `sampler.SOLVERS`.")
    shift: Real | None = Field(
        default=None, gt=0, le=MAX_SHIFT, description="Shift of noise levels; more spends more steps in the noise."
    )

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise ConfigError(f"{self.verb}: {validation_message(error)}") from None

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # files are parsed without it, see parse_config

    @field_validator("solver")
    @classmethod
    def _is_known(cls, solver: str | None) -> str | None:
        from vitascope.generate.sampler import SOLVERS  # imports torch, which reading a request shouldn't

        if solver is not None and solver not in SOLVERS:
            raise ValueError(f"{solver!r} is no solver; give one of {', '.join(SOLVERS)}")
        return solver

    @property
    def sampling(self) -> Sampling:
        """Settings of the sampler."""
        return Sampling(self.seed, self.num_steps, self.guidance, self.negative, self.solver, self.shift)

    def footage(self) -> Iterator[Video | Path]:
        """Videos and images that the request refers to."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Video | Path):
                    yield item

    def dump(self) -> dict[str, Any]:
        """The request as JSON values, with its verb; fields at their defaults are left out."""
        return {"verb": self.verb, **self.model_dump(mode="json", exclude_defaults=True)}

    def to_json(self) -> str:
        """The request as one line of JSON; `parse_request` reads it."""
        return json.dumps(self.dump(), ensure_ascii=False)

    def with_paths(self: RequestT, convert: Callable[[Path], Path]) -> RequestT:
        """The request with every path passed through a function, such as `Path.absolute`."""
        return self.model_copy(update={name: _converted(value, convert) for name, value in self})


def _converted(value: Any, convert: Callable[[Path], Path]) -> Any:
    if isinstance(value, Path):
        return convert(value)
    if isinstance(value, tuple):
        return tuple(_converted(item, convert) for item in value)
    if isinstance(value, StoryboardShot):
        return value.model_copy(update={"image": _converted(value.image, convert)})
    return value


class Generate(Request):
    """Text to video or image; `image` is the first frame, `last_image` the last, `references` condition all frames."""

    verb = "generate"
    image: Media | None = Field(default=None, description="First frame, resized to the video's size.")
    last_image: Media | None = Field(default=None, description="Last frame, resized to the video's size.")
    references: tuple[Media, ...] = Field(default=(), description="Pictures of characters or style.")
    num_frames: int | None = Field(
        default=None, description="Length in frames; 1 makes an image. Give this or seconds."
    )
    seconds: Real | None = Field(default=None, description="Length in seconds.")


class Extend(Request):
    """The video and `seconds` that follow it or, with `backward`, precede it."""

    verb = "extend"
    video: Media
    seconds: Real = Field(description="Length of the new part.")
    backward: bool = Field(default=False, description="Generate what precedes the video.")


class Fill(Request):
    """The video with the frames between pairs of seconds regenerated."""

    verb = "fill"
    video: Media
    missing: tuple[tuple[Real, Real], ...] = Field(description="(start, stop) of each part, in seconds.")


class Connect(Request):
    """The first video, `seconds` of transition, and the second video."""

    verb = "connect"
    before: Media
    after: Media
    seconds: Real = Field(description="Length of the transition.")


class Loop(Request):
    """The video and `seconds` that lead from its end back to its beginning."""

    verb = "loop"
    video: Media
    seconds: Real = Field(default=1.0, description="Length of the new part.")


class Edit(Request):
    """The video regenerated from another prompt, after adding noise of `strength` in (0, 1]; 1 regenerates everything.

    Source: Meng et al. 2022 (arXiv:2108.01073), SDEdit.
    """

    verb = "edit"
    video: Media
    strength: Real = Field(description="Noise level to start from, in (0, 1].")
    mask: Media | None = Field(default=None, description="An image, white where the video is regenerated.")


class StoryboardShot(Config):
    """Text and length of one shot. `image` is its first frame; without `cut` the picture continues."""

    text: Text
    seconds: Real = Field(gt=0, le=MAX_FRAMES)
    image: Path | None = None
    cut: bool = True

    @field_validator("text")
    @classmethod
    def _is_not_empty(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("is empty; describe the shot")
        return text

    @model_validator(mode="after")
    def _is_consistent(self) -> StoryboardShot:
        if self.image is not None and not self.cut:
            raise ValueError("a shot without a cut can't begin with an image; remove image or cut")
        return self


class Storyboard(Request):
    """Several shots in order, and a text for all of them: the characters, the time of day, the style."""

    verb = "storyboard"
    text: Text = Field(default="", description="Text common to all shots.")
    shots: tuple[StoryboardShot, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> Storyboard:
        if not self.shots[0].cut:
            raise ValueError("shots.0 has no shot before it; remove cut = false")
        if self.prompt:
            raise ValueError("a storyboard has text and shots, not a prompt")
        return self

    def footage(self) -> Iterator[Video | Path]:
        """First images of the shots."""
        return (shot.image for shot in self.shots if shot.image is not None)


REQUESTS: dict[str, type[Request]] = {
    kind.verb: kind for kind in (Generate, Extend, Fill, Connect, Loop, Edit, Storyboard)
}


def parse_request(tree: Mapping[str, Any], source: str = "request") -> Request:
    """The request that JSON values describe; `verb` names its kind.

    Raises:
        ConfigError: no such verb, an unknown or missing field, or a wrong type.
    """
    fields = dict(tree)
    verb = fields.pop("verb", None)
    if not isinstance(verb, str) or verb not in REQUESTS:
        raise ConfigError(f"{source}: verb is {verb!r}; give one of {', '.join(REQUESTS)}")
    return parse_config(fields, REQUESTS[verb], source=source)


def load_request(path: str | Path) -> Request:
    """The request in a JSON file, or a storyboard in a TOML file; relative paths in it start from the file's folder.

    Raises:
        ConfigError: no such file, a file that can't be parsed, an unknown field, a wrong type, or a missing image.
    """
    path = Path(path)
    if path.suffix.lower() == ".toml":
        return load_storyboard(path)
    try:
        tree = load_json(path, MAX_REQUEST_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"no request file {path}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable JSON: {reason(error)}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds no JSON object; write one with --dump-request")
    return parse_request(tree, source=str(path)).with_paths(lambda each: path.parent / each)


def load_storyboard(path: str | Path) -> Storyboard:
    """The storyboard in a TOML file; relative paths of images start from the file's folder.

    Raises:
        ConfigError: no such file, not TOML, an unknown key, a wrong value, or a missing image.
    """
    path = Path(path)
    storyboard = load_config(path, Storyboard)
    shots = []
    for number, shot in enumerate(storyboard.shots):
        image = None if shot.image is None else path.parent / shot.image
        if image is not None and not image.is_file():
            raise ConfigError(f"{path}: shots.{number}.image: no file {image}")
        shots.append(shot.model_copy(update={"image": image}))
    return storyboard.model_copy(update={"shots": tuple(shots)})
