"""Wan's transformer with the tensor names of Wan's own repository, in safetensors: the folder of a `WanModel`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.wan.peer import PeerConfig, our_config, read_config
from vitascope.hub.wan.transformer import TABLE
from vitascope.hub.weights import LazyNetwork
from vitascope.kernels.device import META
from vitascope.model.transformer import Transformer, TransformerConfig

CLASS = "WanModel"

TOP_NAMES = {
    "patch_in": "patch_embedding",
    "time_mlp": "time_embedding",
    "time_modulation": "time_projection.1",
    "text_mlp": "text_embedding",
    "proj_out": "head.head",
}
BLOCK_NAMES = {
    "self_attention": "self_attn",
    "cross_attention": "cross_attn",
    "cross_norm": "norm3",
    "query": "q",
    "key": "k",
    "value": "v",
    "out": "o",
    "query_norm": "norm_q",
    "key_norm": "norm_k",
    TABLE: "modulation",
}


class OriginalConfig(PeerConfig):
    """The original's config.json; only text to video is supported."""

    model_type: Literal["t2v", "ti2v"]
    in_dim: int
    out_dim: int
    dim: int = Field(ge=1)
    ffn_dim: int
    freq_dim: int
    num_heads: int = Field(ge=1)
    num_layers: int
    eps: float = 1e-6
    text_dim: int = 4096  # the published files omit this and the next two
    patch_size: tuple[int, int, int] = (1, 2, 2)
    cross_attn_norm: Literal[True] = True

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> OriginalConfig:
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} must be a multiple of num_heads {self.num_heads}")
        return self


def open_original_transformer(folder: Path) -> LazyNetwork[Transformer]:
    """The transformer in a folder of Wan's own layout, without its weights.

    Raises:
        ModelError: config.json is missing, or describes another class or an unsupported form.
    """
    theirs = read_config(folder, CLASS, OriginalConfig)
    config = our_config(
        {
            "in_channels": theirs.in_dim,
            "out_channels": theirs.out_dim,
            "patch": theirs.patch_size,
            "num_layers": theirs.num_layers,
            "num_heads": theirs.num_heads,
            "head_dim": theirs.dim // theirs.num_heads,
            "ffn_width": theirs.ffn_dim,
            "text_width": theirs.text_dim,
            "frequency_width": theirs.freq_dim,
            "eps": theirs.eps,
            "prediction": "velocity",
        },
        TransformerConfig,
        folder,
    )
    with META:
        network = Transformer(config)
    # the layout is that of diffusers' class; only names differ
    maps = {
        ours: replace(tensor_map, name=original_name(ours))
        for ours, tensor_map in wan_transformer.tensor_maps(network).items()
    }
    return LazyNetwork(network, folder, maps)


def original_name(ours: str) -> str:
    """The original's name of one of our tensors."""
    if ours == TABLE:
        return "head.modulation"
    first, rest = ours.split(".", 1)
    if first != "blocks":
        return f"{TOP_NAMES[first]}.{rest}"
    return ".".join([first, *(BLOCK_NAMES.get(part, part) for part in rest.split("."))])
