"""Interface of a codec, as planning, sampling, training and evaluation use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from vitascope.codec.layers import CausalCache, LinearPath
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
    def class_name(self) -> str:
        """Name of the class in `config.json` and `model_index.json`."""
        return f"Vitascope{type(self).__name__}"

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


class TrainableCodec(VideoCodec):
    """A codec that `vitascope train codec` can train: a network plus, if there is one, a linear path."""

    edge_layers: ClassVar[tuple[str, ...]]  # parts of the names of layers next to pixels or latents
    linear_path: LinearPath | None

    @property
    @abstractmethod
    def encoder_parts(self) -> tuple[nn.Module, ...]:
        """Modules that compute latents."""

    @property
    @abstractmethod
    def last_weight(self) -> Tensor:
        """Weight of the layer that gives pixels; it balances the adversarial loss."""

    @abstractmethod
    def encode_moments(
        self, pixels: Float[Tensor, "b 3 t h w"], cache: CausalCache | None = None
    ) -> tuple[Float[Tensor, "b c t2 h2 w2"], Float[Tensor, "b c t2 h2 w2"]]:
        """Mean and log-variance of the posterior; the mean is not normalised."""

    @abstractmethod
    def decode_raw(
        self, latent: Float[Tensor, "b c t h w"], cache: CausalCache | None = None
    ) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """Pixels of latents that are not normalised."""

    @abstractmethod
    def silence_network(self) -> None:
        """Zero the network's last layers, so that the codec is its linear path alone."""
