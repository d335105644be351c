"""The diffusion transformer over packed spacetime patches: the block of Wan 2.1 and 2.2, so that their weights load.

What differs from the published form is bookkeeping, not arithmetic: the patch embedding is a Linear over flattened
patches (c, t, h, w), and so are the rows of the output projection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitascope.config import Config
from vitascope.kernels.attention import packed_attention
from vitascope.kernels.int8 import Int8Rules
from vitascope.kernels.linear import Linear
from vitascope.model.patches import Pack
from vitascope.model.rotary import apply_rotary, rotary_frequencies

LAST_BLOCKS = 2  # whose MLPs aren't rounded to 8 bits


class TransformerConfig(Config):
    """The shape of a transformer. width = num_heads * head_dim."""

    in_channels: int = Field(default=16, ge=1, le=1024)
    out_channels: int = Field(default=16, ge=1, le=1024)
    patch: tuple[int, int, int] = (1, 2, 2)  # latent frames, rows, columns per token
    num_layers: int = Field(ge=1, le=256)
    num_heads: int = Field(ge=1, le=256)
    head_dim: int = Field(ge=6, le=512)
    ffn_width: int = Field(ge=1, le=1 << 18)
    text_width: int = Field(ge=1, le=1 << 16)
    frequency_width: int = Field(default=256, ge=2, le=4096)
    cross_attention_norm: bool = True
    eps: float = Field(default=1e-6, gt=0, le=1e-2)
    prediction: Literal["clean", "velocity"] = "clean"  # how diffusion.py reads the output

    @field_validator("head_dim", "frequency_width")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"must be even (it is split into pairs), not {value}")
        return value

    @field_validator("patch")
    @classmethod
    def _is_positive(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(1 <= side <= 16 for side in value):
            raise ValueError(f"every side must be 1 to 16, not {value}")
        return value

    @property
    def width(self) -> int:
        """Width of a token inside the network."""
        return self.num_heads * self.head_dim

    @property
    def token_in(self) -> int:
        """Numbers in one token that goes in."""
        return self.in_channels * math.prod(self.patch)

    @property
    def token_out(self) -> int:
        """Numbers in one token that comes out."""
        return self.out_channels * math.prod(self.patch)


@dataclass(frozen=True)
class TextCache:
    """Keys and values that every block's cross-attention needs, in the order of the pack's context."""

    keys: tuple[Float[Tensor, "l heads d"], ...]
    values: tuple[Float[Tensor, "l heads d"], ...]


class TextKV(NamedTuple):
    """Keys and values of one block's cross-attention, with the lengths that assign tokens to texts."""

    keys: Float[Tensor, "l heads e"]
    values: Float[Tensor, "l heads e"]
    tokens_per_text: Sequence[int]  # video tokens that attend to each text
    text_lengths: Sequence[int]  # text tokens of each text
    counts: Int[Tensor, " l"] | None  # equal text tokens that each key stands for; None: one each


class Transformer(nn.Module):
    """Noisy patches of any mix of samples to the network's raw prediction, patch by patch."""

    def __init__(self, config: TransformerConfig, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config
        self.recompute_blocks = False  # trade a second forward pass for activation memory
        width = config.width
        self.patch_in = Linear(config.token_in, width)
        self.time_mlp = nn.Sequential(Linear(config.frequency_width, width), nn.SiLU(), Linear(width, width))
        self.time_modulation = Linear(width, 6 * width)
        self.text_mlp = _mlp(config.text_width, width, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.scale_shift_table = nn.Parameter(torch.empty(1, 2, width))
        self.proj_out = Linear(width, config.token_out)
        if not self.patch_in.weight.is_meta:  # no numbers there, and drawing them takes PyTorch a second of imports
            self.initialise(generator)

    def forward(self, pack: Pack, text_cache: TextCache | None = None) -> Float[Tensor, "n p"]:
        """One raw prediction per token of the pack; `diffusion.to_clean` and `to_velocity` read it.

        `text_cache` is the result of `encode_text` for this pack's context; without it, it is computed here.
        """
        text = self.encode_text(pack.context) if text_cache is None else text_cache
        lengths = (pack.tokens_per_text, pack.context_lengths, pack.context_counts)
        rotary = rotary_frequencies(pack.positions, self.config.head_dim)
        time, modulation = self._encode_sigmas(pack.sigmas)
        # modulation is indexed per run: r = noise_run neighbouring tokens that share a noise group
        group_of_run = pack.noise_group[:: pack.noise_run]
        dtype = self.patch_in.weight.dtype  # of the residual stream, also where autocast would make it half
        x = self.patch_in(pack.tokens.to(dtype)).to(dtype).unflatten(0, (-1, pack.noise_run))
        for block, keys, values in zip(self._blocks, text.keys, text.values, strict=True):
            x = self._run(block, x, modulation, group_of_run, rotary, pack.lengths, TextKV(keys, values, *lengths))
        shift, scale = (self.scale_shift_table.float() + time.unsqueeze(1)).unbind(1)
        x = _modulated_norm(x, _per_run(scale, group_of_run), _per_run(shift, group_of_run), self.config.eps)
        with torch.autocast(x.device.type, enabled=False):  # the loss divides by sigma, and rounding with it
            return self.proj_out(x.flatten(0, 1).to(self.proj_out.weight.dtype))

    def encode_text(self, context: Float[Tensor, "l e"]) -> TextCache:
        """Every block's text keys and values. They don't depend on the noise level: once per generation is enough."""
        context = self.text_mlp(context.to(self.patch_in.weight.dtype))
        pairs = [block.cross_attention.keys_and_values(context) for block in self._blocks]
        return TextCache(tuple(keys for keys, _ in pairs), tuple(values for _, values in pairs))

    def num_flops(self, pack: Pack, *, text_cached: bool = False) -> int:
        """Matrix multiplication FLOPs (2 per multiply-add) of one forward pass; a training step takes three of them."""
        lengths = (pack.lengths, pack.tokens_per_text, pack.context_lengths)
        return num_flops(self.config, *lengths, len(pack.sigmas), text_cached=text_cached)

    @property
    def int8_rules(self) -> Int8Rules:
        """Layers that 8-bit computation treats apart.

        Text keys and values are computed once per video. No later block corrects the MLPs of the last blocks.
        """
        last = tuple(f"blocks.{n}.ffn.*" for n in range(len(self.blocks))[-LAST_BLOCKS:])
        outside = ("patch_in", "time_mlp.*", "time_modulation", "text_mlp.*", "proj_out")
        text = ("blocks.*.cross_attention.key", "blocks.*.cross_attention.value")
        return Int8Rules(exact=outside + text + last, half=("blocks.*.self_attention.value", *last))

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Fresh weights, all of them, drawn from the generator (or torch's default one)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):  # keeps the variance of activations and of gradients about level
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, RMSNorm | nn.LayerNorm) and module.weight is not None:
                nn.init.ones_(module.weight)
        for layer in (*self.time_mlp, *self.text_mlp, self.time_modulation):
            if isinstance(layer, nn.Linear):  # small: at first the tables below, not sigma, decide the modulation
                nn.init.normal_(layer.weight, std=0.02, generator=generator)
        for table in (self.scale_shift_table, *(block.scale_shift_table for block in self._blocks)):
            # gates of about 1 / sqrt(width): the residual stream starts close to the patch embedding
            nn.init.normal_(table, std=self.config.width**-0.5, generator=generator)
        # the first prediction is 0, the mean of normalised data, whatever the input
        nn.init.zeros_(self.proj_out.weight)

    def _run(self, part: Callable[..., Tensor], *arguments: object) -> Tensor:
        if self.recompute_blocks and torch.is_grad_enabled():
            return checkpoint(part, *arguments, use_reentrant=False)
        return part(*arguments)

    @property
    def _blocks(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))

    def _encode_sigmas(self, sigmas: Float[Tensor, " g"]) -> tuple[Float[Tensor, "g d"], Float[Tensor, "g 6 d"]]:
        frequencies = sinusoids(sigmas * 1000, self.config.frequency_width)
        time = self.time_mlp(frequencies.to(self.patch_in.weight.dtype))
        return time.float(), self.time_modulation(F.silu(time)).unflatten(-1, (6, -1)).float()


class Block(nn.Module):
    """Self-attention, text cross-attention and MLP; the first and the last modulated by the noise level."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width = config.width
        self.eps = config.eps
        self.scale_shift_table = nn.Parameter(torch.empty(1, 6, width))
        self.self_attention = Attention(config)
        self.cross_norm = nn.LayerNorm(width, config.eps) if config.cross_attention_norm else None
        self.cross_attention = Attention(config)
        self.ffn = _mlp(width, config.ffn_width, width)

    def forward(
        self,
        x: Float[Tensor, "runs r d"],
        modulation: Float[Tensor, "g 6 d"],
        group_of_run: Int[Tensor, " runs"],
        rotary: tuple[Tensor, Tensor],
        lengths: Sequence[int],
        text: TextKV,
    ) -> Float[Tensor, "runs r d"]:
        """The tokens after one block; a run is r neighbouring tokens of one noise group."""
        # 1. self-attention within each sample
        shift, scale, gate = self._modulation(modulation, group_of_run, slice(0, 3))
        h = _modulated_norm(x, scale, shift, self.eps).flatten(0, 1)
        q = apply_rotary(self.self_attention.queries(h), *rotary)
        k, v = self.self_attention.keys_and_values(h)
        attended = self.self_attention(q, apply_rotary(k, *rotary), v, lengths, lengths)
        x = _add_gated(x, attended.view_as(x), gate)

        # 2. cross-attention to the text
        h = x if self.cross_norm is None else _norm(x, self.eps, self.cross_norm.weight, self.cross_norm.bias)
        q = self.cross_attention.queries(h.flatten(0, 1))
        x = x + self.cross_attention(q, *text).view_as(x)

        # 3. MLP
        shift, scale, gate = self._modulation(modulation, group_of_run, slice(3, 6))
        h = _modulated_norm(x, scale, shift, self.eps).flatten(0, 1)
        return _add_gated(x, self.ffn(h).view_as(x), gate)

    def _modulation(
        self, modulation: Float[Tensor, "g 6 d"], group_of_run: Tensor, which: slice
    ) -> Iterator[Float[Tensor, "runs 1 d"]]:
        """Shift, scale and gate of each run."""
        parts = self.scale_shift_table[:, which].float() + modulation[:, which]
        return (_per_run(part, group_of_run) for part in parts.unbind(1))


class Attention(nn.Module):
    """Projections around `packed_attention`, with queries and keys normalised over all heads together."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width = config.width
        self.num_heads = config.num_heads
        self.query, self.key, self.value, self.out = (Linear(width, width) for _ in range(4))
        self.query_norm, self.key_norm = RMSNorm(width, config.eps), RMSNorm(width, config.eps)

    def queries(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n heads e"]:
        """Normalised queries, split into heads."""
        return self.query_norm(self.query(x)).unflatten(-1, (self.num_heads, -1))

    def keys_and_values(self, x: Float[Tensor, "m d"]) -> tuple[Float[Tensor, "m heads e"], Float[Tensor, "m heads e"]]:
        """Normalised keys, and values, split into heads."""
        keys, values = self.key_norm(self.key(x)), self.value(x)
        return keys.unflatten(-1, (self.num_heads, -1)), values.unflatten(-1, (self.num_heads, -1))

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        q_lengths: Sequence[int],
        k_lengths: Sequence[int],
        k_counts: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "n d"]:
        """The attended values, sample by sample, projected back to the residual stream."""
        attended = packed_attention(q.to(v.dtype), k.to(v.dtype), v, q_lengths, k_lengths, k_counts)
        return self.out(attended.flatten(1))


class RMSNorm(nn.Module):
    """x / rms(x) * weight, over the last axis."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The normalised tokens."""
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


def _mlp(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    # the GELU is the first layer's; Wan's weights are numbered as if it were a layer between the two
    return nn.Sequential(Linear(width_in, hidden, gelu=True), nn.Identity(), Linear(hidden, width_out))


def sinusoids(time: Float[Tensor, " g"], width: int) -> Float[Tensor, "g width"]:
    """Cosines, then sines, of `time` at width / 2 frequencies from 1 down to nearly 1 / 10000.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000) / half * torch.arange(half, dtype=torch.float32, device=time.device))
    angle = torch.outer(time.float(), frequencies)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def num_flops(
    config: TransformerConfig,
    lengths: Sequence[int],
    tokens_per_text: Sequence[int],
    text_lengths: Sequence[int],
    num_sigmas: int,
    *,
    text_cached: bool = False,
) -> int:
    """Matrix multiplication FLOPs (2 per multiply-add) of one forward pass over samples of these lengths.

    tokens_per_text and text_lengths hold, for each text, how many video tokens attend to it and its own length.
    num_sigmas is the number of distinct noise levels; with text_cached the keys and values of the text are given.
    """
    d, layers = config.width, config.num_layers
    token = d * (config.token_in + config.token_out) + layers * (6 * d * d + 2 * d * config.ffn_width)
    text_token = 0 if text_cached else d * (config.text_width + d) + layers * 2 * d * d
    sigma = d * (config.frequency_width + d + 6 * d)
    cross = sum(n * m for n, m in zip(tokens_per_text, text_lengths, strict=True))
    attended = sum(n * n for n in lengths) + cross  # scores; as many for the values
    return 2 * (sum(lengths) * token + sum(text_lengths) * text_token + num_sigmas * sigma + layers * 2 * d * attended)


def _per_run(values: Float[Tensor, "g d"], group_of_run: Tensor) -> Float[Tensor, "runs 1 d"]:
    return values.index_select(0, group_of_run).unsqueeze(1)


def _modulated_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    # fp32: the statistics, and scales close to 1, don't survive half precision
    if len(x) == 1:  # one run: its scale and shift are the norm's own weight and bias, which takes one sweep less
        return _norm(x, eps, 1 + scale.flatten(), shift.flatten())
    return torch.addcmul(shift, _norm(x.float(), eps), 1 + scale).to(x.dtype)


def _norm(x: Tensor, eps: float, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    weight, bias = (None if p is None else p.float() for p in (weight, bias))
    return F.layer_norm(x.float(), x.shape[-1:], weight, bias, eps).to(x.dtype)


def _add_gated(x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
    return torch.addcmul(x.float(), branch.float(), gate).to(x.dtype)
