"""A whole Wan model in diffusers' layout: its parts as ours, and the settings that it is meant to be used with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitascope.codec.network import Codec
from vitascope.errors import ModelError
from vitascope.files import read_json
from vitascope.hub.diffusers_folder import Stored
from vitascope.hub.wan import codec as wan_codec
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.wan import umt5
from vitascope.model.transformer import Transformer

INDEX = "model_index.json"
PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")
UNIPC, EULER = "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"
CLASSES = {
    "transformer": (wan_transformer.CLASS,),
    "vae": (wan_codec.CLASS,),
    "text_encoder": (umt5.CLASS,),
    "scheduler": (UNIPC, EULER),
}

# What the models were released with. A constant shift: reference_tokens is None.
USE = {"num_steps": 50, "guidance": 5.0, "reference_tokens": None}
USE_21 = {**USE, "height": 480, "width": 832, "num_frames": 81, "fps": 16.0, "reference_fps": 16.0}
USE_22 = {**USE, "height": 704, "width": 1280, "num_frames": 121, "fps": 24.0, "reference_fps": 24.0}


@dataclass(frozen=True)
class WanModel:
    """The three networks of a model, and how to use them: what a pipeline's config holds."""

    codec: Codec
    transformer: Transformer
    text_encoder: umt5.UMT5Encoder
    settings: dict[str, Any]


def is_wan(folder: Path) -> bool:
    """Whether a folder says that it holds a model of diffusers' Wan pipelines."""
    path = folder / INDEX
    return path.is_file() and read_json(path, "download it again").get("_class_name") in PIPELINES


def load_wan(folder: Path, dtype: torch.dtype, *, weights: bool = True) -> WanModel:
    """The model in a folder of a `WanPipeline` or `WanImageToVideoPipeline`. The codec is float32, whatever `dtype`.

    All files are checked before the first weight is read. With weights=False the configs alone are looked at, and the
    networks stay on the meta device.

    Raises:
        ModelError: a part is missing, damaged, a pickle, or of a form that our networks don't have.
        ModuleNotFoundError: the extra `interop` isn't installed.
    """
    path = folder / INDEX
    index = read_json(path, cure="give the folder of a model")
    _check_parts(index, path)
    settings = {"name": folder.resolve().name, **(USE_22 if index.get("expand_timesteps") else USE_21)}
    settings |= _solver(folder / "scheduler")
    codec = wan_codec.open_wan_codec(folder / "vae")
    transformer = wan_transformer.open_wan_transformer(folder / "transformer")
    text_encoder = umt5.open_umt5(folder / "text_encoder", folder / "tokenizer")
    _check_fit(codec, transformer, text_encoder.empty, folder)
    if not weights:
        return WanModel(codec.network, transformer.network.to(dtype), text_encoder.empty.to(dtype), settings)
    for part in (codec, transformer, text_encoder):
        part.check()
    return WanModel(codec.load(torch.float32), transformer.load(dtype), text_encoder.load(dtype), settings)


def _check_parts(index: dict[str, Any], path: Path) -> None:
    """Every part that the index names is one that we have a place for, and is there."""
    kind = index.get("_class_name")
    parts = {name: pair[1] for name, pair in index.items() if isinstance(pair, list) and len(pair) == 2 and pair[1]}
    for name, found in parts.items():
        known = CLASSES.get(name, (found,) if name == "tokenizer" else ())
        if found not in known:
            wanted = f"it must be a {' or '.join(known)}" if known else "our pipeline has no place for it"
            raise ModelError(f"{path}: {name} is a {found}; {wanted}, so this form of {kind} can't be loaded")
    for name in (*CLASSES, "tokenizer"):
        if name not in parts:
            raise ModelError(f"{path} names no {name}; this form of {kind} can't be loaded")
        if not (path.parent / name).is_dir():
            raise ModelError(f"the folder {path.parent / name} is missing; download the model again")


def _check_fit(
    codec: Stored[Codec], transformer: Stored[Transformer], text_encoder: umt5.UMT5Encoder, folder: Path
) -> None:
    channels, config = codec.network.latent_channels, transformer.network.config
    if (config.in_channels, config.out_channels) != (channels, channels):
        raise ModelError(
            f"{folder}: the transformer takes {config.in_channels} channels and gives {config.out_channels}, the "
            f"latents have {channels}; a model that takes its image as extra channels can't be loaded"
        )
    if config.text_width != text_encoder.width:
        raise ModelError(
            f"{folder}: the text encoder's states are {text_encoder.width} wide, and the transformer takes "
            f"{config.text_width}; they don't belong together"
        )


def _solver(folder: Path) -> dict[str, Any]:
    """Our solver of the same order, and how far the noise levels are shifted."""
    path = folder / "scheduler_config.json"
    tree = read_json(path, cure="download the model again")
    kind = tree.get("_class_name")
    # the defaults are the peer's
    straight = tree.get("use_flow_sigmas", False) if kind == UNIPC else not tree.get("use_dynamic_shifting", False)
    if kind not in (UNIPC, EULER) or not straight:
        raise ModelError(f"{path}: {kind} isn't set to a flow with a constant shift, so its levels aren't known here")
    shift = tree.get("flow_shift" if kind == UNIPC else "shift", 1.0)
    if not isinstance(shift, int | float) or shift <= 0:
        raise ModelError(f"{path}: a shift of {shift!r}; it must be a positive number")
    return {"solver": "multistep" if kind == UNIPC else "euler", "shift": float(shift)}
