"""One network's folder, whoever wrote it: ours, or a peer's class that is ours by other names."""

from __future__ import annotations

from pathlib import Path

import torch

from vitascope.codec.network import Codec, CodecConfig
from vitascope.errors import ModelError
from vitascope.interop import wan_codec, wan_original, wan_transformer
from vitascope.interop.diffusers_folder import Stored, read_json
from vitascope.model.transformer import Transformer, TransformerConfig
from vitascope.weights import load_network_config, load_weights

_TRANSFORMERS = {
    wan_transformer.CLASS: wan_transformer.open_wan_transformer,
    wan_original.CLASS: wan_original.open_original_transformer,
}


def load_codec(folder: Path, *, weights: bool = True) -> Codec:
    """The codec in a folder, float32; with weights=False it has a shape only, on the meta device.

    Raises:
        ModelError: a file is missing or damaged, holds a pickle, or another network.
    """
    if _class_of(folder) == wan_codec.CLASS:
        stored = wan_codec.open_wan_codec(folder)
        return stored.load(torch.float32) if weights else stored.network
    config = load_network_config(folder, "Codec", CodecConfig)
    if not weights:
        with torch.device("meta"):
            return Codec(config)
    codec = Codec(config)
    load_weights(codec, folder)
    return codec


def load_transformer(folder: Path, dtype: torch.dtype, *, weights: bool = True) -> Transformer:
    """The transformer in a folder; with weights=False it has a shape only, on the meta device.

    Raises:
        ModelError: a file is missing or damaged, holds a pickle, or another network.
    """
    if opened := _TRANSFORMERS.get(_class_of(folder)):
        stored: Stored[Transformer] = opened(folder)
        return stored.load(dtype) if weights else stored.network.to(dtype)
    config = load_network_config(folder, "Transformer", TransformerConfig)
    if not weights:
        with torch.device("meta"):
            return Transformer(config).to(dtype)
    transformer = Transformer(config)
    load_weights(transformer, folder)
    return transformer.to(dtype)


def _class_of(folder: Path) -> str:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"no model here: {path} is missing")
    return str(read_json(path, cure="download it again").get("_class_name"))
