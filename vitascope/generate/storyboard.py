"""Storyboards: videos of several shots, each with a text of its own, in TOML files or in Python.

Every shot's tokens attend to all of the video and to two texts, what holds for all shots and their own. After a cut the
picture is another; a shot without one goes on from the picture before.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from vitascope.config import Config, load_config
from vitascope.errors import ConfigError, SizeError
from vitascope.generate.footage import fit_image, held
from vitascope.generate.planning import check_shape
from vitascope.generate.timeline import Lattice, Timeline
from vitascope.hub.card import PipelineConfig
from vitascope.model.canvas import Shot
from vitascope.model.text import check_prompt, shot_prompt
from vitascope.types import Number
from vitascope.video.shape import MAX_FRAMES, FrameShape

_log = logging.getLogger(__name__)


class StoryboardShot(Config):
    """What a shot shows and for how long. `image` becomes its first frames; without `cut` the picture goes on."""

    text: str
    seconds: float = Field(gt=0, le=MAX_FRAMES)
    image: Path | None = None
    cut: bool = True

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("it is empty; say what the shot shows")
        return text

    @model_validator(mode="after")
    def _image_has_a_cut(self) -> StoryboardShot:
        if self.image is not None and not self.cut:
            raise ValueError(
                "a shot that goes on from the picture before can't begin with an image; leave one of them out"
            )
        return self


class Storyboard(Config):
    """The shots in order, and the text that holds for all of them: who is in them, the time of day, the style."""

    text: str = ""
    shots: tuple[StoryboardShot, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _first_begins_anew(self) -> Storyboard:
        if not self.shots[0].cut:
            raise ValueError("shots.0 has nothing to go on from; leave its cut out")
        return self

    @property
    def images(self) -> list[Path]:
        """The files of all first images."""
        return [shot.image for shot in self.shots if shot.image is not None]


def load_storyboard(path: str | Path) -> Storyboard:
    """The storyboard in a TOML file; images are looked for beside it.

    Raises:
        ConfigError: no such file, not TOML, an unknown key, a value that can't be, or an image that isn't there.
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


def lay_out(
    lattice: Lattice,
    config: PipelineConfig,
    storyboard: Storyboard,
    *,
    height: int | None = None,
    width: int | None = None,
    fps: Number | None = None,
) -> Timeline:
    """The timeline of a storyboard. A shot begins with the latent frame nearest to its time; a note says when that is.

    Raises:
        PromptError: a text with control characters, or of too many.
        SizeError: a size, duration or rate that can't be made, or a shot shorter than a latent frame.
        MediaError: an image that can't be read.
    """
    prompts = tuple(check_prompt(shot_prompt(storyboard.text, shot.text)) for shot in storyboard.shots)
    shape = FrameShape(
        config.height if height is None else height,
        config.width if width is None else width,
        config.fps if fps is None else float(fps),
    )
    num_frames = max(1, round(sum(shot.seconds for shot in storyboard.shots) * shape.fps))
    check_shape(shape, num_frames, config)
    step = lattice.frames_per_cell
    grid = lattice.shape(num_frames, shape.height, shape.width)
    starts = _starts([shot.seconds for shot in storyboard.shots], shape.fps, step, num_cells=grid[0])
    pieces = []
    for start, shot in zip(starts, storyboard.shots, strict=True):
        if shot.image is not None:
            picture = fit_image(shot.image, shape.height, shape.width)
            latent = lattice.encode_after(held(picture, step)) if start else lattice.encode(picture)
            pieces.append((start, latent))
    latent, given = lattice.lay(grid, pieces)
    shots = tuple(
        Shot(start, is_cut=shot.cut and start > 0) for start, shot in zip(starts, storyboard.shots, strict=True)
    )
    if len(shots) > 1:
        _log.warning("%s", _note(shots, shape.fps, step))
    return Timeline(prompts, latent, given, shape.height, shape.width, shape.fps, num_frames, shots=shots)


def _starts(seconds: Sequence[float], fps: float, step: int, num_cells: int) -> list[int]:
    """The latent frame with which each shot begins: that whose first frame is nearest to the shot's time."""
    times = [0.0, *accumulate(seconds[:-1])]
    starts = [0, *(max(1, 1 + math.floor((time * fps - 1) / step + 0.5)) for time in times[1:])]
    for number, (start, stop) in enumerate(pairwise([*starts, num_cells]), start=1):
        if stop <= start:
            raise SizeError(
                f"shot {number} of {seconds[number - 1]:g} seconds is too short: latent frames hold {step} frames, "
                f"so a shot has at least {step / fps:g} seconds"
            )
    return starts


def _note(shots: Sequence[Shot], fps: float, step: int) -> str:
    """When the shots begin."""
    moments = []
    for number, shot in enumerate(shots[1:], start=2):
        seconds = ((shot.start - 1) * step + 1) / fps
        moments.append(f"shot {number} begins at {seconds:.2f} s, {'after a cut' if shot.is_cut else 'without a cut'}")
    return f"{'; '.join(moments)} (latent frames hold {step} frames)"
