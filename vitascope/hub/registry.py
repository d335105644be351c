"""A network's folder, by the class that its config names: ours, or a peer's that is ours by other names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from vitascope.codec.network import Codec, CodecConfig
from vitascope.errors import ModelError
from vitascope.files import read_json
from vitascope.hub.diffusers_folder import Stored
from vitascope.hub.wan import codec as wan_codec
from vitascope.hub.wan import original as wan_original
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.weights import NetworkT, SavedNetwork, load_network_config
from vitascope.model.transformer import Transformer, TransformerConfig

OpenedT = TypeVar("OpenedT")


def load_codec(folder: Path, *, weights: bool = True) -> Codec:
    """The codec in a folder, float32; with weights=False it has a shape only, on the meta device.

    Raises:
        ModelError: a file is missing or damaged, holds a pickle, or another network.
    """
    codec = _opened(folder, _CODECS)
    return codec.load(torch.float32) if weights else codec.network


def load_transformer(folder: Path, dtype: torch.dtype, *, weights: bool = True) -> Transformer:
    """The transformer in a folder; with weights=False it has a shape only, on the meta device.

    Raises:
        ModelError: a file is missing or damaged, holds a pickle, or another network.
    """
    transformer = _opened(folder, _TRANSFORMERS)
    return transformer.load(dtype) if weights else transformer.network.to(dtype)


def _open_our_codec(folder: Path) -> SavedNetwork[Codec]:
    config = load_network_config(folder, "Codec", CodecConfig)
    return SavedNetwork(lambda: Codec(config), folder)


def _open_our_transformer(folder: Path) -> SavedNetwork[Transformer]:
    config = load_network_config(folder, "Transformer", TransformerConfig)
    return SavedNetwork(lambda: Transformer(config), folder)


Opened = SavedNetwork[NetworkT] | Stored[NetworkT]
"""A network without its weights: `network` has its shape, `load` reads them."""

_CODECS: dict[str, Callable[[Path], Opened[Codec]]] = {
    "VitascopeCodec": _open_our_codec,
    wan_codec.CLASS: wan_codec.open_wan_codec,
}
_TRANSFORMERS: dict[str, Callable[[Path], Opened[Transformer]]] = {
    "VitascopeTransformer": _open_our_transformer,
    wan_transformer.CLASS: wan_transformer.open_wan_transformer,
    wan_original.CLASS: wan_original.open_original_transformer,
}


def _opened(folder: Path, kinds: Mapping[str, Callable[[Path], OpenedT]]) -> OpenedT:
    """What opens this class of network, with the folder opened."""
    path = folder / "config.json"
    found = str(read_json(path, cure="give the folder of a whole model").get("_class_name"))
    if found not in kinds:
        raise ModelError(f"{path} describes {found!r}, not {' or '.join(kinds)}")
    return kinds[found](folder)
