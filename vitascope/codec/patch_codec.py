"""The patch codec: a causal residual network over patches of pixels. All its layers work at the latent's resolution.

Each latent cell stands for one patch of pixels, 2 frames of 8 x 8 by default. Patches are flattened and embedded, so
all layers work on few, wide cells, and nearly all arithmetic is matrix products. CPUs compute those fast, while feature
maps at the resolution of pixels are bound by memory. A linear path, by principal components, is added to the network's
output. The network therefore learns only the residual: context from neighbouring cells, edges and motion.

No layer sees later frames. The first frame is encoded alone, with its own embedding, as in `network.py`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitascope.codec.layers import CausalCache, LinearPath
from vitascope.codec.video_codec import Stride, TrainableCodec
from vitascope.config import Config
from vitascope.errors import SizeError
from vitascope.kernels.device import CPU, without_autocast

Cells = Float[Tensor, "b t h w d"]  # channels last: a cell is one row of a matrix product


class PatchCodecConfig(Config):
    """The architecture of a patch codec, and the statistics of its latents.

    `patch` holds the frames, rows and columns of a latent cell. `width` is that of the residual stream, `inner_width`
    that of each block's convolution. In training, noise of `posterior_deviation` is added to the latents.
    """

    latent_channels: int = Field(default=128, ge=1, le=1024)
    patch: tuple[int, int, int] = (2, 8, 8)
    width: int = Field(default=512, ge=8, le=4096)
    inner_width: int = Field(default=128, ge=8, le=1024)
    encoder_blocks: int = Field(default=3, ge=0, le=64)
    decoder_blocks: int = Field(default=6, ge=0, le=64)
    posterior_deviation: float = Field(default=0.02, gt=0, le=1)
    latent_mean: tuple[float, ...] = ()
    latent_std: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _shapes_agree(self) -> PatchCodecConfig:
        _, rows, columns = self.patch
        if not all(1 <= side <= 32 for side in self.patch) or rows != columns:
            raise ValueError(f"patch is {self.patch}: give sides of 1 to 32, with as many rows as columns")
        if self.latent_channels > 3 * rows * columns:
            raise ValueError(
                f"latent_channels is {self.latent_channels}; this patch allows at most {3 * rows * columns}"
            )
        for name, values in (("latent_mean", self.latent_mean), ("latent_std", self.latent_std)):
            if len(values) not in (0, self.latent_channels):
                raise ValueError(f"{name} has {len(values)} entries; give {self.latent_channels}, one per channel")
        if not all(value > 0 for value in self.latent_std):
            raise ValueError("latent_std has an entry of 0 or less; deviations are positive")
        return self


class PatchCodec(TrainableCodec):
    """Encoder and decoder of normalised latents over patches of pixels."""

    edge_layers = ("embed", "to_latent", "to_first", "to_rest", "linear_path")

    config: PatchCodecConfig
    linear_path: LinearPath
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: PatchCodecConfig):
        super().__init__()
        self.config, self.latent_channels = config, config.latent_channels
        time, rows, columns = config.patch
        image, clip, width = 3 * rows * columns, 3 * time * rows * columns, config.width
        path = LinearPath(config.latent_channels, config.patch)
        self.linear_path = path  # pyright: ignore[reportIncompatibleVariableOverride]
        self.embed_first, self.embed_rest = nn.Linear(image, width), nn.Linear(clip, width)
        self.encoder = nn.ModuleList(Block(width, config.inner_width) for _ in range(config.encoder_blocks))
        self.to_latent = Head(width, config.latent_channels)
        self.embed_latent = nn.Linear(config.latent_channels, width)
        self.decoder = nn.ModuleList(Block(width, config.inner_width) for _ in range(config.decoder_blocks))
        self.to_first, self.to_rest = Head(width, image), Head(width, clip)
        mean, std = config.latent_mean or (0.0,), config.latent_std or (1.0,)
        # numbers even if the network is built on the meta device, since weight files don't hold them
        for name, values in (("latent_mean", mean), ("latent_std", std)):
            self.register_buffer(name, torch.tensor(values, device=CPU).view(1, -1, 1, 1, 1), persistent=False)

    @property
    def stride(self) -> Stride:
        """Pixel frames, rows and columns per latent cell."""
        return Stride(*self.config.patch)

    @property
    def encoder_parts(self) -> tuple[nn.Module, ...]:
        """Modules that compute latents."""
        return self.embed_first, self.embed_rest, self.encoder, self.to_latent

    @property
    def last_weight(self) -> Tensor:
        """Weight of the layer that gives the pixels of later frames; it balances the adversarial loss."""
        return self.to_rest.linear.weight

    @torch.no_grad()
    def silence_network(self) -> None:
        """Zero the network's last layers, so that the codec is its linear path alone."""
        for head in (self.to_latent, self.to_first, self.to_rest):
            head.linear.weight.zero_()
            head.linear.bias.zero_()

    def encode(
        self, pixels: Float[Tensor, "b 3 t h w"], cache: CausalCache | None = None
    ) -> Float[Tensor, "b c t2 h2 w2"]:
        """Latents of about unit variance.

        With a cache, the first chunk has 1 + k * stride.time frames and later ones k * stride.time. Joined latents of
        chunks equal the latents of the whole video.

        Raises:
            SizeError: the stride does not divide rows, columns or frames.
        """
        mean, _ = self.encode_moments(pixels, cache)
        return (mean - self.latent_mean) / self.latent_std

    def encode_moments(
        self, pixels: Float[Tensor, "b 3 t h w"], cache: CausalCache | None = None
    ) -> tuple[Float[Tensor, "b c t2 h2 w2"], Float[Tensor, "b c t2 h2 w2"]]:
        """Mean and log-variance of the posterior, whose deviation is a constant; the mean is not normalised."""
        cache = CausalCache() if cache is None else cache
        is_first = not cache  # before any layer fills it
        self._check_pixels(pixels, is_first)
        with without_autocast(pixels.device):
            straight = self.linear_path.encode(pixels, is_first)
        parts = [self.embed_first(self.linear_path.blocks(pixels[:, :, :1], 1))] if is_first else []
        if pixels.shape[2] > is_first:
            parts.append(self.embed_rest(self.linear_path.blocks(pixels[:, :, int(is_first) :], self.stride.time)))
        x = torch.cat(parts, dim=1)
        x = _run(self.encoder, x, cache)
        with without_autocast(x.device):
            mean = straight + rearrange(self.to_latent(x), "b t h w c -> b c t h w")
        return mean, torch.full_like(mean, 2 * math.log(self.config.posterior_deviation))

    def decode(
        self, latent: Float[Tensor, "b c t h w"], cache: CausalCache | None = None
    ) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """Pixels, nominally in [-1, 1], of normalised latents; a first latent frame gives one frame of pixels."""
        return self.decode_raw(latent * self.latent_std + self.latent_mean, cache)

    def decode_raw(
        self, latent: Float[Tensor, "b c t h w"], cache: CausalCache | None = None
    ) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """Pixels of latents that are not normalised."""
        cache = CausalCache() if cache is None else cache
        is_first = not cache
        with without_autocast(latent.device):
            straight = self.linear_path.decode(latent, is_first)
        x = self.embed_latent(rearrange(latent, "b c t h w -> b t h w c"))
        x = _run(self.decoder, x, cache)
        with without_autocast(x.device):
            parts = [self.linear_path.pixels(self.to_first(x[:, :1]), 1)] if is_first else []
            if x.shape[1] > is_first:
                parts.append(self.linear_path.pixels(self.to_rest(x[:, int(is_first) :]), self.stride.time))
            return straight + torch.cat(parts, dim=2)

    def _check_pixels(self, pixels: Tensor, is_first: bool) -> None:
        frames, rows, columns = pixels.shape[2:]
        stride = self.stride
        if rows % stride.rows or columns % stride.columns:
            raise SizeError(f"{columns}x{rows} pixels: width and height must be multiples of {stride.rows}; pad first")
        if frames % stride.time != int(is_first) % stride.time:
            need = f"{stride.time}k+1" if is_first else f"{stride.time}k"
            raise SizeError(f"{frames} frames: a codec chunk needs {need}; pad first")


def _run(blocks: nn.ModuleList, x: Cells, cache: CausalCache) -> Cells:
    cache[blocks] = x.new_empty(0)  # marks the chunk, also if there are no blocks
    for block in blocks:
        x = block(x, cache)
    return x


class Block(nn.Module):
    """A residual bottleneck: narrow, convolve over the neighbours in space and the frame before, widen."""

    def __init__(self, width: int, inner_width: int):
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.narrow = nn.Linear(width, inner_width)
        self.mix = NeighbourMix(inner_width)
        self.widen = nn.Linear(inner_width, width)
        nn.init.zeros_(self.widen.weight)  # the block starts as the identity
        nn.init.zeros_(self.widen.bias)

    def forward(self, x: Cells, cache: CausalCache) -> Cells:
        """The cells after the block."""
        return x + self.widen(F.silu(self.mix(F.silu(self.narrow(self.norm(x))), cache)))


class NeighbourMix(nn.Module):
    """A causal convolution with a kernel of 2 x 3 x 3, as one matrix product over gathered neighbours.

    Its backward pass is two matrix products, which on CPUs take half the time of the convolution's.
    """

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(2 * 3 * 3 * width, width)

    def forward(self, x: Cells, cache: CausalCache) -> Cells:
        """The convolution; cells outside the frame and before the first frame are zeros."""
        past = cache.get(self)
        frames = torch.cat([torch.zeros_like(x[:, :1]) if past is None else past, x], dim=1)
        cache[self] = x[:, -1:]
        num_frames, height, width = x.shape[1:4]
        padded = F.pad(frames, (0, 0, 1, 1, 1, 1))
        neighbours = [
            padded[:, time : time + num_frames, row : row + height, column : column + width]
            for time in range(2)
            for row in range(3)
            for column in range(3)
        ]
        return self.linear(torch.cat(neighbours, dim=-1))


class Head(nn.Module):
    """A norm and a projection that starts at zero, so that an untrained codec is its linear path."""

    def __init__(self, width: int, out_width: int):
        super().__init__()
        self.norm, self.linear = nn.RMSNorm(width, eps=1e-6), nn.Linear(width, out_width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Cells) -> Float[Tensor, "b t h w n"]:
        """The projected cells."""
        return self.linear(self.norm(x))
