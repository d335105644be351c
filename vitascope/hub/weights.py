"""One network in a folder, as diffusers lays it out: config.json and diffusion_pytorch_model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vitascope.config import Config, parse_config
from vitascope.errors import ModelError, reason
from vitascope.files import read_json, replacing_folder, sha256

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"

_DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

ConfigT = TypeVar("ConfigT", bound=Config)
NetworkT = TypeVar("NetworkT", bound=nn.Module)


def torch_dtype(name: str) -> torch.dtype:
    """What weights are held in, by name.

    Raises:
        ModelError: another name than float32 or bfloat16.
    """
    if name not in _DTYPES:
        raise ModelError(f"weights can't be held as {name!r}: give one of {', '.join(_DTYPES)}")
    return _DTYPES[name]


def save_network(network: nn.Module, config: Config, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a network's config and weights, with the weights' SHA-256, since safetensors has no checksum of its own."""
    with replacing_folder(folder) as temporary:
        tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in network.state_dict().items()}
        save_file(tensors, temporary / WEIGHTS_FILE)
        tree = {
            "_class_name": f"Vitascope{type(network).__name__}",
            "_sha256": sha256(temporary / WEIGHTS_FILE),
            **config.model_dump(mode="json", exclude_none=True),
        }
        (temporary / "config.json").write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class SavedNetwork(Generic[NetworkT]):
    """A network in the folder that `save_network` wrote, without its weights."""

    build: Callable[[], NetworkT]
    folder: Path

    @property
    def network(self) -> NetworkT:
        """On the meta device: it has a shape only."""
        with torch.device("meta"):
            return self.build().eval()

    def load(self, dtype: torch.dtype) -> NetworkT:
        """The network with its weights.

        Raises:
            ModelError: as `load_weights`.
        """
        network = self.build()
        load_weights(network, self.folder)
        return network.to(dtype).eval()


def load_network_config(folder: Path, class_name: str, kind: type[ConfigT]) -> ConfigT:
    """The config of a network's folder.

    Raises:
        ModelError: no config.json, not JSON, or of another class.
    """
    tree = read_json(folder / "config.json", cure="give the folder of a network")
    if tree.get("_class_name") != f"Vitascope{class_name}":
        raise ModelError(f"{folder / 'config.json'} describes {tree.get('_class_name')!r}, not Vitascope{class_name}")
    public = {key: value for key, value in tree.items() if not key.startswith("_")}
    return parse_config(public, kind, source=str(folder / "config.json"))


def load_weights(network: nn.Module, folder: Path) -> None:
    """Fill a network with its folder's weights, as float32.

    Raises:
        ModelError: a file is missing or damaged, or doesn't hold exactly this network's tensors.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelError(f"no weights {path}")
    if sha256(path) != read_json(folder / "config.json", cure="give the folder of a network").get("_sha256"):
        raise ModelError(f"{path} is damaged: its SHA-256 is not the one in config.json")
    try:
        tensors = {name: value.float() for name, value in load_file(path).items()}
        network.load_state_dict(tensors, strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path} doesn't fit its config: {reason(error)[:300]}") from None
