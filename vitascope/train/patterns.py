"""What a training sample shows the transformer: which frames are given, and how noisy each of the others is."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor

from vitascope.config import Config
from vitascope.generate.canvas import given_frames
from vitascope.model.diffusion import sample_sigma, shift_factor, shift_sigma


class PatternConfig(Config):
    """Shares of the samples with frames given, or with a noise level per frame; the rest has neither.

    `independent` is diffusion forcing (arXiv:2407.01392). Half of the given frames carry noise of up to `given_noise`.
    """

    first_frame: float = Field(default=0.15, ge=0, le=1)
    beginning: float = Field(default=0.1, ge=0, le=1)
    independent: float = Field(default=0.1, ge=0, le=1)
    given_noise: float = Field(default=0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _shares_fit(self) -> PatternConfig:
        if self.first_frame + self.beginning + self.independent > 1:
            raise ValueError("the shares of the patterns add up to more than 1")
        return self


class NoiseConfig(Config):
    """Noise levels: logit-normal, then shifted by `shift` * sqrt(tokens / reference_tokens)."""

    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    shift: float = Field(default=2.0, gt=0)
    reference_tokens: int = Field(default=80, ge=1)


def draw_given(
    latent: Float[Tensor, "c t h w"], config: PatternConfig, generator: torch.Generator
) -> tuple[Bool[Tensor, "t h w"], bool]:
    """(mask of the given cells, whether the frames' noise levels are independent). An image has nothing given."""
    frames = latent.shape[1]
    u = torch.rand((), generator=generator).item()
    if frames == 1:
        return given_frames(latent, []), False
    if u < config.first_frame:
        return given_frames(latent, [0]), False
    if u < config.first_frame + config.beginning:
        count = int(torch.randint(1, frames, (1,), generator=generator))
        return given_frames(latent, range(count)), False
    return given_frames(latent, []), u < config.first_frame + config.beginning + config.independent


def draw_sigmas(
    num_frames: int, num_tokens: int, independent: bool, config: NoiseConfig, generator: torch.Generator
) -> Float[Tensor, " f"]:
    """A noise level per latent frame: one for all of them, or one for each."""
    sigmas = sample_sigma(num_frames if independent else 1, mean=config.mean, std=config.std, generator=generator)
    shift = shift_factor(num_tokens, reference_tokens=config.reference_tokens, base=config.shift)
    return shift_sigma(sigmas, shift).expand(num_frames).contiguous()


def draw_given_sigma(config: PatternConfig, generator: torch.Generator) -> float:
    """The noise level of a sample's given frames."""
    u = torch.rand((), generator=generator).item()
    return config.given_noise * max(0.0, 2 * u - 1)
