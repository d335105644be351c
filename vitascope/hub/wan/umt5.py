"""umT5's encoder, the text encoder of Wan's models, from a folder of `transformers`. Needs the extra `interop`.

The network is our own: importing `transformers` takes longer than loading a small model.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn

from vitascope.errors import PromptError
from vitascope.files import read_json
from vitascope.hub.wan.peer import PeerConfig, parse_peer
from vitascope.hub.weights import CONFIG_FILE, LazyNetwork, TensorMaps, file_of_tensor, reshape_map
from vitascope.kernels.device import META
from vitascope.kernels.linear import Linear
from vitascope.model.text import read_tokenizer, token_ids

CLASS = "UMT5EncoderModel"
WEIGHTS = "model.safetensors"
WORDS = "shared.weight"
TIED = (WORDS, "encoder.embed_tokens.weight")  # two names of one table
NUM_STATES = 512
BLOCK_NAMES = {
    "attention_norm": "layer.0.layer_norm",
    "query": "layer.0.SelfAttention.q",
    "key": "layer.0.SelfAttention.k",
    "value": "layer.0.SelfAttention.v",
    "out": "layer.0.SelfAttention.o",
    "bias_of_distance": "layer.0.SelfAttention.relative_attention_bias",
    "ffn_norm": "layer.1.layer_norm",
    "gate": "layer.1.DenseReluDense.wi_0",
    "up": "layer.1.DenseReluDense.wi_1",
    "down": "layer.1.DenseReluDense.wo",
}


class UMT5Config(PeerConfig):
    """The encoder's part of the peer's config.json, with the peer's defaults."""

    vocab_size: int = Field(250112, ge=1, le=1 << 24)
    d_model: int = Field(512, ge=1, le=1 << 16)
    d_kv: int = Field(64, ge=1, le=1 << 12)
    d_ff: int = Field(1024, ge=1, le=1 << 18)
    num_layers: int = Field(8, ge=1, le=256)
    num_heads: int = Field(6, ge=1, le=256)
    layer_norm_epsilon: float = Field(1e-6, ge=0, le=1e-2)
    relative_attention_num_buckets: Literal[32] = 32
    relative_attention_max_distance: Literal[128] = 128
    feed_forward_proj: Literal["gated-gelu"] = "gated-gelu"


class UMT5(nn.Module):
    """A transformer encoder from token ids to states, with attention in both directions. New weights are uninitialised.

    Source: Chung et al. 2023 (arXiv:2304.09151); Raffel et al. 2020 (arXiv:1910.10683) for T5.
    """

    def __init__(self, config: UMT5Config):
        super().__init__()
        self.words = nn.Parameter(torch.empty(config.vocab_size, config.d_model))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm_out = nn.RMSNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.num_buckets = config.relative_attention_num_buckets
        self.max_distance = config.relative_attention_max_distance

    def forward(self, ids: Int64[Tensor, " l"]) -> Float[Tensor, "l e"]:
        places = torch.arange(len(ids), device=ids.device)
        buckets = distance_buckets(places - places[:, None], self.num_buckets, self.max_distance)
        x = self.words[ids]
        for block in self.blocks:
            x = block(x, buckets)
        return self.norm_out(x)


class Block(nn.Module):
    """Attention, then a gated feed-forward layer. Unlike in T5, each block has its own distance biases."""

    def __init__(self, config: UMT5Config):
        super().__init__()
        width, inner, self.num_heads = config.d_model, config.num_heads * config.d_kv, config.num_heads
        self.attention_norm = nn.RMSNorm(width, eps=config.layer_norm_epsilon)
        self.query = Linear(width, inner, bias=False)
        self.key = Linear(width, inner, bias=False)
        self.value = Linear(width, inner, bias=False)
        self.out = Linear(inner, width, bias=False)
        self.bias_of_distance = nn.Parameter(torch.empty(config.relative_attention_num_buckets, config.num_heads))
        self.ffn_norm = nn.RMSNorm(width, eps=config.layer_norm_epsilon)
        self.gate = Linear(width, config.d_ff, bias=False, gelu=True)
        self.up = Linear(width, config.d_ff, bias=False)
        self.down = Linear(config.d_ff, width, bias=False)

    def forward(self, x: Float[Tensor, "l e"], buckets: Int64[Tensor, "l l"]) -> Float[Tensor, "l e"]:
        x = x + self._attend(self.attention_norm(x), buckets)
        h = self.ffn_norm(x)
        return x + self.down(self.gate(h) * self.up(h))

    def _attend(self, x: Float[Tensor, "l e"], buckets: Int64[Tensor, "l l"]) -> Float[Tensor, "l e"]:
        q, k, v = (
            rearrange(project(x), "l (heads d) -> 1 heads l d", heads=self.num_heads)
            for project in (self.query, self.key, self.value)
        )
        bias = rearrange(self.bias_of_distance[buckets], "l m heads -> 1 heads l m")
        attended = F.scaled_dot_product_attention(q, k, v, bias, scale=1.0)  # T5's weights include the usual factor
        return self.out(rearrange(attended, "1 heads l d -> l (heads d)"))


def distance_buckets(distances: Int64[Tensor, "l m"], num_buckets: int, max_distance: int) -> Int64[Tensor, "l m"]:
    """The bucket of each distance, from 0: half of the buckets are for keys before the query, half for keys after it.

    In each half, the first half of the buckets hold one distance each. The others grow logarithmically up to
    `max_distance`; the last one holds all larger distances.
    """
    half, exact = num_buckets // 2, num_buckets // 4
    near = distances.abs()
    share = torch.log(near.clamp(min=exact) / exact) / math.log(max_distance / exact)  # of the way to max_distance
    far = (exact + (share * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(near < exact, near, far) + half * (distances > 0)


@dataclass(frozen=True)
class UMT5Encoder:
    """A frozen umT5: 512 states for each prompt, padded with zeros, which Wan's attention includes."""

    network: UMT5
    tokenizer: Tokenizer

    @property
    def width(self) -> int:
        """Values in a token's state."""
        return self.network.words.shape[1]

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the network."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def num_bytes(self) -> int:
        """Memory of the network's weights, in bytes."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.network.parameters())

    @property
    def min_tokens(self) -> int:
        """Number of states of the shortest prompt."""
        return NUM_STATES

    @property
    def max_tokens(self) -> int:
        """Number of states of the longest prompt."""
        return NUM_STATES

    @property
    def device(self) -> torch.device:
        """Device of the weights and of the states."""
        return self.network.words.device

    def to(self, device: torch.device | str) -> UMT5Encoder:
        """The same encoder on another device."""
        return UMT5Encoder(self.network.to(device), self.tokenizer)

    def encode(self, prompts: Sequence[str]) -> list[Float[Tensor, "l e"]]:
        """Float32 states of each prompt, in order.

        Raises:
            PromptError: a prompt of more than 512 tokens.
        """
        return [self._states(clean_prompt(prompt)) for prompt in prompts]

    @torch.inference_mode()
    def _states(self, prompt: str) -> Float[Tensor, "l e"]:
        ids = token_ids(self.tokenizer, prompt, len(self.network.words))
        if len(ids) > NUM_STATES:
            raise PromptError(f"the prompt has {len(ids)} tokens; the limit is {NUM_STATES}, shorten it")
        # encoded without padding: tokens attend to the prompt alone
        states = self.network(torch.tensor(ids, device=self.device)).float()
        return F.pad(states, (0, 0, 0, NUM_STATES - len(ids)))


@dataclass(frozen=True)
class LazyUMT5:
    """A tokenizer, and an encoder on the meta device with the folder that holds its weights."""

    network: UMT5
    tokenizer: Tokenizer
    folder: Path

    @property
    def width(self) -> int:
        """Values in a token's state."""
        return self.network.words.shape[1]

    def check(self) -> None:
        """Check names and shapes in the headers of the weights files.

        Raises:
            ModelError: as `LazyNetwork.check`.
        """
        self._weights.check()

    def empty(self, dtype: torch.dtype) -> UMT5Encoder:
        """The encoder on the meta device. It has a size but can't encode."""
        return UMT5Encoder(self.network.to(dtype), self.tokenizer)

    def load(self, device: torch.device, dtype: torch.dtype) -> UMT5Encoder:
        """The encoder with its weights.

        Raises:
            ModelError: as `check`.
        """
        return UMT5Encoder(self._weights.load(device, dtype).requires_grad_(False), self.tokenizer)

    @cached_property
    def _weights(self) -> LazyNetwork[UMT5]:
        held = file_of_tensor(self.folder, WEIGHTS)
        words = next((name for name in TIED if name in held), WORDS)
        maps = tensor_maps(self.network, words)
        return LazyNetwork(self.network, self.folder, maps, WEIGHTS, unused=frozenset(TIED) - {words})


def open_umt5(folder: Path, tokenizer_folder: Path) -> LazyUMT5:
    """The encoder in a folder that `transformers` wrote, without its weights.

    Raises:
        ModelError: config.json or tokenizer.json is missing or damaged, or describes an unsupported form.
        ModuleNotFoundError: the extra `interop` isn't installed.
    """
    import ftfy  # noqa: F401  (here, so that a missing package is reported before anything is loaded)

    path = folder / CONFIG_FILE
    tree = read_json(path, cure=f"give the folder of a {CLASS}")
    config = parse_peer(tree, UMT5Config, CLASS, path)
    with META:
        network = UMT5(config)
    return LazyUMT5(network, read_tokenizer(tokenizer_folder / "tokenizer.json", config.vocab_size), folder)


def tensor_maps(network: UMT5, words: str = WORDS) -> TensorMaps:
    """The map of each of our tensors to the peer's files; `words` is the name of the word table there."""
    names = {"words": words, "norm_out": "encoder.final_layer_norm.weight"}
    for number in range(len(network.blocks)):
        block = {ours: f"encoder.block.{number}.{theirs}.weight" for ours, theirs in BLOCK_NAMES.items()}
        names |= {f"blocks.{number}.{ours}": theirs for ours, theirs in block.items()}
    return {
        name: reshape_map(names[name.removesuffix(".weight")], tensor) for name, tensor in network.state_dict().items()
    }


def clean_prompt(prompt: str) -> str:
    """The prompt as in Wan's training: broken Unicode repaired, HTML unescaped, whitespace collapsed."""
    import ftfy

    return " ".join(html.unescape(html.unescape(ftfy.fix_text(prompt))).split())
