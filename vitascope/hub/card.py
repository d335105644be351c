"""What a model's folder says in `model_index.json`: how the model is meant to be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from vitascope.config import Config, parse_config
from vitascope.model.diffusion import MAX_STEPS, shift_factor
from vitascope.video.shape import MAX_FRAMES, MAX_SIDE, MIN_SIDE

MODEL_INDEX = "model_index.json"


class PipelineConfig(Config):
    """How a model is meant to be used, and what it was trained on; `model_index.json` holds it.

    `history_noise` is the noise level at which each further window of a long video sees what was made before it: a
    little of it keeps errors from adding up, window after window. `guidance_ramp` is over how many latent frames
    guidance grows to its full scale, from none beside a frame that is known; 0 is full guidance everywhere.
    """

    name: str
    height: int = Field(default=64, ge=MIN_SIDE, le=MAX_SIDE)
    width: int = Field(default=64, ge=MIN_SIDE, le=MAX_SIDE)
    num_frames: int = Field(default=17, ge=1, le=MAX_FRAMES)
    fps: float = Field(default=8.0, gt=0, le=240)
    reference_fps: float = Field(default=8.0, gt=0, le=240)
    num_steps: int = Field(default=40, ge=1, le=MAX_STEPS)
    solver: str = "multistep"
    guidance: float = Field(default=4.0, ge=0, le=100)
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_rescale: float = Field(default=0.0, ge=0, le=1)
    guidance_ramp: int = Field(default=0, ge=0, le=8)
    history_noise: float = Field(default=0.0, ge=0, lt=1)
    shift: float = Field(default=2.0, gt=0)
    reference_tokens: int | None = Field(default=80, ge=1)  # None: the shift is the same for any number of tokens
    training: dict[str, str | int | float] = Field(default_factory=dict)
    scores: dict[str, float] = Field(default_factory=dict)

    def shift_of(self, num_tokens: int) -> float:
        """How far noise levels move towards noise for a video of this many tokens."""
        reference = num_tokens if self.reference_tokens is None else self.reference_tokens
        return shift_factor(num_tokens, reference_tokens=reference, base=self.shift)


def read_own_card(folder: Path, index: dict[str, Any]) -> PipelineConfig:
    """The config that one of our models' model_index.json holds.

    Raises:
        ConfigError: an unknown key, a wrong type or a value out of range.
    """
    return parse_config(index.get("pipeline", {}), PipelineConfig, source=str(folder / MODEL_INDEX))
