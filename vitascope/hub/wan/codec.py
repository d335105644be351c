"""Conversion between Wan's video autoencoder (diffusers' AutoencoderKLWan, of 2.1 and 2.2) and our codec."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from vitascope.codec.network import Codec, CodecConfig
from vitascope.codec.video_codec import VideoCodec
from vitascope.errors import ModelError
from vitascope.hub.wan.peer import PeerConfig, our_config, read_config
from vitascope.hub.weights import LazyNetwork, TensorMaps, reshape_map, save_component
from vitascope.kernels.device import META

CLASS = "AutoencoderKLWan"

PARTS = {  # parts of our names and their replacements, in this order
    "to_moments.": "quant_conv.",
    "from_latent.": "post_quant_conv.",
    "middle.block_in.": "mid_block.resnets.0.",
    "middle.block_out.": "mid_block.resnets.1.",
    "middle.attention.to_out.": "mid_block.attentions.0.proj.",
    "middle.attention.": "mid_block.attentions.0.",
    "encoder.stages.": "encoder.down_blocks.",
    "decoder.stages.": "decoder.up_blocks.",
    ".blocks.": ".resnets.",
    ".shortcut.": ".conv_shortcut.",
    ".in_space.": ".resample.1.",
    ".in_time.": ".time_conv.",
    ".gain": ".gamma",
}
RESAMPLERS_21 = {"encoder": "", "decoder": "upsamplers.0."}  # the 2.1 encoder numbers all its layers in one sequence
RESAMPLERS_22 = {"encoder": "downsampler.", "decoder": "upsampler."}


class WanCodecConfig(PeerConfig):
    """The peer's config.json, with the peer's spelling and defaults.

    The statistics have no default: latents without them would be wrong, without an error.
    """

    base_dim: int = 96
    decoder_base_dim: int | None = None
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attn_scales: Annotated[tuple[float, ...], Field(max_length=0)] = ()
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    latents_mean: tuple[float, ...]
    latents_std: tuple[Annotated[float, Field(gt=0)], ...]
    is_residual: bool = False
    in_channels: int = 3
    out_channels: int = 3
    patch_size: int | None = None

    @model_validator(mode="after")
    def _takes_three_colours(self) -> WanCodecConfig:
        wanted = 3 * (self.patch_size or 1) ** 2
        if self.in_channels != wanted or self.out_channels != wanted:
            raise ValueError(f"in_channels and out_channels must be {wanted}, three colours of a pixel patch")
        return self


def open_wan_codec(folder: Path) -> LazyNetwork[Codec]:
    """The codec in a folder in diffusers' layout, such as `vae/` of a Wan model, without its weights.

    Raises:
        ModelError: config.json is missing, or describes another class or an unsupported form.
    """
    theirs = read_config(folder, CLASS, WanCodecConfig)
    config = our_config(
        {
            "latent_channels": theirs.z_dim,
            "base_width": theirs.base_dim,
            "decoder_base_width": theirs.decoder_base_dim,
            "width_multipliers": theirs.dim_mult,
            "num_residual_blocks": theirs.num_res_blocks,
            "temporal_downsample": theirs.temperal_downsample,
            "pixel_patch": theirs.patch_size or 1,
            "residual_shortcuts": theirs.is_residual,
            "latent_mean": theirs.latents_mean,
            "latent_std": theirs.latents_std,
        },
        CodecConfig,
        folder,
    )
    with META:
        codec = Codec(config)
    return LazyNetwork(codec, folder, tensor_maps(codec))


def save_wan_codec(codec: VideoCodec, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a codec as a folder that diffusers reads.

    Raises:
        ModelError: the codec has a linear path or is no convolutional one; Wan's class has neither.
    """
    if not isinstance(codec, Codec):
        raise ModelError(f"a {type(codec).__name__} can't be written as Wan's; only convolutional codecs can")
    config = codec.config
    if config.linear_path:
        raise ModelError("a codec with a linear path can't be written as Wan's; train one with linear_path = false")
    patch = config.pixel_patch
    tree = {
        "base_dim": config.base_width,
        "decoder_base_dim": config.decoder_base_width,
        "z_dim": config.latent_channels,
        "dim_mult": list(config.width_multipliers),
        "num_res_blocks": config.num_residual_blocks,
        "attn_scales": [],
        "temperal_downsample": list(config.temporal_downsample),
        "dropout": 0.0,
        "latents_mean": list(config.latent_mean or (0.0,) * config.latent_channels),
        "latents_std": list(config.latent_std or (1.0,) * config.latent_channels),
        "is_residual": config.residual_shortcuts,
        "in_channels": 3 * patch**2,
        "out_channels": 3 * patch**2,
        "patch_size": None if patch == 1 else patch,
        "scale_factor_temporal": codec.stride.time,
        "scale_factor_spatial": codec.stride.rows,
    }
    save_component(codec, Path(folder), CLASS, tree, tensor_maps(codec), dtype)


def tensor_maps(codec: Codec) -> TensorMaps:
    """The map of each of our tensors to the peer's files."""
    return {
        name: reshape_map(their_name(name, codec.config), tensor, _their_shape(name, tensor))
        for name, tensor in codec.state_dict().items()
    }


def their_name(ours: str, config: CodecConfig) -> str:
    """The peer's name of one of our tensors."""
    resamplers = RESAMPLERS_22 if config.residual_shortcuts else RESAMPLERS_21
    name = re.sub(
        r"^(encoder|decoder)\.stages\.(\d+)\.resample\.",
        lambda found: f"{found[1]}.stages.{found[2]}.{resamplers[found[1]]}",
        ours,
    )
    if not config.residual_shortcuts:
        name = _in_one_sequence(name, config.num_residual_blocks)
    for part, theirs in PARTS.items():
        name = name.replace(part, theirs)
    return name


def _in_one_sequence(name: str, num_blocks: int) -> str:
    """Name of a layer of the 2.1 encoder, which numbers the blocks and the resampling of all stages in one sequence."""
    found = re.fullmatch(r"encoder\.stages\.(\d+)\.(?:blocks\.(\d+)\.)?(.+)", name)
    if found is None:
        return name
    block = num_blocks if found[2] is None else int(found[2])
    return f"encoder.stages.{int(found[1]) * (num_blocks + 1) + block}.{found[3]}"


def _their_shape(name: str, ours: Tensor) -> tuple[int, ...]:
    """Shape of the peer's tensor: layers on single frames are 2-D, gains of norms have an axis per dimension."""
    shape = tuple(ours.shape)
    if name.endswith("attention.norm.gain"):
        return (*shape, 1, 1)
    if name.endswith(".gain"):
        return (*shape, 1, 1, 1)
    if name.endswith((".in_space.weight", "attention.to_qkv.weight", "attention.to_out.weight")):
        return (*shape[:2], *shape[3:])
    return shape
