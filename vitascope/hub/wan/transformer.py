"""Conversion between Wan's transformer (diffusers' WanTransformer3DModel, text to video of 2.1 and 2.2) and ours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from vitascope.errors import ModelError
from vitascope.hub.wan.peer import PeerConfig, our_config, read_config
from vitascope.hub.weights import LazyNetwork, TensorMap, TensorMaps, reshape_map, save_component
from vitascope.kernels.device import META
from vitascope.model.transformer import Transformer, TransformerConfig

CLASS = "WanTransformer3DModel"

TOP_NAMES = {
    "patch_in": "patch_embedding",
    "time_mlp.0": "condition_embedder.time_embedder.linear_1",
    "time_mlp.2": "condition_embedder.time_embedder.linear_2",
    "time_modulation": "condition_embedder.time_proj",
    "text_mlp.0": "condition_embedder.text_embedder.linear_1",
    "text_mlp.2": "condition_embedder.text_embedder.linear_2",
    "proj_out": "proj_out",
}
ATTENTION_NAMES = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "out": "to_out.0",
    "query_norm": "norm_q",
    "key_norm": "norm_k",
}
BLOCK_NAMES = {
    **{f"self_attention.{ours}": f"attn1.{theirs}" for ours, theirs in ATTENTION_NAMES.items()},
    **{f"cross_attention.{ours}": f"attn2.{theirs}" for ours, theirs in ATTENTION_NAMES.items()},
    "cross_norm": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}
TABLE = "scale_shift_table"  # the same name on both sides, in the network and in each block


class WanTransformerConfig(PeerConfig):
    """The peer's config.json, with the peer's defaults. The image adapters of 2.1 are not supported."""

    patch_size: tuple[int, int, int] = (1, 2, 2)
    num_attention_heads: int = 40
    attention_head_dim: int = 128
    in_channels: int = 16
    out_channels: int | None = 16
    text_dim: int = 4096
    freq_dim: int = 256
    ffn_dim: int = 13824
    num_layers: int = 40
    cross_attn_norm: bool = True
    qk_norm: Literal["rms_norm_across_heads"] = "rms_norm_across_heads"
    eps: float = 1e-6
    image_dim: None = None
    added_kv_proj_dim: None = None


def open_wan_transformer(folder: Path) -> LazyNetwork[Transformer]:
    """The transformer in a folder in diffusers' layout, without its weights.

    Raises:
        ModelError: config.json is missing, or describes another class or an unsupported form.
    """
    theirs = read_config(folder, CLASS, WanTransformerConfig)
    config = our_config(
        {
            "in_channels": theirs.in_channels,
            "out_channels": theirs.out_channels or theirs.in_channels,
            "patch": theirs.patch_size,
            "num_layers": theirs.num_layers,
            "num_heads": theirs.num_attention_heads,
            "head_dim": theirs.attention_head_dim,
            "ffn_width": theirs.ffn_dim,
            "text_width": theirs.text_dim,
            "frequency_width": theirs.freq_dim,
            "cross_attention_norm": theirs.cross_attn_norm,
            "eps": theirs.eps,
            "prediction": "velocity",
        },
        TransformerConfig,
        folder,
    )
    with META:
        network = Transformer(config)
    return LazyNetwork(network, folder, tensor_maps(network))


def save_wan_transformer(transformer: Transformer, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a transformer as a folder that diffusers reads.

    Raises:
        ModelError: it predicts clean patches, and Wan's pipelines expect velocities.
    """
    config = transformer.config
    if config.prediction != "velocity":
        raise ModelError(
            f"a transformer with prediction = {config.prediction!r} can't be written as Wan's; "
            'train one with prediction = "velocity"'
        )
    tree = {
        "patch_size": list(config.patch),
        "num_attention_heads": config.num_heads,
        "attention_head_dim": config.head_dim,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "text_dim": config.text_width,
        "freq_dim": config.frequency_width,
        "ffn_dim": config.ffn_width,
        "num_layers": config.num_layers,
        "cross_attn_norm": config.cross_attention_norm,
        "qk_norm": "rms_norm_across_heads",
        "eps": config.eps,
    }
    save_component(transformer, Path(folder), CLASS, tree, tensor_maps(transformer), dtype)


def tensor_maps(network: Transformer) -> TensorMaps:
    """The map of each of our tensors to the peer's files."""
    config = network.config
    maps = {name: reshape_map(their_name(name), tensor) for name, tensor in network.state_dict().items()}
    # theirs is a Conv3d over the patch; flattened it is our Linear, since a token's values are in the order c, t, h, w
    weight = network.patch_in.weight
    maps["patch_in.weight"] = reshape_map(
        their_name("patch_in.weight"), weight, (len(weight), config.in_channels, *config.patch)
    )
    for name in ("proj_out.weight", "proj_out.bias"):
        maps[name] = _output_rows(maps[name], math.prod(config.patch))
    return maps


def their_name(ours: str) -> str:
    """The peer's name of one of our tensors."""
    if ours.startswith("blocks."):
        blocks, number, inner = ours.split(".", 2)
        return f"{blocks}.{number}.{_renamed(inner, BLOCK_NAMES)}"
    return _renamed(ours, TOP_NAMES)


def _renamed(ours: str, names: dict[str, str]) -> str:
    if ours == TABLE:
        return ours
    layer, kind = ours.rsplit(".", 1)
    return f"{names[layer]}.{kind}"


def _output_rows(tensor_map: TensorMap, cells: int) -> TensorMap:
    """Map of the output projection's rows: the peer orders them by cell and channel, we by channel and cell."""

    def to_ours(x: Tensor) -> Tensor:
        return rearrange(x, "(cell c) ... -> (c cell) ...", cell=cells)

    def to_theirs(x: Tensor) -> Tensor:
        return rearrange(x, "(c cell) ... -> (cell c) ...", cell=cells)

    return TensorMap(tensor_map.name, tensor_map.shape, to_ours, to_theirs)
