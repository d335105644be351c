"""One network's folder as diffusers writes it: config.json beside safetensors files, whole or in shards.

Only safetensors are read: a pickle can run code. The files are mapped, not read, so a network whose dtype is the
file's costs no memory until it is used.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vitascope.config import parse_config
from vitascope.errors import ConfigError, ModelError, reason
from vitascope.files import read_json, replacing_folder
from vitascope.hub.weights import NetworkT

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX_OF = "{}.index.json"  # which shard holds what, beside the shards
PICKLES = (".bin", ".pt", ".pth", ".ckpt")  # suffixes


class PeerConfig(BaseModel):
    """Base of another project's configs. Keys that later releases add are let pass: the weights must fit anyway."""

    model_config = ConfigDict(frozen=True, extra="ignore")


PeerT = TypeVar("PeerT", bound=PeerConfig)


@dataclass(frozen=True)
class Place:
    """Where one of our tensors lies in a peer's file, and how to turn one into the other."""

    name: str
    shape: tuple[int, ...]
    to_ours: Callable[[Tensor], Tensor]
    to_theirs: Callable[[Tensor], Tensor]


Places = Mapping[str, Place]
"""The place of every tensor of a network, by our name."""


def place(name: str, ours: Tensor, shape: tuple[int, ...] | None = None) -> Place:
    """The place of a tensor that differs at most in shape, with its numbers in the same order."""
    here, there = tuple(ours.shape), tuple(ours.shape) if shape is None else shape
    return Place(name, there, lambda x: x.reshape(here), lambda x: x.reshape(there))


def read_config(folder: Path, class_name: str, kind: type[PeerT]) -> PeerT:
    """The config of a component's folder.

    Raises:
        ModelError: no config.json, not JSON, of another class, or of a form that our networks don't have.
    """
    path = folder / "config.json"
    tree = read_json(path, cure=f"give the folder of a {class_name}")
    found = tree.get("_class_name")
    if found != class_name:
        raise ModelError(f"{path} describes {found!r}; give the folder of a {class_name}")
    return parse_peer(tree, kind, class_name, path)


def parse_peer(tree: dict[str, Any], kind: type[PeerT], class_name: str, path: Path) -> PeerT:
    """Another project's config from the JSON in a file, which describes a network of that class.

    Raises:
        ModelError: a form that our networks don't have.
    """
    try:
        return kind.model_validate(tree)
    except ValueError as error:
        raise ModelError(f"{path}: {_first_complaint(error)}; this form of {class_name} can't be loaded") from None


@dataclass(frozen=True)
class Stored(Generic[NetworkT]):
    """A network on the meta device, as a folder's config describes it, and where its weights are to lie there."""

    network: NetworkT
    places: Places
    folder: Path
    weights: str = WEIGHTS  # the file, or the whole that shards make up
    unused: frozenset[str] = frozenset()  # tensors that may be there too

    def check(self) -> dict[str, Path]:
        """The file of each tensor. All names and shapes are checked by the files' heads; no weights are read.

        Raises:
            ModelError: a file is missing, damaged or a pickle, or doesn't hold exactly this network's tensors.
        """
        held = file_of_tensor(self.folder, self.weights)
        files = {name: path for name, path in held.items() if name not in self.unused}
        _check_names(self.folder, files, self.places)
        _check_shapes(files, self.places)
        return files

    def load(self, dtype: torch.dtype) -> NetworkT:
        """The network with its weights.

        Raises:
            ModelError: as `check`.
        """
        files = self.check()
        owners = defaultdict[str, list[str]](list)  # two tensors of ours that are one there share their memory
        for ours, spot in self.places.items():
            owners[spot.name].append(ours)
        tensors: dict[str, Tensor] = {}
        for path in sorted(set(files.values())):
            try:
                with safe_open(path, framework="pt", device="cpu") as file:
                    for name in (name for name, holder in files.items() if holder == path):
                        tensor = file.get_tensor(name).to(dtype)
                        tensors |= {ours: self.places[ours].to_ours(tensor) for ours in owners[name]}
            except (OSError, SafetensorError) as error:
                raise ModelError(f"{path} can't be read ({reason(error)}); download it again") from None
        self.network.load_state_dict(tensors, strict=True, assign=True)
        return self.network.eval()


def save_component(
    network: nn.Module, folder: Path, class_name: str, config: Mapping[str, object], places: Places, dtype: torch.dtype
) -> None:
    """Write a network as a folder that diffusers' `from_pretrained` reads."""
    state = network.state_dict()
    tensors = {
        spot.name: spot.to_theirs(state[ours].detach().to("cpu", dtype)).clone().contiguous()
        for ours, spot in places.items()
    }
    with replacing_folder(folder) as temporary:
        save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
        tree = {"_class_name": class_name, **config}
        (temporary / "config.json").write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


def file_of_tensor(folder: Path, weights: str = WEIGHTS) -> dict[str, Path]:
    """The file of each tensor, by its name there; every file exists and holds what the index says.

    Raises:
        ModelError: a file is missing, damaged or a pickle.
    """
    if (folder / weights).suffix in PICKLES:
        raise ModelError(_about_pickle(folder / weights))
    if (folder / weights).is_file():
        return dict.fromkeys(_names(folder / weights), folder / weights)
    index_path = folder / INDEX_OF.format(weights)
    if not index_path.is_file():
        if pickles := sorted(path for suffix in PICKLES for path in folder.glob(f"*{suffix}")):
            raise ModelError(_about_pickle(pickles[0]))
        raise ModelError(f"no weights {folder / weights}, nor {index_path.name} beside it; download the folder again")
    index = read_json(index_path, cure="download it again").get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(shard, str) for shard in index.values()):
        raise ModelError(f"{index_path} has no weight_map of file names; download it again")
    held: dict[str, Path] = {}
    for shard in sorted(set(index.values())):
        path = folder / shard
        if Path(shard).name != shard or path.suffix != ".safetensors":
            raise ModelError(f"{index_path} names {shard!r}; a shard must be a .safetensors file in that folder")
        if not path.is_file():
            raise ModelError(f"missing shard {path}, which {index_path.name} names; download it again")
        for name in _names(path):
            held[name] = path
    for name, shard in index.items():
        if held.get(name) != folder / shard:
            raise ModelError(f"{folder / shard} doesn't hold {name}, as {index_path.name} says; download both again")
    return held


def our_config(tree: dict[str, Any], kind: type[Any], folder: Path) -> Any:
    """Our config from translated values.

    Raises:
        ModelError: a value outside what our networks can be.
    """
    try:
        return parse_config(tree, kind, source=str(folder / "config.json"))
    except ConfigError as error:
        raise ModelError(f"{error}; this model can't be loaded") from None


def _about_pickle(path: Path) -> str:
    return (
        f"{path} is a pickle, which can run code and is not read; "
        "get the model's safetensors files, or save it again with diffusers' save_pretrained"
    )


def _names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return list(file.keys())
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} can't be read ({reason(error)}); download it again") from None


def _check_names(folder: Path, files: Mapping[str, Path], places: Places) -> None:
    wanted = {spot.name for spot in places.values()}
    if missing := sorted(wanted - files.keys()):
        raise ModelError(
            f"{folder}: no tensor {missing[0]} in its weights ({len(missing)} missing); "
            "config and weights must come from the same model"
        )
    if extra := sorted(files.keys() - wanted):
        raise ModelError(
            f"{files[extra[0]]}: tensor {extra[0]} has no place in our network ({len(extra)} such); "
            "this form of the model can't be loaded"
        )


def _check_shapes(files: Mapping[str, Path], places: Places) -> None:
    shapes = {spot.name: spot.shape for spot in places.values()}
    for path in sorted(set(files.values())):
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in (name for name, holder in files.items() if holder == path):
                found = tuple(file.get_slice(name).get_shape())
                if found != shapes[name]:
                    raise ModelError(
                        f"{path}: {name} has shape {found}, and config.json calls for {shapes[name]}; "
                        "config and weights must come from the same model"
                    )


def _first_complaint(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return reason(error)
    first = errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or '(root)'}: {reason(ValueError(first['msg']))}"
