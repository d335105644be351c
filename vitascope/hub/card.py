"""A model's settings from its training, stored in `model_index.json`."""

from __future__ import annotations

from pydantic import Field

from vitascope.config import Config
from vitascope.model.diffusion import Spacing
from vitascope.types import MAX_GUIDANCE, MAX_STEPS
from vitascope.video.shape import MAX_FRAMES, MAX_SIDE, MIN_SIDE

MODEL_INDEX = "model_index.json"


class PipelineConfig(Config):
    """Default size, rate and sampling of a model, and the figures of its training.

    solver names a function of `generate.sampler.SOLVERS`; the pipeline checks it. history_noise, in [0, 1), is the
    noise level of earlier frames that condition later windows; a little prevents error accumulation. guidance_ramp is
    the number of latent frames over which guidance grows from none, next to a given frame, to its full scale. 0 applies
    full guidance everywhere. shift moves noise levels towards noise for videos of `reference_tokens` tokens, more for
    longer ones; without reference_tokens it is constant. spacing places the levels before the shift, see
    `model.diffusion.sigma_schedule`.
    """

    name: str
    height: int = Field(default=64, ge=MIN_SIDE, le=MAX_SIDE)
    width: int = Field(default=64, ge=MIN_SIDE, le=MAX_SIDE)
    num_frames: int = Field(default=17, ge=1, le=MAX_FRAMES)
    fps: float = Field(default=8.0, gt=0, le=240)
    reference_fps: float = Field(default=8.0, gt=0, le=240)
    num_steps: int = Field(default=40, ge=1, le=MAX_STEPS)
    solver: str = "multistep"
    guidance: float = Field(default=4.0, ge=0, le=MAX_GUIDANCE)
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_rescale: float = Field(default=0.0, ge=0, le=1)
    guidance_ramp: int = Field(default=0, ge=0, le=8)
    history_noise: float = Field(default=0.0, ge=0, lt=1)
    shift: float = Field(default=2.0, gt=0)
    reference_tokens: int | None = Field(default=80, ge=1)
    spacing: Spacing = "linear"
    training: dict[str, str | int | float] = Field(default_factory=dict)
    scores: dict[str, float] = Field(default_factory=dict)
