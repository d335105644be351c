"""Classifier-free guidance: the velocity of a canvas from two passes, with the prompt and with the negative one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitascope.generate.sampler import Velocity
from vitascope.kernels.device import CPU
from vitascope.kernels.threads import pair_runner
from vitascope.model.canvas import Canvas
from vitascope.model.diffusion import to_clean, to_velocity
from vitascope.model.patches import pack
from vitascope.model.transformer import Transformer
from vitascope.types import Number


@dataclass(frozen=True)
class EncodedPrompt:
    """Text states of a prompt; `counts` is the number of equal states that each one represents."""

    context: Float[Tensor, "l e"]
    counts: Int[Tensor, " l"] | None = None


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance settings. `scale=1` turns guidance off.

    Guidance applies at noise levels within `interval`. `rescale` in [0, 1] restores the standard deviation of the
    conditional prediction. Over the first `ramp` latent frames next to given ones, the scale rises from 1.
    """

    scale: Number
    interval: tuple[float, float]
    rescale: float
    ramp: int

    def applies(self, sigma: float) -> bool:
        """True if this noise level takes two passes.

        Source: Kynkaanniemi et al. 2024 (arXiv:2404.07724).
        """
        low, high = self.interval
        return self.scale != 1 and low <= sigma <= high


class ConditionedDenoiser:
    """A transformer bound to a canvas and one text per shot: noisy tokens in, predicted clean tokens out.

    The pack, its attention plans and the text's keys and values are computed once, for all steps.
    """

    def __init__(
        self,
        transformer: Transformer,
        canvas: Canvas,
        texts: Sequence[EncodedPrompt],
        history_noise: Number,
        device: torch.device = CPU,
    ):
        self.transformer, self.canvas = transformer, canvas
        contexts, counts = [text.context for text in texts], [text.counts for text in texts]
        all_noise = torch.ones(canvas.num_frames)
        sample = canvas.noised(canvas.clean, all_noise, contexts, counts=counts, generated_sigma=history_noise)
        self.pack = pack([sample]).to(device)
        self.prepared = transformer.prepare(self.pack)

    def __call__(self, x: Float[Tensor, "n p"], sigma: float) -> Float[Tensor, "n p"]:
        """The clean tokens predicted for noisy tokens x at a noise level."""
        noisy = self.pack.at(x, sigma)
        output = self.transformer(noisy, self.prepared)
        return to_clean(output, x, noisy.token_sigmas, self.transformer.config.prediction)


@contextmanager
def guided_velocity(
    conditional: ConditionedDenoiser, unconditional: ConditionedDenoiser | None, guidance: Guidance
) -> Iterator[Velocity]:
    """The velocity of a canvas's tokens, guided away from the unconditional prediction, inside a context.

    Without an unconditional denoiser it is the conditional velocity. Given tokens have velocity 0. On a CPU the context
    holds threads for the two passes.
    """
    canvas, device = conditional.canvas, conditional.pack.tokens.device
    made = (~canvas.given[:, None]).to(device)
    falloff = canvas.guidance_falloff(guidance.ramp).to(device)
    scales = float(guidance.scale) + (1 - float(guidance.scale)) * falloff

    def velocity(x: Tensor, sigma: float) -> Tensor:
        if unconditional is None or not guidance.applies(sigma):
            target = conditional(x, sigma)
        else:
            prompted, unprompted = run_pair(partial(conditional, x, sigma), partial(unconditional, x, sigma))
            guided = rescale(guide(prompted, unprompted, scales), prompted, guidance.rescale)
            target = torch.where(falloff == 1, prompted, guided)
        return made * to_velocity(target, x, x.new_full((len(x),), sigma), "clean")

    with pair_runner(device) as run_pair:
        yield velocity


def guide(conditional: Tensor, unconditional: Tensor, scale: Number | Tensor) -> Tensor:
    """The guided prediction: unconditional + scale * (conditional - unconditional). A scale per token is allowed.

    Source: Ho and Salimans 2022 (arXiv:2207.12598), equation 6.
    """
    scale = scale if isinstance(scale, Tensor) else float(scale)
    return unconditional + scale * (conditional - unconditional)


def rescale(guided: Float[Tensor, "n p"], conditional: Float[Tensor, "n p"], share: float) -> Float[Tensor, "n p"]:
    """The guided output, scaled towards the conditional output's standard deviation by `share` in [0, 1].

    Source: Lin et al. 2023 (arXiv:2305.08891), equations 15 and 16.
    """
    matched = guided * (conditional.std() / guided.std().clamp_min(1e-8))
    return share * matched + (1 - share) * guided
