"""Interface of a codec, as planning, sampling, training and evaluation use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from vitascope.codec.layers import CausalCache
from vitascope.kernels.int8 import Int8Rules


class Stride(NamedTuple):
    """Pixel frames, rows and columns per latent cell."""

    time: int
    rows: int
    columns: int


class VideoCodec(nn.Module, ABC):
    """A causal autoencoder of video, built from its config alone. The first frame stands alone.

    Latent frame 0 covers one frame, each later one `stride.time` frames. Latents have about unit variance.
    """

    config: Any  # a Config
    latent_channels: int
    int8_rules: ClassVar[Int8Rules] = Int8Rules(exact=("*",))  # layers that stay exact in 8 bits: all of them

    @property
    @abstractmethod
    def stride(self) -> Stride:
        """Pixel frames, rows and columns per latent cell."""

    @property
    def can_overlap_chunks(self) -> bool:
        """True if two chunks may be coded at once, layer by layer, with the memory that this takes."""
        return False

    @abstractmethod
    def encode(
        self, pixels: Float[Tensor, "b 3 t h w"], cache: CausalCache | None = None
    ) -> Float[Tensor, "b c t2 h2 w2"]:
        """Latents. With a cache, the first chunk has 1 + k * stride.time frames and later ones k * stride.time."""

    @abstractmethod
    def decode(
        self, latent: Float[Tensor, "b c t h w"], cache: CausalCache | None = None
    ) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """Pixels, about in [-1, 1]. With a cache, chunks join to the decoded whole."""
