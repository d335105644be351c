"""Training patterns: the choice of condition frames, and the noise levels of the other latent frames."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor

from vitascope.config import Config
from vitascope.model.canvas import given_frames
from vitascope.model.diffusion import sample_sigma, shift_factor, shift_sigma
from vitascope.model.patches import Patch


class PatternConfig(Config):
    """Share of each pattern among the samples; the rest are generated without conditions.

    `first_frame`, `beginning`, `ending`, `both_ends` and `scattered` condition on whole latent frames. `region`
    conditions on all but a rectangle of every frame, `reference` on a part of the first picture, outside time.
    `independent` has no condition but a noise level per frame: diffusion forcing (arXiv:2407.01392). Half of the
    conditions carry noise of up to `condition_noise`.
    """

    first_frame: float = Field(default=0.15, ge=0, le=1)
    beginning: float = Field(default=0.1, ge=0, le=1)
    ending: float = Field(default=0.0, ge=0, le=1)
    both_ends: float = Field(default=0.0, ge=0, le=1)
    scattered: float = Field(default=0.0, ge=0, le=1)
    region: float = Field(default=0.0, ge=0, le=1)
    reference: float = Field(default=0.0, ge=0, le=1)
    independent: float = Field(default=0.1, ge=0, le=1)
    condition_noise: float = Field(default=0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _shares_fit(self) -> PatternConfig:
        if sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError("the shares of the patterns add up to more than 1: lower some")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of each pattern, in drawing order."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "condition_noise"}


class Pattern(NamedTuple):
    """Conditions of a sample, and whether its frames have independent noise levels."""

    given: Bool[Tensor, "t h w"]
    independent: bool = False
    references: tuple[Float[Tensor, "c 1 h2 w2"], ...] = ()


class NoiseConfig(Config):
    """Distribution of noise levels: logit-normal, then shifted by `shift` * sqrt(tokens / reference_tokens)."""

    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    shift: float = Field(default=2.0, gt=0)
    reference_tokens: int = Field(default=80, ge=1)


def draw_given(
    latent: Float[Tensor, "c t h w"], config: PatternConfig, generator: torch.Generator, patch: Patch = (1, 1, 1)
) -> Pattern:
    """Random pattern, in the shares of the config. Images have no conditions."""
    frames = latent.shape[1]
    u = torch.rand((), generator=generator).item()
    nothing = given_frames(latent, [])
    if frames == 1:
        return Pattern(nothing)
    ends = itertools.accumulate(config.shares.values())
    name = next((name for name, end in zip(config.shares, ends, strict=True) if u < end), None)
    match name:
        case None:
            return Pattern(nothing)
        case "independent":
            return Pattern(nothing, independent=True)
        case "region":
            return Pattern(_all_but_a_rectangle(latent, generator))
        case "reference":
            return Pattern(nothing, references=(_part_of_first(latent, patch, generator),))
    return Pattern(given_frames(latent, _draw_frames(name, frames, generator)))


def _draw_frames(pattern: str, frames: int, generator: torch.Generator) -> Sequence[int]:
    """Condition frames of a pattern: at least one, never all."""
    if pattern == "first_frame":
        return [0]
    count = int(torch.randint(1, frames, (1,), generator=generator))
    match pattern:
        case "beginning":
            return range(count)
        case "ending":
            return range(frames - count, frames)
        case "both_ends" if frames > 2:  # two frames have room for one end only
            count = int(torch.randint(2, frames, (1,), generator=generator))
            before = int(torch.randint(1, count, (1,), generator=generator))
            return [*range(before), *range(frames - (count - before), frames)]
        case "both_ends":
            return [0]
    return torch.randperm(frames, generator=generator)[:count].tolist()


def _all_but_a_rectangle(latent: Float[Tensor, "c t h w"], generator: torch.Generator) -> Bool[Tensor, "t h w"]:
    """Mask without a rectangle, the same in every frame, at least a quarter as high and wide as the frame."""
    mask = torch.ones(latent.shape[1:], dtype=torch.bool)
    (top, bottom), (left, right) = (_draw_span(side, side // 4, 1, generator) for side in latent.shape[2:])
    mask[:, top:bottom, left:right] = False
    return mask


def _part_of_first(
    latent: Float[Tensor, "c t h w"], patch: Patch, generator: torch.Generator
) -> Float[Tensor, "c 1 h2 w2"]:
    """Part of the first frame, at least half as high and wide, so that its content is elsewhere in the video."""
    (top, bottom), (left, right) = (
        _draw_span(side, side // 2, step, generator) for side, step in zip(latent.shape[2:], patch[1:], strict=True)
    )
    return latent[:, :1, top:bottom, left:right]


def _draw_span(side: int, least: int, step: int, generator: torch.Generator) -> tuple[int, int]:
    """(start, stop) within a side, both multiples of `step`, at least max(`least`, `step`) apart."""
    units = side // step
    length = int(torch.randint(max(1, least // step), units + 1, (1,), generator=generator))
    start = int(torch.randint(0, units - length + 1, (1,), generator=generator))
    return start * step, (start + length) * step


def draw_sigmas(
    num_frames: int, num_tokens: int, independent: bool, config: NoiseConfig, generator: torch.Generator
) -> Float[Tensor, " f"]:
    """Noise level of each latent frame: all equal, or independent."""
    sigmas = sample_sigma(num_frames if independent else 1, mean=config.mean, std=config.std, generator=generator)
    shift = shift_factor(num_tokens, reference_tokens=config.reference_tokens, base=config.shift)
    return shift_sigma(sigmas, shift).expand(num_frames).contiguous()


def draw_given_sigma(config: PatternConfig, generator: torch.Generator) -> float:
    """Noise level of a sample's conditions."""
    u = torch.rand((), generator=generator).item()
    return config.condition_noise * max(0.0, 2 * u - 1)
