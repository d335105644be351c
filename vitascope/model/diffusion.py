"""Rectified flow. Only this file fixes the direction of noise: sigma 0 is data, sigma 1 is noise.

x_sigma = (1 - sigma) * clean + sigma * noise, and d x_sigma / d sigma = noise - clean.
Each row is a token and has its own sigma. Results are on the device of the arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitascope.types import Number

Prediction = Literal["clean", "velocity"]
Spacing = Literal["linear", "unipc", "flow_match"]
"""Rule that places a sampler's noise levels before the shift, see `sigma_schedule`."""

LOSS_MIN_SIGMA = 0.05  # smallest divisor in the loss. Source: Li and He 2025 (arXiv:2511.13720)
TRAIN_LEVELS = 1000  # noise levels in the training of models with diffusers' schedulers
STEP_MIN_SIGMA = 1e-4  # smallest divisor in sampling, so that given rows, with sigma 0, stay finite


@dataclass(frozen=True)
class VelocityLoss:
    """The training loss and its parts."""

    mean: Float[Tensor, ""]  # over the rows where the mask is true
    per_row: Float[Tensor, " n"]  # of all rows; for logs, without gradient


def add_noise(
    clean: Float[Tensor, "n p"], noise: Float[Tensor, "n p"], sigma: Float[Tensor, " n"]
) -> Float[Tensor, "n p"]:
    """x_sigma = (1 - sigma) * clean + sigma * noise; exactly `clean` at sigma 0 and exactly `noise` at sigma 1.

    Source: Liu et al. 2022 (arXiv:2209.03003), equation 1.
    """
    return torch.lerp(clean, noise, _per_row(sigma, clean))


def velocity(clean: Float[Tensor, "n p"], noise: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
    """d x_sigma / d sigma = noise - clean; a sampler steps with negative d sigma."""
    return noise - clean


def to_clean(
    output: Float[Tensor, "n p"],
    noisy: Float[Tensor, "n p"],
    sigma: Float[Tensor, " n"],
    prediction: Prediction,
) -> Float[Tensor, "n p"]:
    """The clean data that the network's output predicts."""
    return output if prediction == "clean" else noisy - _per_row(sigma, noisy) * output


def to_velocity(
    output: Float[Tensor, "n p"],
    noisy: Float[Tensor, "n p"],
    sigma: Float[Tensor, " n"],
    prediction: Prediction,
) -> Float[Tensor, "n p"]:
    """The velocity that the network's output predicts, exact for sigma >= STEP_MIN_SIGMA.

    The loss clamps at a higher sigma. Here that would leave noise in the result: the last steps of a sampler would stop
    before the clean prediction.
    """
    return output if prediction == "velocity" else (noisy - output) / _per_row(sigma, noisy).clamp(min=STEP_MIN_SIGMA)


def velocity_loss(
    output: Float[Tensor, "n p"],
    clean: Float[Tensor, "n p"],
    noise: Float[Tensor, "n p"],
    sigma: Float[Tensor, " n"],
    prediction: Prediction,
    mask: Bool[Tensor, " n"] | None = None,
) -> VelocityLoss:
    """Mean squared error of the velocity over the rows where mask is true, the generated ones; 0 if there are none.

    For prediction "clean", the velocity's error is the clean data's error divided by sigma. In that form the clamp at
    LOSS_MIN_SIGMA only weakens the loss; in the form of the true velocity it would move the minimum.

    Source: Li and He 2025 (arXiv:2511.13720), x-prediction with v-loss.
    """
    if prediction == "velocity":
        error = output.float() - velocity(clean, noise).float()
    else:
        error = (output.float() - clean.float()) / _per_row(sigma.float(), clean).clamp(min=LOSS_MIN_SIGMA)
    per_row = error.square().mean(1)
    counted = per_row.mean() if mask is None else (per_row * mask).sum() / mask.sum().clamp(min=1)
    return VelocityLoss(counted, per_row.detach())


def sample_sigma(num: int, *, mean: Number, std: Number, generator: torch.Generator) -> Float[Tensor, " num"]:
    """Noise levels for training, logit-normal: sigmoid(mean + std * normal). A higher mean is more noise.

    Source: Esser et al. 2024 (arXiv:2403.03206), equation 19.
    """
    normal = torch.randn(num, generator=generator, device=generator.device)
    return torch.sigmoid(float(mean) + float(std) * normal)


def shift_factor(num_tokens: int, *, reference_tokens: int | None, base: Number = 1.0) -> float:
    """The factor alpha of `shift_sigma`: base * sqrt(num_tokens / reference_tokens).

    num_tokens counts video tokens, text excluded. More tokens average the noise out, so longer videos need more noise.
    Without reference_tokens the factor is `base` at every length.

    Raises:
        ValueError: an argument is not positive.
    Source: Esser et al. 2024 (arXiv:2403.03206), section 5.3.2.
    """
    if reference_tokens is None:
        reference_tokens = num_tokens
    if num_tokens <= 0 or reference_tokens <= 0 or base <= 0:
        raise ValueError(f"token counts and base must be positive, got {num_tokens}, {reference_tokens} and {base}")
    return base * math.sqrt(num_tokens / reference_tokens)


def shift_sigma(sigma: Float[Tensor, " n"], shift: Number) -> Float[Tensor, " n"]:
    """Shifted noise levels, alpha * sigma / (1 + (alpha - 1) * sigma).

    alpha > 1 moves them towards noise; 0 and 1 are unchanged.

    Source: Esser et al. 2024 (arXiv:2403.03206), equation 23.
    """
    alpha = float(shift)
    return alpha * sigma / (1 + (alpha - 1) * sigma)


def sigma_schedule(
    num_steps: int, shift: Number = 1.0, start: Number = 1.0, spacing: Spacing = "linear"
) -> Float[Tensor, " num_steps_plus_1"]:
    """The num_steps + 1 noise levels of a sampler, on the CPU, from shifted `start` down to exactly 0.

    Before the shift, "linear" spaces them equally. The other spacings are those of diffusers' flow schedulers: they
    stop above 0, at the lowest level of training, and the last step goes from there to 0.

    Raises:
        ValueError: num_steps is less than 1.
    Source: diffusers 0.42, UniPCMultistepScheduler with use_flow_sigmas, and FlowMatchEulerDiscreteScheduler.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    lowest = 1 / TRAIN_LEVELS
    if spacing == "flow_match":  # this scheduler shifts its lowest level twice
        lowest = shift_sigma(torch.tensor([lowest], dtype=torch.float64), shift).item()
    if spacing == "linear" or lowest >= start:
        return shift_sigma(torch.linspace(float(start), 0, num_steps + 1), shift)
    num_levels = num_steps + 1 if spacing == "unipc" else num_steps
    levels = torch.linspace(float(start), lowest, num_levels, dtype=torch.float64)[:num_steps]
    return torch.cat([shift_sigma(levels, shift).float(), torch.zeros(1)])


def _per_row(sigma: Float[Tensor, " n"], like: Float[Tensor, "n p"]) -> Float[Tensor, "n 1"]:
    return sigma.to(like.dtype).unsqueeze(-1)
