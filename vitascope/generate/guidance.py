"""The guided velocity of a canvas: two passes of the transformer, told the prompt and told the negative one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitascope.generate.canvas import Canvas
from vitascope.generate.sampler import Velocity
from vitascope.model.diffusion import to_clean, to_velocity
from vitascope.model.patches import Pack, pack
from vitascope.model.transformer import Beginning, Transformer
from vitascope.numbers import Number
from vitascope.side_by_side import Both


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the text encoder understands it: once per video is enough.

    `counts` says how many equal states each stands for, see `distinct_states`.
    """

    context: Float[Tensor, "l e"]
    counts: Int[Tensor, " l"] | None = None


@dataclass(frozen=True)
class Guidance:
    """How far a prediction is led from the negative prompt's, by `scale` times; 1 is not at all.

    It is led at noise levels within `interval`, and then brought back by the share `rescale` towards the standard
    deviation of the prompt's own. Tokens fewer than `ramp` latent frames from given ones are led less.
    """

    scale: Number
    interval: tuple[float, float]
    rescale: float
    ramp: int

    def applies(self, sigma: float) -> bool:
        """Whether this noise level takes two passes.

        Source: Kynkaanniemi et al. 2024 (arXiv:2404.07724).
        """
        low, high = self.interval
        return self.scale != 1 and low <= sigma <= high


class PromptedTransformer:
    """The transformer's clean tokens of a canvas, each shot told its text; what blocks need of it is computed once."""

    def __init__(self, transformer: Transformer, canvas: Canvas, texts: Sequence[EncodedPrompt], history_noise: Number):
        self.transformer, self.canvas, self.history_noise = transformer, canvas, history_noise
        self.contexts, self.counts = [text.context for text in texts], [text.counts for text in texts]
        self.cache = transformer.encode_text(torch.cat(canvas.in_token_order(self.contexts)))

    def packed(self, x: Float[Tensor, "n p"], sigma: float) -> Pack:
        """What the transformer sees of noisy tokens."""
        sigmas = torch.full((self.canvas.num_frames,), sigma)
        noised = self.canvas.noised(x, sigmas, self.contexts, counts=self.counts, history_sigma=self.history_noise)
        return pack([noised])

    def clean(self, x: Float[Tensor, "n p"], seen: Pack, beginning: Beginning | None = None) -> Float[Tensor, "n p"]:
        """The clean tokens for noisy ones x, seen as a pack; beginning is that of a pack of the same tokens."""
        output = self.transformer(seen, self.cache, beginning)
        return to_clean(output, x, seen.token_sigmas, self.transformer.config.prediction)


def guided_velocity(
    conditional: PromptedTransformer, unconditional: PromptedTransformer | None, guidance: Guidance, both: Both
) -> Velocity:
    """The velocity of a canvas's tokens, led away from the unconditional prediction by `both` passes.

    Without an unconditional one it is the conditional alone. Given tokens stand still.
    """
    canvas = conditional.canvas
    made = ~canvas.given[:, None]
    nearness = canvas.nearness(guidance.ramp)
    scales = float(guidance.scale) + (1 - float(guidance.scale)) * nearness

    def velocity(x: Tensor, sigma: float) -> Tensor:
        seen = conditional.packed(x, sigma)
        if unconditional is None or not guidance.applies(sigma):
            target = conditional.clean(x, seen)
        else:
            beginning = conditional.transformer.begin(seen)  # the same for both, which differ in their text
            told, untold = both(
                partial(conditional.clean, x, seen, beginning),
                partial(unconditional.clean, x, unconditional.packed(x, sigma), beginning),
            )
            guided = rescale(guide(told, untold, scales), told, guidance.rescale)
            target = torch.where(nearness == 1, told, guided)
        return made * to_velocity(target, x, torch.full((len(x),), sigma), "clean")

    return velocity


def guide(conditional: Tensor, unconditional: Tensor, scale: Number | Tensor) -> Tensor:
    """Classifier-free guidance: `scale` times as far from unconditional; 1 is no guidance. Tokens may have their own.

    Source: Ho and Salimans 2022 (arXiv:2207.12598), equation 6.
    """
    scale = scale if isinstance(scale, Tensor) else float(scale)
    return unconditional + scale * (conditional - unconditional)


def rescale(guided: Float[Tensor, "n p"], conditional: Float[Tensor, "n p"], share: float) -> Float[Tensor, "n p"]:
    """Guided output brought back towards the conditional one's standard deviation, by `share` in [0, 1].

    Source: Lin et al. 2023 (arXiv:2305.08891), equations 15 and 16.
    """
    matched = guided * (conditional.std() / guided.std().clamp_min(1e-8))
    return share * matched + (1 - share) * guided
