"""The diffusion transformer over packed spacetime patches: the block of Wan 2.1 and 2.2, so that their weights load.

Only the layout differs from the published form. The patch embedding is a Linear over flattened patches (c, t, h, w),
and the rows of the output projection are in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitascope.config import Config
from vitascope.kernels.attention import AttentionPlan, plan_attention
from vitascope.kernels.device import autocast_dtype, without_autocast
from vitascope.kernels.int8 import Int8Rules
from vitascope.kernels.linear import Linear, select_rows
from vitascope.model.patches import Pack, apply_rotary, rotary_table

MAX_GRAPHS = 64  # of compiled blocks; PyTorch's limit of 8 is for functions that are compiled again for every size
LAST_BLOCKS = 2  # whose MLPs aren't rounded to 8 bits


class TransformerConfig(Config):
    """The shape of a transformer."""

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
            raise ValueError(f"must be even, got {value}: channels are split into pairs")
        return value

    @field_validator("patch")
    @classmethod
    def _is_positive(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(1 <= side <= 16 for side in value):
            raise ValueError(f"every side must be 1 to 16, got {value}")
        return value

    @property
    def width(self) -> int:
        """Width of a token inside the network."""
        return self.num_heads * self.head_dim

    @property
    def token_in(self) -> int:
        """Values in an input token."""
        return self.in_channels * math.prod(self.patch)

    @property
    def token_out(self) -> int:
        """Values in an output token."""
        return self.out_channels * math.prod(self.patch)


class Transformer(nn.Module):
    """Raw predictions of the network for the noisy patches of any mix of samples."""

    def __init__(self, config: TransformerConfig, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config
        # True saves memory in training: activations inside a block are dropped, and computed again by the backward pass
        self.recompute_blocks = False
        self._is_compiled = False
        width = config.width
        self.patch_in = Linear(config.token_in, width)
        self.time_mlp = nn.Sequential(Linear(config.frequency_width, width), nn.SiLU(), Linear(width, width))
        self.time_modulation = Linear(width, 6 * width)
        self.text_mlp = _mlp(config.text_width, width, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.scale_shift_table = nn.Parameter(torch.empty(1, 2, width))
        self.proj_out = Linear(width, config.token_out)
        if not self.patch_in.weight.is_meta:  # no values there, and PyTorch would import for a second to draw them
            self.initialise(generator)

    def forward(self, pack: Pack, prepared: Prepared | None = None) -> Float[Tensor, "n p"]:
        """One raw prediction per token of the pack; `diffusion.to_clean` and `to_velocity` interpret it.

        `prepared` is the result of `prepare` for this pack, at any step; without it, it is computed here.
        """
        plan, texts = self.prepare(pack) if prepared is None else prepared
        time, modulation = self._encode_sigmas(pack.sigmas)
        # modulation is indexed per run: r = noise_run neighbouring tokens that share a noise group
        run = 1 if self._is_compiled else pack.noise_run
        group_of_run = pack.noise_group[::run]
        dtype = self.patch_in.weight.dtype  # of the residual stream, also where autocast would make it half
        x = self.patch_in(pack.tokens.to(dtype)).to(dtype).unflatten(0, (-1, run))
        if self._is_compiled:  # no view, like the blocks' results: Dynamo compiles again for views
            x = x.clone()
        for block, text in zip(self._blocks, texts, strict=True):
            x = self._run(block, x, modulation, group_of_run, plan, text)
        shift, scale = (self.scale_shift_table.float() + time.unsqueeze(1)).unbind(1)
        x = _modulated_norm(x, _per_run(scale, group_of_run), _per_run(shift, group_of_run), self.config.eps)
        with without_autocast(x.device):  # the loss divides by sigma and would amplify rounding errors
            return self.proj_out(x.flatten(0, 1).to(self.proj_out.weight.dtype))

    def prepare(self, pack: Pack) -> Prepared:
        """Values that do not depend on tokens or noise levels. Compute them once per pack, for all sampling steps."""
        stored = self.patch_in.weight
        kernel = {
            "device": stored.device,
            "dtype": autocast_dtype(stored.device) or stored.dtype,
            "head_dim": self.config.head_dim,
        }
        plan = SequencePlan(
            rotary=rotary_table(pack.positions, self.config.head_dim).to(stored.device),
            within_samples=plan_attention(pack.lengths, pack.lengths, **kernel),
            to_texts=plan_attention(pack.tokens_per_text, pack.context_lengths, pack.context_counts, **kernel),
        )
        context = self.text_mlp(pack.context.to(stored.dtype))
        pairs = (block.cross_attention.keys_and_values(context) for block in self._blocks)
        return Prepared(plan, tuple(TextKV(plan.to_texts.expand(k), plan.to_texts.expand(v)) for k, v in pairs))

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Run every block through torch.compile from now on, for generation and training; weights keep their names.

        All blocks share one graph without breaks, for packs of any lengths: they are inputs, not constants. Results
        differ from uncompiled ones by rounding.
        """
        # one for each combination of gradients and counts
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MAX_GRAPHS)
        self._is_compiled = True  # every token then has a run of its own, so that all packs share one graph
        for block in self._blocks:
            block.compile(backend=backend, fullgraph=True, dynamic=True)

    def num_flops(self, pack: Pack, *, text_cached: bool = False) -> int:
        """Matrix multiplication FLOPs (2 per multiply-add) of one forward pass; a training step takes three."""
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
        """Initialise all weights from a CPU generator, by default torch's own."""
        for module in self.modules():
            if isinstance(module, nn.Linear):  # keeps the variance of activations and gradients
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
        # the first prediction is 0, the mean of normalised data, for every input
        nn.init.zeros_(self.proj_out.weight)

    def _run(self, block: Callable[..., Tensor], *arguments: object) -> Tensor:
        if self.recompute_blocks and torch.is_grad_enabled():
            return checkpoint(block, *arguments, use_reentrant=False)
        return block(*arguments)

    @property
    def _blocks(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))

    def _encode_sigmas(self, sigmas: Float[Tensor, " g"]) -> tuple[Float[Tensor, "g d"], Float[Tensor, "g 6 d"]]:
        frequencies = sinusoids(sigmas * 1000, self.config.frequency_width)
        time = self.time_mlp(frequencies.to(self.patch_in.weight.dtype))
        return time.float(), self.time_modulation(F.silu(time)).unflatten(-1, (6, -1)).float()


class SequencePlan(NamedTuple):
    """Positions and lengths of a pack in the form that every block uses."""

    rotary: Float[Tensor, "n half 2"]
    within_samples: AttentionPlan
    to_texts: AttentionPlan


class TextKV(NamedTuple):
    """Keys and values of one block's cross-attention, expanded for its plan."""

    keys: Float[Tensor, "l heads e"]
    values: Float[Tensor, "l heads e"]


class Prepared(NamedTuple):
    """The result of `Transformer.prepare`."""

    plan: SequencePlan
    texts: tuple[TextKV, ...]  # one per block


class Block(nn.Module):
    """Self-attention, text cross-attention and MLP; the noise level modulates the first and the last."""

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
        plan: SequencePlan,
        text: TextKV,
    ) -> Float[Tensor, "runs r d"]:
        """The tokens after one block; a run is r neighbouring tokens of one noise group."""
        # 1. self-attention within each sample
        shift, scale, gate = self._modulation(modulation, group_of_run, slice(0, 3))
        h = _modulated_norm(x, scale, shift, self.eps).flatten(0, 1)
        attended = self.self_attention(*self.self_attention.rotated(h, plan.rotary), plan.within_samples)
        x = _add_gated(x, attended.view_as(x), gate)

        # 2. cross-attention to the text
        h = x if self.cross_norm is None else _norm(x, self.eps, self.cross_norm.weight, self.cross_norm.bias)
        q = self.cross_attention.queries(h.flatten(0, 1))
        x = x + self.cross_attention(q, text.keys, text.values, plan.to_texts).view_as(x)

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
    """Projections around packed attention, with queries and keys normalised over all heads together."""

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

    def rotated(self, x: Float[Tensor, "n d"], rotary: Float[Tensor, "n half 2"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys rotated by their positions, and values, each [n, heads, e]."""
        layers = (self.query, self.key, self.value)
        if not torch.compiler.is_compiling() or any(type(layer) is not Linear for layer in layers):
            q = apply_rotary(self.queries(x), rotary)
            k, v = self.keys_and_values(x)
            return q, apply_rotary(k, rotary), v
        # One product for all three. Scores don't depend on the order of a head's channels, so the even ones of queries
        # and keys come first: compilers don't vectorise rotations of neighbours.
        weight, bias = (
            torch.cat([*map(self._halves, (query, key)), value])
            for query, key, value in ([getattr(layer, name) for layer in layers] for name in ("weight", "bias"))
        )
        q, k, v = F.linear(x.to(weight.dtype), weight, bias).chunk(3, dim=-1)
        q, k = (
            self._rotated_halves(
                F.rms_norm(each, each.shape[-1:], self._halves(norm.weight).to(each.dtype), norm.eps), rotary
            )
            for each, norm in ((q, self.query_norm), (k, self.key_norm))
        )
        return q, k, v.unflatten(-1, (self.num_heads, -1))

    def _halves(self, rows: Tensor) -> Tensor:
        """Rows of the channels, each head's even ones before its odd ones."""
        # not einops: its caches would make Dynamo compile again
        return rows.unflatten(0, (self.num_heads, -1, 2)).transpose(1, 2).flatten(0, 2)

    def _rotated_halves(self, x: Float[Tensor, "n d"], rotary: Float[Tensor, "n half 2"]) -> Float[Tensor, "n heads e"]:
        even, odd = x.float().unflatten(-1, (self.num_heads, 2, -1)).unbind(2)
        cos, sin = rotary.unsqueeze(1).unbind(-1)
        return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=-1).type_as(x)

    def forward(
        self,
        q: Float[Tensor, "n heads e"],
        k: Float[Tensor, "m heads e"],
        v: Float[Tensor, "m heads e"],
        plan: AttentionPlan,
    ) -> Float[Tensor, "n d"]:
        """The attended values of each sample, projected to the residual stream."""
        return self.out(plan(q.to(v.dtype), k.to(v.dtype), v).flatten(1))


class RMSNorm(nn.Module):
    """x / rms(x) * weight, over the last axis."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The normalised tokens."""
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


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

    tokens_per_text and text_lengths hold the video tokens that attend to each text, and the text's own tokens.
    num_sigmas counts distinct noise levels. With text_cached, the text's keys and values are computed elsewhere.
    """
    d, layers = config.width, config.num_layers
    token = d * (config.token_in + config.token_out) + layers * (6 * d * d + 2 * d * config.ffn_width)
    text_token = 0 if text_cached else d * (config.text_width + d) + layers * 2 * d * d
    sigma = d * (config.frequency_width + d + 6 * d)
    cross = sum(n * m for n, m in zip(tokens_per_text, text_lengths, strict=True))
    attended = sum(n * n for n in lengths) + cross  # products for scores; those with the values are equal in number
    return 2 * (sum(lengths) * token + sum(text_lengths) * text_token + num_sigmas * sigma + layers * 2 * d * attended)


def sinusoids(time: Float[Tensor, " g"], width: int) -> Float[Tensor, "g width"]:
    """Cosines, then sines, of `time` at width / 2 frequencies from 1 down to nearly 1 / 10000.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000) / half * torch.arange(half, dtype=torch.float32, device=time.device))
    angle = torch.outer(time.float(), frequencies)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def _mlp(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    # the first layer includes the GELU; the Identity in its place keeps the numbering of Wan's weights
    return nn.Sequential(Linear(width_in, hidden, gelu=True), nn.Identity(), Linear(hidden, width_out))


def _per_run(values: Float[Tensor, "g d"], group_of_run: Tensor) -> Float[Tensor, "runs 1 d"]:
    return select_rows(values, group_of_run).unsqueeze(1)


def _modulated_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    # fp32: half precision is too coarse for the statistics and for scales close to 1
    if len(x) == 1:  # one run: its scale and shift serve as the norm's weight and bias, which saves a pass over x
        return _norm(x, eps, 1 + scale.flatten(), shift.flatten())
    return torch.addcmul(shift, _norm(x.float(), eps), 1 + scale).to(x.dtype)


def _norm(x: Tensor, eps: float, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    weight, bias = (None if p is None else p.float() for p in (weight, bias))
    return F.layer_norm(x.float(), x.shape[-1:], weight, bias, eps).to(x.dtype)


def _add_gated(x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
    return torch.addcmul(x.float(), branch.float(), gate).to(x.dtype)
