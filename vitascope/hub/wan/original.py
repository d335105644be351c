"""Networks with the names that Wan's own repository gives their tensors, in safetensors.

The transformer is published so: the folder of a `WanModel`. The autoencoder of 2.1 is published as a pickle, which is
not read; others have written the same tensors as safetensors.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from vitascope.codec.network import Codec, CodecConfig
from vitascope.hub.diffusers_folder import PeerConfig, Stored, our_config, read_config
from vitascope.hub.wan import codec as wan_codec
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.wan.transformer import TABLE
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
CODEC_PARTS = {  # of our names, replaced in this order
    "to_moments.": "conv1.",
    "from_latent.": "conv2.",
    ".conv_in.": ".conv1.",
    ".norm_out.": ".head.0.",
    ".conv_out.": ".head.2.",
    ".middle.block_in.": ".middle.0.",
    ".middle.attention.to_out.": ".middle.1.proj.",
    ".middle.attention.": ".middle.1.",
    ".middle.block_out.": ".middle.2.",
    ".in_space.": ".resample.1.",
    ".in_time.": ".time_conv.",
}
RESIDUAL_PARTS = {
    ".norm1.": ".residual.0.",
    ".conv1.": ".residual.2.",
    ".norm2.": ".residual.3.",
    ".conv2.": ".residual.6.",
}

CODEC_21 = CodecConfig(  # the published one; its file brings no config
    latent_channels=16,
    base_width=96,
    width_multipliers=(1, 2, 4, 4),
    num_residual_blocks=2,
    temporal_downsample=(False, True, True),
    pixel_patch=1,
    residual_shortcuts=False,
    latent_mean=(
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    ),
    latent_std=(
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    ),
)  # fmt: skip


class OriginalConfig(PeerConfig):
    """What config.json of the original says; only text to video has a place here."""

    model_type: Literal["t2v", "ti2v"]
    in_dim: int
    out_dim: int
    dim: int
    ffn_dim: int
    freq_dim: int
    num_heads: int
    num_layers: int
    eps: float = 1e-6
    text_dim: int = 4096  # this and the next two are left out of the published files
    patch_size: tuple[int, int, int] = (1, 2, 2)
    cross_attn_norm: Literal[True] = True


def load_original_transformer(folder: str | Path, dtype: torch.dtype = torch.float32) -> Transformer:
    """The transformer in a folder of the original's layout.

    Raises:
        ModelError: a file is missing or damaged, holds a pickle, or another network.
    """
    return open_original_transformer(Path(folder)).load(dtype)


def open_original_transformer(folder: Path) -> Stored[Transformer]:
    """The transformer without its weights, as the folder's config describes it.

    Raises:
        ModelError: as `load_original_transformer`.
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
    with torch.device("meta"):
        network = Transformer(config)
    # the tensors are laid out as in diffusers' class, only their names differ
    places = {
        ours: replace(spot, name=original_name(ours)) for ours, spot in wan_transformer.tensor_places(network).items()
    }
    return Stored(network, places, folder)


def original_name(ours: str) -> str:
    """The original's name of one of our tensors."""
    if ours == TABLE:
        return "head.modulation"
    first, rest = ours.split(".", 1)
    if first != "blocks":
        return f"{TOP_NAMES[first]}.{rest}"
    return ".".join([first, *(BLOCK_NAMES.get(part, part) for part in rest.split("."))])


def load_original_codec(path: str | Path, config: CodecConfig = CODEC_21) -> Codec:
    """The codec of 2.1 in a safetensors file with the original's names, float32.

    Raises:
        ModelError: the file is missing, damaged or a pickle, or holds another network.
    """
    path = Path(path)
    with torch.device("meta"):
        codec = Codec(config)
    places = {
        ours: replace(spot, name=original_codec_name(ours, config))
        for ours, spot in wan_codec.tensor_places(codec).items()
    }
    return Stored(codec, places, path.parent, weights=path.name).load(torch.float32)


def original_codec_name(ours: str, config: CodecConfig) -> str:
    """The original's name of one of our tensors."""
    name = re.sub(
        r"(encoder|decoder)\.stages\.(\d+)\.(?:blocks\.(\d+)|resample)\.",
        lambda found: _in_one_row(found, config),
        ours,
    )
    if ".downsamples." in name or ".upsamples." in name or ".middle.block" in name:
        name = _renamed(name, RESIDUAL_PARTS)
    return _renamed(name, CODEC_PARTS).replace(".gain", ".gamma")


def _in_one_row(found: re.Match[str], config: CodecConfig) -> str:
    """The layers of each half are counted through its stages: the blocks of each, then its resampling."""
    half, stage, block = found[1], int(found[2]), found[3]
    num_blocks = config.num_residual_blocks + (half == "decoder")
    number = stage * (num_blocks + 1) + (num_blocks if block is None else int(block))
    return f"{half}.{'downsamples' if half == 'encoder' else 'upsamples'}.{number}."


def _renamed(name: str, parts: dict[str, str]) -> str:
    for part, theirs in parts.items():
        name = name.replace(part, theirs)
    return name
