"""The noise path. The only file that knows which way it runs: sigma 0 is data, 1 is noise, in a straight line between.

Rectified flow: x_sigma = (1 - sigma) * clean + sigma * noise, and d x_sigma / d sigma = noise - clean.
Everything is per row: a row is a token, and each row has its own sigma.
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

LOSS_MIN_SIGMA = 0.05  # the loss divides by no less. Source: Li and He 2025 (arXiv:2511.13720)
MAX_STEPS = 1000  # of sampling
STEP_MIN_SIGMA = 1e-4  # nor does a sampler: it only keeps given rows, whose sigma is 0, finite


@dataclass(frozen=True)
class VelocityLoss:
    """The loss to step on, and what it is made of."""

    mean: Float[Tensor, ""]  # over the rows that count
    per_row: Float[Tensor, " n"]  # of every row, also those that don't count; for the ledger, so without gradient


def add_noise(
    clean: Float[Tensor, "n p"], noise: Float[Tensor, "n p"], sigma: Float[Tensor, " n"]
) -> Float[Tensor, "n p"]:
    """x_sigma = (1 - sigma) * clean + sigma * noise; exactly `clean` at sigma 0 and exactly `noise` at sigma 1.

    Source: Liu et al. 2022 (arXiv:2209.03003), equation 1.
    """
    return torch.lerp(clean, noise, _per_row(sigma, clean))


def velocity(clean: Float[Tensor, "n p"], noise: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
    """How x_sigma moves as sigma grows: noise - clean, so a sampler steps with negative d sigma."""
    return noise - clean


def to_clean(
    output: Float[Tensor, "n p"],
    noisy: Float[Tensor, "n p"],
    sigma: Float[Tensor, " n"],
    prediction: Prediction,
) -> Float[Tensor, "n p"]:
    """The clean data that the network's output stands for."""
    return output if prediction == "clean" else noisy - _per_row(sigma, noisy) * output


def to_velocity(
    output: Float[Tensor, "n p"],
    noisy: Float[Tensor, "n p"],
    sigma: Float[Tensor, " n"],
    prediction: Prediction,
) -> Float[Tensor, "n p"]:
    """The velocity that the network's output stands for, exact from sigma = STEP_MIN_SIGMA up.

    The wider clamp of the loss has no place here: a sampler's last steps would stop short of the clean prediction and
    leave noise in the result.
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
    """Mean squared error of the velocity over the rows where mask is true (false: given, no loss); 0 if there are none.

    For prediction "clean" the error of the velocity is the error of the clean data over sigma. Written that way round,
    the clamp below LOSS_MIN_SIGMA only weakens the loss; against the true velocity it would move the minimum.

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
    """Noise levels for training, logit-normal: sigmoid(mean + std * normal); a higher mean is more noise.

    Source: Esser et al. 2024 (arXiv:2403.03206), equation 19.
    """
    normal = torch.randn(num, generator=generator, device=generator.device)
    return torch.sigmoid(float(mean) + float(std) * normal)


def shift_factor(num_tokens: int, *, reference_tokens: int, base: Number = 1.0) -> float:
    """alpha = base * sqrt(num_tokens / reference_tokens). num_tokens counts video tokens, text excluded.

    More tokens average the same noise away more easily, so a longer video needs more noise to be as hidden.

    Raises:
        ValueError: an argument is not positive.
    Source: Esser et al. 2024 (arXiv:2403.03206), section 5.3.2.
    """
    if num_tokens <= 0 or reference_tokens <= 0 or base <= 0:
        raise ValueError(f"token counts and base must be positive, not {num_tokens}, {reference_tokens}, {base}")
    return base * math.sqrt(num_tokens / reference_tokens)


def shift_sigma(sigma: Float[Tensor, " n"], shift: Number) -> Float[Tensor, " n"]:
    """alpha * sigma / (1 + (alpha - 1) * sigma): towards noise for alpha > 1; 0 and 1 stay.

    Source: Esser et al. 2024 (arXiv:2403.03206), equation 23.
    """
    alpha = float(shift)
    return alpha * sigma / (1 + (alpha - 1) * sigma)


def sigma_schedule(num_steps: int, shift: Number = 1.0, start: Number = 1.0) -> Float[Tensor, " num_steps_plus_1"]:
    """The noise levels a sampler passes through, num_steps + 1 of them, from shifted `start` down to exactly 0.

    Raises:
        ValueError: fewer than one step.
    """
    if num_steps < 1:
        raise ValueError(f"{num_steps} sampling steps; at least 1 is needed")
    return shift_sigma(torch.linspace(float(start), 0, num_steps + 1), shift)


def _per_row(sigma: Float[Tensor, " n"], like: Float[Tensor, "n p"]) -> Float[Tensor, "n 1"]:
    return sigma.to(like.dtype).unsqueeze(-1)
