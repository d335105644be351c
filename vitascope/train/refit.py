"""Refits a transformer to another codec of the same stride.

Latents of two such codecs are close to a linear map of each other. So only the first and the last layer change, by the
least-squares map between the codecs' tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from vitascope.codec.streaming import encode_video
from vitascope.codec.video_codec import VideoCodec
from vitascope.errors import ConfigError
from vitascope.model.patches import patchify
from vitascope.model.transformer import Transformer
from vitascope.video import Video


def refit(
    transformer: Transformer, learned: Transformer, before: Float[Tensor, "n p"], after: Float[Tensor, "n q"]
) -> None:
    """Copy the weights of `learned` into `transformer`, with first and last layer mapped to its codec.

    `before` and `after` are the same n clean tokens of the codec of `learned` and of the codec of `transformer`.

    Raises:
        ConfigError: transformers that differ in more than their channels, or too few tokens to fit a map.
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
    # a noisy token contains (1 - sigma) of the clean one; 0.5 is the mean over noise levels
    weights["patch_in.bias"] = weights["patch_in.bias"] + 0.5 * first @ inwards_bias
    weights["proj_out.weight"] = outwards.T @ last
    sign = 1 if transformer.config.prediction == "clean" else -1  # a velocity is noise minus clean
    weights["proj_out.bias"] = outwards.T @ weights["proj_out.bias"] + sign * outwards_bias
    transformer.load_state_dict(weights)


def first_frame_tokens(codec: VideoCodec, videos: Iterable[Video], patch: tuple[int, int, int]) -> Float[Tensor, "n p"]:
    """Clean tokens of the videos' first frames.

    Codecs may encode later frames differently, and images have first frames only.
    """
    firsts = (Video(video.frames[:1], video.fps) for video in videos)
    return torch.cat([patchify(encode_video(codec, first), patch) for first in firsts])


def _linear_map(x: Float[Tensor, "n p"], y: Float[Tensor, "n q"]) -> tuple[Float[Tensor, "p q"], Float[Tensor, " q"]]:
    """(matrix, bias) of the least-squares map from x to y."""
    padded = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    # gelsd gives the smallest map where linearly dependent channels leave it undetermined
    solution = torch.linalg.lstsq(padded.double(), y.double(), driver="gelsd").solution.float()
    return solution[:-1], solution[-1]
