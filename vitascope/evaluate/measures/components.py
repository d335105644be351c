"""Principal components of latent cells: the best linear code of the same size as a codec's latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vitascope.codec.video_codec import Stride

NUM_FOLDS = 4


@dataclass(frozen=True)
class Moments:
    """Number, sum and products of sample vectors of length n."""

    count: int
    total: Float[Tensor, " n"]
    products: Float[Tensor, "n n"]

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.count - other.count, self.total - other.total, self.products - other.products)


def cross_fitted_copies(
    clips: Sequence[UInt8[np.ndarray, "t h w 3"]], stride: Stride, num_channels: int
) -> list[UInt8[np.ndarray, "t h w 3"]]:
    """Copies of clips from `num_channels` principal components per latent cell, rounded and clipped to 8 bits.

    Components of a quarter of the clips are fitted on the other three quarters. The first frame is left as it is.
    Clips must have 1 + k * stride.time frames and sides that the stride divides; two clips are the least.
    """
    num_folds = min(NUM_FOLDS, len(clips))
    folds = [number % num_folds for number in range(len(clips))]
    moments = [
        _moments([clip for clip, fold in zip(clips, folds, strict=True) if fold == number], stride)
        for number in range(num_folds)
    ]
    total = moments[0]
    for each in moments[1:]:
        total += each
    fits = [_fit(total - each, num_channels) for each in moments]
    return [_copy(clip, stride, *fits[fold]) for clip, fold in zip(clips, folds, strict=True)]


def _blocks(clip: np.ndarray, stride: Stride) -> Float[Tensor, "cells n"]:
    pattern = "(t p) (h q) (w r) c -> (t h w) (p q r c)"
    blocks = rearrange(clip[1:], pattern, p=stride.time, q=stride.rows, r=stride.columns)
    return torch.from_numpy(blocks.astype(np.float32) - 127.5)


def _moments(clips: Sequence[np.ndarray], stride: Stride) -> Moments:
    parts = [Moments(len(x), x.double().sum(dim=0), (x.T @ x).double()) for x in (_blocks(c, stride) for c in clips)]
    total = parts[0]
    for each in parts[1:]:
        total += each
    return total


def _fit(moments: Moments, num_channels: int) -> tuple[Float[Tensor, " n"], Float[Tensor, "n c"]]:
    """(mean, orthonormal directions of the greatest variance)."""
    mean = moments.total / moments.count
    _, directions = torch.linalg.eigh(moments.products / moments.count - torch.outer(mean, mean))
    return mean.float(), directions.flip(1)[:, :num_channels].float()


def _copy(
    clip: np.ndarray, stride: Stride, mean: Float[Tensor, " n"], basis: Float[Tensor, "n c"]
) -> UInt8[np.ndarray, "t h w 3"]:
    blocks = (_blocks(clip, stride) - mean) @ basis @ basis.T + mean + 127.5
    height, width = clip.shape[1:3]
    pattern = "(t h w) (p q r c) -> (t p) (h q) (w r) c"
    sizes = {"p": stride.time, "q": stride.rows, "r": stride.columns, "c": 3}
    cells = {"h": height // stride.rows, "w": width // stride.columns}
    pixels = rearrange(blocks.round().clamp(0, 255).to(torch.uint8).numpy(), pattern, **sizes, **cells)
    return np.concatenate([clip[:1], pixels])
