"""The video compression network: a causal 3-D convolutional autoencoder; one class covers all sizes.

It encodes pixels [b, 3, 1+4k, h, w] in [-1, 1] to latents of unit variance and decodes them. Latents have the shape [b,
c, 1+k, h/8, w/8]. No layer sees later frames and the first frame stands alone: an image is a one-frame video, and a
video can be coded in chunks. Each layer keeps its last input frames in a `CausalCache` that the caller passes in (see
`streaming.py`).

Architecture: the Wan 2.1 video VAE (arXiv:2503.20314, section 4.1) and, with `residual_shortcuts` and `pixel_patch`,
the Wan 2.2 one; the config `playground` is a small member of the same family.

Layers next to pixels and latents run without autocast. Their gradients are sums of many opposite terms: rounded to
bfloat16, training stalls.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitascope.codec.layers import CausalCache, CausalConv3d, ChannelNorm, LinearPath
from vitascope.codec.video_codec import Stride as Stride
from vitascope.codec.video_codec import TrainableCodec
from vitascope.config import Config
from vitascope.errors import SizeError
from vitascope.kernels.conv import Conv3d, DoublingConv3d, Frames
from vitascope.kernels.device import CPU, without_autocast
from vitascope.kernels.int8 import Int8Rules

INITIAL_LOG_VARIANCE = -6.0
MAX_WIDTH_TO_OVERLAP = 128


class CodecConfig(Config):
    """The architecture of a codec, and the statistics of its latents."""

    latent_channels: int = Field(default=16, ge=1, le=256)
    base_width: int = Field(default=32, ge=4, le=512)
    decoder_base_width: int | None = Field(default=None, ge=4, le=512)
    width_multipliers: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(default=(1, 2, 2), max_length=8)
    num_residual_blocks: int = Field(default=1, ge=1, le=8)
    temporal_downsample: tuple[bool, ...] = (True, True)
    pixel_patch: int = Field(default=2, ge=1, le=8)
    residual_shortcuts: bool = True
    linear_path: bool = False
    latent_mean: tuple[float, ...] = ()
    latent_std: tuple[Annotated[float, Field(gt=0)], ...] = ()

    @model_validator(mode="after")
    def _lengths_agree(self) -> CodecConfig:
        if len(self.temporal_downsample) != len(self.width_multipliers) - 1:
            num, wanted = len(self.temporal_downsample), len(self.width_multipliers) - 1
            raise ValueError(f"temporal_downsample has {num} entries; give {wanted}, one fewer than width_multipliers")
        for name, values in (("latent_mean", self.latent_mean), ("latent_std", self.latent_std)):
            if len(values) not in (0, self.latent_channels):
                raise ValueError(f"{name} has {len(values)} entries; give {self.latent_channels}, one per channel")
        most = 3 * (self.pixel_patch * 2 ** len(self.temporal_downsample)) ** 2
        if self.linear_path and self.latent_channels > most:
            raise ValueError(f"latent_channels is {self.latent_channels}; linear_path allows at most {most} here")
        return self


class Codec(TrainableCodec):
    """Encoder and decoder of normalised latents."""

    # the encoder stays exact: its errors would remain in the latents
    int8_rules = Int8Rules(
        exact=("encoder.*", "to_moments", "from_latent", "decoder.conv_in", "decoder.conv_out", "linear_path.*")
    )

    edge_layers = ("conv_in", "conv_out", "to_moments", "from_latent", "linear_path")

    config: CodecConfig
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.config = config
        self.latent_channels = config.latent_channels
        self.encoder = Encoder(config)
        self.to_moments = CausalConv3d(2 * config.latent_channels, 2 * config.latent_channels, (1, 1, 1))
        self.from_latent = CausalConv3d(config.latent_channels, config.latent_channels, (1, 1, 1))
        self.decoder = Decoder(config)
        self.linear_path = LinearPath(config.latent_channels, self.stride) if config.linear_path else None
        assert self.to_moments.bias is not None
        with torch.no_grad():  # a narrow posterior at first: under unit noise the decoder learns to ignore the latents
            self.to_moments.bias[config.latent_channels :] = INITIAL_LOG_VARIANCE
        mean, std = config.latent_mean or (0.0,), config.latent_std or (1.0,)
        # numbers even if the network is built on the meta device, since weight files don't hold them
        for name, values in (("latent_mean", mean), ("latent_std", std)):
            self.register_buffer(name, torch.tensor(values, device=CPU).view(1, -1, 1, 1, 1), persistent=False)

    @property
    def stride(self) -> Stride:
        """Pixel frames, rows and columns per latent cell."""
        space = self.config.pixel_patch * 2 ** len(self.config.temporal_downsample)
        return Stride(2 ** sum(self.config.temporal_downsample), space, space)

    @property
    def encoder_parts(self) -> tuple[nn.Module, ...]:
        """Modules that compute latents."""
        return self.encoder, self.to_moments

    @property
    def last_weight(self) -> Tensor:
        """Weight of the layer that gives pixels; it balances the adversarial loss."""
        return self.decoder.conv_out.weight

    @torch.no_grad()
    def silence_network(self) -> None:
        """Zero the network's last layers, so that the codec is its linear path alone."""
        for last_layer in (self.encoder.conv_out, self.decoder.conv_out):
            for parameter in last_layer.parameters():
                parameter.zero_()
        assert self.to_moments.bias is not None
        self.to_moments.bias[: self.latent_channels] = 0

    @property
    def can_overlap_chunks(self) -> bool:
        """True for narrow codecs. Wider codecs were not measured, so their chunks run one at a time."""
        return max(self.config.base_width, self.config.decoder_base_width or 0) <= MAX_WIDTH_TO_OVERLAP

    def encode(
        self, pixels: Float[Tensor, "b 3 t h w"], cache: CausalCache | None = None
    ) -> Float[Tensor, "b c t2 h2 w2"]:
        """Latents of unit variance: the mean of the posterior.

        With a cache, the first chunk has 1 + 4k frames and later ones 4k. Joined latents of chunks equal the latents of
        the whole video.

        Raises:
            SizeError: the stride does not divide rows, columns or frames.
        """
        mean, _ = self.encode_moments(pixels, cache)
        return (mean - self.latent_mean) / self.latent_std

    def encode_moments(
        self, pixels: Float[Tensor, "b 3 t h w"], cache: CausalCache | None = None
    ) -> tuple[Frames, Frames]:
        """Mean and log-variance of the posterior; the mean is not normalised."""
        cache = CausalCache() if cache is None else cache
        self._check_pixels(pixels, first_chunk=not cache)
        # before the encoder, which fills the cache
        with without_autocast(pixels.device):
            straight = 0 if self.linear_path is None else self.linear_path.encode(pixels, first_chunk=not cache)
        features = self.encoder(fold_pixels(pixels, self.config.pixel_patch), cache)
        with without_autocast(pixels.device):
            mean, log_variance = self.to_moments(features, cache).chunk(2, dim=1)
        return mean + straight, log_variance.clamp(-30.0, 20.0)

    def decode(
        self, latent: Float[Tensor, "b c t h w"], cache: CausalCache | None = None
    ) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """Pixels, nominally in [-1, 1], of normalised latents: 1 + 4k frames in the first chunk, then 4k."""
        return self.decode_raw(latent * self.latent_std + self.latent_mean, cache)

    def decode_raw(self, latent: Frames, cache: CausalCache | None = None) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """Pixels of latents that are not normalised."""
        cache = CausalCache() if cache is None else cache
        with without_autocast(latent.device):
            straight = 0 if self.linear_path is None else self.linear_path.decode(latent, first_chunk=not cache)
        pixels = unfold_pixels(self.decoder(self.from_latent(latent, cache), cache), self.config.pixel_patch)
        return pixels + straight

    def _check_pixels(self, pixels: Tensor, first_chunk: bool) -> None:
        frames, rows, columns = pixels.shape[2:]
        stride = self.stride
        if rows % stride.rows or columns % stride.columns:
            raise SizeError(f"{columns}x{rows} pixels: width and height must be multiples of {stride.rows}; pad first")
        if frames % stride.time != int(first_chunk) % stride.time:
            need = f"{stride.time}k+1" if first_chunk else f"{stride.time}k"
            raise SizeError(f"{frames} frames: a codec chunk needs {need}; pad first")


class Encoder(nn.Module):
    """Folded pixels to features of the posterior: twice the latent channels."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        widths = [config.base_width * m for m in (1, *config.width_multipliers)]
        self.conv_in = CausalConv3d(3 * config.pixel_patch**2, widths[0], (3, 3, 3))
        self.stages = nn.ModuleList()
        for i, (width, next_width) in enumerate(pairwise(widths)):
            last = i == len(widths) - 2
            time = not last and config.temporal_downsample[i]
            down = None if last else Downsample(next_width, in_time=time)
            shortcut = (
                MeanDown(width, next_width, 2 if time else 1, 1 if last else 2) if config.residual_shortcuts else None
            )
            self.stages.append(Stage(width, next_width, config.num_residual_blocks, down, shortcut))
        self.middle = Middle(widths[-1])
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], 2 * config.latent_channels, (3, 3, 3))

    def forward(self, x: Frames, cache: CausalCache) -> Frames:
        x = self.conv_in(x, cache)
        for stage in self.stages:
            x = stage(x, cache)
        x = self.middle(x, cache)
        with without_autocast(x.device):
            return self.conv_out(x.float(), cache, self.norm_out)


class Decoder(nn.Module):
    """Latents to folded pixels: the mirrored encoder with one more block per stage."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        base = config.decoder_base_width or config.base_width
        multipliers = (config.width_multipliers[-1], *reversed(config.width_multipliers))
        widths = [base * m for m in multipliers]
        in_time = tuple(reversed(config.temporal_downsample))
        self.conv_in = CausalConv3d(config.latent_channels, widths[0], (3, 3, 3))
        self.middle = Middle(widths[0])
        self.stages = nn.ModuleList()
        for i, (width, next_width) in enumerate(pairwise(widths)):
            last = i == len(widths) - 2
            time = not last and in_time[i]
            if config.residual_shortcuts:
                up = None if last else Upsample(next_width, next_width, in_time=time)
                shortcut = None if last else RepeatUp(width, next_width, 2 if time else 1, 2)
            else:  # the upsampling before this stage halves the channels
                width = width if i == 0 else width // 2
                up = None if last else Upsample(next_width, next_width // 2, in_time=time)
                shortcut = None
            self.stages.append(Stage(width, next_width, config.num_residual_blocks + 1, up, shortcut))
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], 3 * config.pixel_patch**2, (3, 3, 3))

    def forward(self, x: Frames, cache: CausalCache) -> Frames:
        x = self.middle(self.conv_in(x, cache), cache)
        for stage in self.stages:
            x = stage(x, cache)
        with without_autocast(x.device):
            return self.conv_out(x.float(), cache, self.norm_out)


class Stage(nn.Module):
    """Residual blocks at one resolution, then a change of resolution; Wan 2.2 adds a shortcut without parameters."""

    def __init__(
        self, in_width: int, out_width: int, num_blocks: int, resample: nn.Module | None, shortcut: nn.Module | None
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(in_width if i == 0 else out_width, out_width) for i in range(num_blocks)
        )
        self.resample = resample
        self.shortcut = shortcut

    def forward(self, x: Frames, cache: CausalCache) -> Frames:
        entering = x
        for block in self.blocks:
            x = block(x, cache)
        if self.resample is not None:
            x = self.resample(x, cache)
        return x if self.shortcut is None else x + self.shortcut(entering, cache)


class Middle(nn.Module):
    """Block, attention within each frame, block."""

    def __init__(self, width: int):
        super().__init__()
        self.block_in = ResidualBlock(width, width)
        self.attention = FrameAttention(width)
        self.block_out = ResidualBlock(width, width)

    def forward(self, x: Frames, cache: CausalCache) -> Frames:
        return self.block_out(self.attention(self.block_in(x, cache)), cache)


class ResidualBlock(nn.Module):
    """Two causal convolutions, each after a norm and SiLU."""

    def __init__(self, in_width: int, out_width: int):
        super().__init__()
        self.norm1 = ChannelNorm(in_width)
        self.conv1 = CausalConv3d(in_width, out_width, (3, 3, 3))
        self.norm2 = ChannelNorm(out_width)
        self.conv2 = CausalConv3d(out_width, out_width, (3, 3, 3))
        self.shortcut = nn.Identity() if in_width == out_width else Conv3d(in_width, out_width, 1)

    def forward(self, x: Frames, cache: CausalCache) -> Frames:
        y = self.conv1(x, cache, self.norm1)
        y = self.conv2(y, cache, self.norm2)
        shortcut = self.shortcut(x)
        # in place in inference, unless autocast makes the dtypes differ
        return y.add_(shortcut) if torch.is_inference_mode_enabled() and y.dtype == shortcut.dtype else shortcut + y


class FrameAttention(nn.Module):
    """Single-head self-attention over the cells of each frame."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = ChannelNorm(width)
        self.to_qkv = Conv3d(width, 3 * width, 1)
        self.to_out = Conv3d(width, width, 1)

    def forward(self, x: Frames) -> Frames:
        q, k, v = rearrange(self.to_qkv(self.norm(x)), "b (qkv c) t h w -> qkv (b t) 1 (h w) c", qkv=3)
        y = F.scaled_dot_product_attention(q, k, v)
        y = rearrange(y, "(b t) 1 (h w) c -> b c t h w", b=x.shape[0], h=x.shape[3])
        return x + self.to_out(y)


class Downsample(nn.Module):
    """Halves rows and columns and, with `in_time`, the frames after the first."""

    def __init__(self, width: int, in_time: bool):
        super().__init__()
        self.in_space = Conv3d(width, width, (1, 3, 3), stride=(1, 2, 2))
        self.in_time = Conv3d(width, width, (3, 1, 1), stride=(2, 1, 1)) if in_time else None

    def forward(self, x: Frames, cache: CausalCache) -> Frames:
        x = self.in_space(F.pad(x, (0, 1, 0, 1)))
        if self.in_time is None:
            return x
        past = cache.get(self)
        if past is not None:
            x = torch.cat([past, x], dim=2)
        cache[self] = x[:, :, -1:]  # after the copy of past, which this may overwrite
        if past is not None:
            return self.in_time(x)
        return x if x.shape[2] == 1 else torch.cat([x[:, :, :1], self.in_time(x)], dim=2)


class Upsample(nn.Module):
    """Upsampling by 2 in rows and columns and, with `in_time`, in the frames after the first."""

    def __init__(self, width: int, out_width: int, in_time: bool):
        super().__init__()
        self.in_time = CausalConv3d(width, 2 * width, (3, 1, 1)) if in_time else None
        self.in_space = DoublingConv3d(width, out_width)

    def forward(self, x: Frames, cache: CausalCache) -> Frames:
        if self.in_time is not None:
            started = self in cache
            cache[self] = x.new_empty(0)  # marks the chunk; the next chunk waits for it
            if started:
                x = self._double_frames(x, cache)
            elif x.shape[2] > 1:  # the first frame stands alone; the others don't see it
                x = torch.cat([x[:, :, :1], self._double_frames(x[:, :, 1:], cache)], dim=2)
        return self.in_space(x)

    def _double_frames(self, x: Frames, cache: CausalCache) -> Frames:
        assert self.in_time is not None
        return rearrange(self.in_time(x, cache), "b (two c) t h w -> b c (t two) h w", two=2)


class MeanDown(nn.Module):
    """Shortcut of Wan 2.2: fold space and time into channels, average groups of channels."""

    def __init__(self, in_width: int, out_width: int, time: int, space: int):
        super().__init__()
        self.out_width, self.time, self.space = out_width, time, space

    def forward(self, x: Frames, cache: CausalCache) -> Frames:
        x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % self.time, 0))
        x = rearrange(x, "b c (t p) (h q) (w r) -> b (c p q r) t h w", p=self.time, q=self.space, r=self.space)
        return reduce(x, "b (c g) t h w -> b c t h w", "mean", c=self.out_width)


class RepeatUp(nn.Module):
    """Shortcut of Wan 2.2: repeat channels, unfold them into space and time."""

    def __init__(self, in_width: int, out_width: int, time: int, space: int):
        super().__init__()
        self.repeats = out_width * time * space**2 // in_width
        self.time, self.space = time, space

    def forward(self, x: Frames, cache: CausalCache) -> Frames:
        first_chunk = self not in cache
        cache[self] = x.new_empty(0)  # marks the chunk; the next chunk waits for it
        x = repeat(x, "b c t h w -> b (c n) t h w", n=self.repeats)
        x = rearrange(x, "b (c p q r) t h w -> b c (t p) (h q) (w r)", p=self.time, q=self.space, r=self.space)
        return x[:, :, self.time - 1 :] if first_chunk else x


def fold_pixels(pixels: Frames, patch: int) -> Frames:
    """Patches of pixels as channels, in the order of the Wan 2.2 VAE."""
    return rearrange(pixels, "b c t (h q) (w r) -> b (c r q) t h w", q=patch, r=patch)


def unfold_pixels(x: Frames, patch: int) -> Frames:
    """The inverse of `fold_pixels`."""
    return rearrange(x, "b (c r q) t h w -> b c t (h q) (w r)", q=patch, r=patch)
