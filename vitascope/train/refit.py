"""Carrying a transformer over to another codec: what it knows of the world stays, what it knows of the latents doesn't.

Two codecs of the same stride describe the same cells, nearly always close to linearly. So only the first and the last
layer have to change, by the linear map that leads from one codec's tokens to the other's.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.codec.streaming import encode_video
from vitascope.errors import ConfigError
from vitascope.model.patches import patchify
from vitascope.model.transformer import Transformer
from vitascope.video import Video


def refit(
    transformer: Transformer, learned: Transformer, before: Float[Tensor, "n p"], after: Float[Tensor, "n q"]
) -> None:
    """Give `transformer` what `learned` knows; `before` and `after` are the same n clean tokens as `learned` and as
    `transformer` sees them.

    All weights are copied but those of the first and the last layer, which are led through the least-squares maps
    between the two kinds of tokens.

    Raises:
        ConfigError: transformers that differ in more than their channels, or too few tokens for such a map.
    """
    channels = {key: getattr(learned.config, key) for key in ("in_channels", "out_channels")}
    if transformer.config.model_copy(update=channels) != learned.config:
        raise ConfigError("init is a transformer of another shape; only its channels may differ from this run's")
    if len(before) <= max(before.shape[1], after.shape[1]):
        raise ConfigError(f"{len(before)} tokens of the data are too few to fit a transformer to another codec")
    inwards, inwards_bias = _linear_map(after, before)
    outwards, outwards_bias = _linear_map(before, after)
    weights = dict(learned.state_dict())
    first, last = weights["patch_in.weight"], weights["proj_out.weight"]
    weights["patch_in.weight"] = first @ inwards.T
    # a noisy token holds (1 - sigma) of the clean one: one half stands for all noise levels
    weights["patch_in.bias"] = weights["patch_in.bias"] + 0.5 * first @ inwards_bias
    weights["proj_out.weight"] = outwards.T @ last
    sign = 1 if transformer.config.prediction == "clean" else -1  # a velocity is noise minus clean
    weights["proj_out.bias"] = outwards.T @ weights["proj_out.bias"] + sign * outwards_bias
    transformer.load_state_dict(weights)


def first_frame_tokens(codec: Codec, videos: Iterable[Video], patch: tuple[int, int, int]) -> Float[Tensor, "n p"]:
    """The clean tokens of the videos' first frames.

    First frames, because images have nothing else, and codecs may code the frames after them quite differently.
    """
    firsts = (Video(video.frames[:1], video.fps) for video in videos)
    return torch.cat([patchify(encode_video(codec, first), patch) for first in firsts])


def _linear_map(x: Float[Tensor, "n p"], y: Float[Tensor, "n q"]) -> tuple[Float[Tensor, "p q"], Float[Tensor, " q"]]:
    """(matrix, bias) of the linear map from x to y with the least mean squared error."""
    padded = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    # gelsd: tokens of few channels that always agree leave the map undetermined, and the smallest one is wanted then
    solution = torch.linalg.lstsq(padded.double(), y.double(), driver="gelsd").solution.float()
    return solution[:-1], solution[-1]
