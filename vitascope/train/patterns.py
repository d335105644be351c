"""What a training sample shows the transformer: which frames are given, and how noisy each of the others is."""

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
    """Shares of the samples with something given, or with a noise level per frame; the rest has neither.

    `ending`, `both_ends` and `scattered` give latent frames; `region` gives all but a rectangle of every frame, and
    `reference` shows part of the first picture outside time. `independent` is diffusion forcing (arXiv:2407.01392).
    Half of the given frames carry noise of up to `given_noise`.
    """

    first_frame: float = Field(default=0.15, ge=0, le=1)
    beginning: float = Field(default=0.1, ge=0, le=1)
    ending: float = Field(default=0.0, ge=0, le=1)
    both_ends: float = Field(default=0.0, ge=0, le=1)
    scattered: float = Field(default=0.0, ge=0, le=1)
    region: float = Field(default=0.0, ge=0, le=1)
    reference: float = Field(default=0.0, ge=0, le=1)
    independent: float = Field(default=0.1, ge=0, le=1)
    given_noise: float = Field(default=0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _shares_fit(self) -> PatternConfig:
        if sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError("the shares of the patterns add up to more than 1")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The share of each pattern, in the order in which they are drawn."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "given_noise"}


class Pattern(NamedTuple):
    """What of a sample is given, and whether the noise levels of the rest are independent."""

    given: Bool[Tensor, "t h w"]
    independent: bool = False
    references: tuple[Float[Tensor, "c 1 h2 w2"], ...] = ()


class NoiseConfig(Config):
    """Noise levels: logit-normal, then shifted by `shift` * sqrt(tokens / reference_tokens)."""

    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    shift: float = Field(default=2.0, gt=0)
    reference_tokens: int = Field(default=80, ge=1)


def draw_given(
    latent: Float[Tensor, "c t h w"], config: PatternConfig, generator: torch.Generator, patch: Patch = (1, 1, 1)
) -> Pattern:
    """A pattern, in the shares of the config. An image has nothing given."""
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
    """The latent frames that are given, at least one and never all."""
    if pattern == "first_frame":
        return [0]
    count = int(torch.randint(1, frames, (1,), generator=generator))
    match pattern:
        case "beginning":
            return range(count)
        case "ending":
            return range(frames - count, frames)
        case "both_ends" if frames > 2:  # of two frames, one end is all there is room for
            count = int(torch.randint(2, frames, (1,), generator=generator))
            before = int(torch.randint(1, count, (1,), generator=generator))
            return [*range(before), *range(frames - (count - before), frames)]
        case "both_ends":
            return [0]
    return torch.randperm(frames, generator=generator)[:count].tolist()


def _all_but_a_rectangle(latent: Float[Tensor, "c t h w"], generator: torch.Generator) -> Bool[Tensor, "t h w"]:
    """The same rectangle in every frame, at least a quarter as high and wide as they are."""
    mask = torch.ones(latent.shape[1:], dtype=torch.bool)
    (top, bottom), (left, right) = (_draw_span(side, side // 4, 1, generator) for side in latent.shape[2:])
    mask[:, top:bottom, left:right] = False
    return mask


def _part_of_first(
    latent: Float[Tensor, "c t h w"], patch: Patch, generator: torch.Generator
) -> Float[Tensor, "c 1 h2 w2"]:
    """A cutting of the first picture, at least half as high and wide: what it shows then is elsewhere in the video."""
    (top, bottom), (left, right) = (
        _draw_span(side, side // 2, step, generator) for side, step in zip(latent.shape[2:], patch[1:], strict=True)
    )
    return latent[:, :1, top:bottom, left:right]


def _draw_span(side: int, least: int, step: int, generator: torch.Generator) -> tuple[int, int]:
    """(start, stop) within a side, both multiples of `step`, at least `least` and one step apart."""
    units = side // step
    length = int(torch.randint(max(1, least // step), units + 1, (1,), generator=generator))
    start = int(torch.randint(0, units - length + 1, (1,), generator=generator))
    return start * step, (start + length) * step


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
