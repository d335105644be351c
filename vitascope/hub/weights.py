"""One network's folder: config.json and safetensors files, whole or in shards, ours or another project's.

Only safetensors files are read: a pickle can run code. Files are memory-mapped and loaded straight to the device. On a
CPU, weights already in the requested dtype are never copied.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vitascope.config import Config, parse_config
from vitascope.errors import ModelError, reason
from vitascope.files import read_json, replacing_folder, sha256, write_tensors
from vitascope.kernels.device import CPU, META

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
CONFIG_FILE = "config.json"
MANIFEST = "manifest.json"  # the SHA-256 of each JSON and safetensors file of its folder, subfolders excluded
SHARD_INDEX = "{}.index.json"  # lists which shard holds which tensor
VARIANTS = ("fp32", "bf16", "fp16")  # precisions in the names of weights files, the most exact one first
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")

_STORED = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})  # dtypes that networks are built from
_DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

ConfigT = TypeVar("ConfigT", bound=Config)
NetworkT = TypeVar("NetworkT", bound=nn.Module)


def write_manifest(folder: Path) -> None:
    """Write the SHA-256 of each JSON and safetensors file of a folder, subfolders excluded, to its manifest."""
    digests = {path.name: sha256(path) for path in _listed_files(folder)}
    (folder / MANIFEST).write_text(json.dumps(digests, indent=1), encoding="utf-8")


def content_digest(*folders: Path) -> str:
    """SHA-256 of the names and contents of some folders' JSON and safetensors files, subfolders excluded."""
    files = [f"{path.name} {sha256(path)}" for folder in folders for path in _listed_files(folder)]
    return hashlib.sha256("\n".join(files).encode()).hexdigest()


def copy_folder(source: Path, target: Path, copy_file: Callable[[str, str], object] = shutil.copyfile) -> None:
    """Copy a folder's files with new modes, which follow the umask. `target` must not exist."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_dir():
            copy_folder(path, target / path.name, copy_file)
        else:
            copy_file(str(path), str(target / path.name))


def copy_part(source: Path, target: Path) -> None:
    """Copy one network's or tokenizer's folder, check the copy against its manifest, and add one if it has none.

    Raises:
        ModelError: a file is damaged.
    """
    copy_folder(source, target)
    if not check_manifest(target):
        write_manifest(target)


def check_manifest(folder: Path, *, weights: bool = True, cure: str = "") -> dict[str, str]:
    """Digests of a folder's files, checked against its manifest; empty for a folder without one.

    With weights=False, safetensors files are neither read nor required. An error's message ends with `cure`.

    Raises:
        ModelError: a file is missing, damaged or not listed, or the manifest itself is damaged.
    """
    path = folder / MANIFEST
    if not path.exists():
        return {}
    cure = cure or f"copy the folder again; if you changed it yourself, delete {path}"
    digests = read_json(path, cure=cure)
    if not all(isinstance(digest, str) and Path(name).name == name for name, digest in digests.items()):
        raise ModelError(f"{path} is damaged; {cure}")
    if unlisted := [file for file in _listed_files(folder) if file.name not in digests]:
        raise ModelError(f"{unlisted[0]} is not listed in {MANIFEST}; {cure}")
    checked = {name: digest for name, digest in digests.items() if weights or not name.endswith(".safetensors")}
    for name, digest in checked.items():
        try:
            found = sha256(folder / name)
        except OSError as error:
            raise ModelError(f"{folder / name} can't be read ({reason(error)}); {cure}") from None
        if found != digest:
            raise ModelError(f"{folder / name} is damaged: its SHA-256 is not the one in {MANIFEST}; {cure}")
    return checked


def _listed_files(folder: Path) -> list[Path]:
    """Files that a manifest lists."""
    return sorted(
        path for path in folder.iterdir() if path.suffix in (".json", ".safetensors") and path.name != MANIFEST
    )


def torch_dtype(name: str) -> torch.dtype:
    """PyTorch's dtype of weights, by name.

    Raises:
        ModelError: a name other than float32 and bfloat16.
    """
    if name not in _DTYPES:
        raise ModelError(f"dtype {name!r} of weights: give one of {', '.join(_DTYPES)}")
    return _DTYPES[name]


@dataclass(frozen=True)
class TensorMap:
    """Name and shape of one of our tensors in a file, and the conversions between both layouts."""

    name: str
    shape: tuple[int, ...]
    to_ours: Callable[[Tensor], Tensor]
    to_theirs: Callable[[Tensor], Tensor]


TensorMaps = Mapping[str, TensorMap]
"""The map of each tensor of a network, by our name."""


def reshape_map(name: str, ours: Tensor, shape: tuple[int, ...] | None = None) -> TensorMap:
    """Map of a tensor that differs at most in name and shape; the order of its values is the same."""
    our_shape = tuple(ours.shape)
    their_shape = our_shape if shape is None else shape
    return TensorMap(name, their_shape, lambda x: x.reshape(our_shape), lambda x: x.reshape(their_shape))


@dataclass(frozen=True)
class LazyNetwork(Generic[NetworkT]):
    """A network on the meta device, and the description of the files that hold its weights.

    weights_file names the file, or the whole that its shards make up. digest is the file's SHA-256, None if the folder
    states none. Tensors named in `unused` may be in the files and are ignored.
    """

    network: NetworkT
    folder: Path
    maps: TensorMaps
    weights_file: str = WEIGHTS_FILE
    digest: str | None = None
    unused: frozenset[str] = frozenset()

    def check(self) -> None:
        """Check digest, names and shapes; file headers suffice for the latter.

        Raises:
            ModelError: a file is missing, damaged or a pickle, or its tensors are not exactly this network's.
        """
        _ = self._files

    def load(self, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> NetworkT:
        """The network in eval mode, with its weights on the device.

        Raises:
            ModelError: as `check`.
        """
        files = self._files
        owners = defaultdict[str, list[str]](list)  # two of our tensors with one name share their memory
        for ours, tensor_map in self.maps.items():
            owners[tensor_map.name].append(ours)
        tensors: dict[str, Tensor] = {}
        for path in sorted(set(files.values())):
            with _reading(path), safe_open(path, framework="pt", device=str(device)) as file:
                for name in (name for name, holder in files.items() if holder == path):
                    tensor = file.get_tensor(name).to(dtype)
                    tensors |= {ours: self.maps[ours].to_ours(tensor) for ours in owners[name]}
        self.network.load_state_dict(tensors, strict=True, assign=True)
        return self.network.to(device).eval()  # moves the buffers that no file holds

    @cached_property
    def _files(self) -> dict[str, Path]:
        """The file of each tensor, by its name in the file, all checked."""
        held = file_of_tensor(self.folder, self.weights_file)
        path = self.folder / self.weights_file
        digests = check_manifest(self.folder)
        if self.digest is not None and (
            path not in held.values() or self.digest != (digests.get(path.name) or sha256(path))
        ):
            raise ModelError(f"{path} is damaged: its SHA-256 is not the one in {CONFIG_FILE}; copy it again")
        files = {name: path for name, path in held.items() if name not in self.unused}
        _check_names(self.folder, files, self.maps)
        _check_shapes(files, self.maps)
        return files


def open_network(
    folder: Path, class_name: str, config_type: type[ConfigT], build: Callable[[ConfigT], NetworkT]
) -> LazyNetwork[NetworkT]:
    """A network in the layout of `save_network`, without its weights.

    Raises:
        ModelError: config.json is missing, is not JSON, or describes another class.
    """
    path = folder / CONFIG_FILE
    tree = read_json(path, cure="give the folder of a network")
    if tree.get("_class_name") != f"Vitascope{class_name}":
        raise ModelError(f"{path} describes {tree.get('_class_name')!r}, not Vitascope{class_name}")
    public = {key: value for key, value in tree.items() if not key.startswith("_")}
    config = parse_config(public, config_type, source=str(path))
    with META:
        network = build(config)
    maps = {name: reshape_map(name, tensor) for name, tensor in network.state_dict().items()}
    return LazyNetwork(network.eval(), folder, maps, digest=str(tree.get("_sha256", "none stated")))


def save_network(network: nn.Module, config: Config, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a network's config and weights in our layout, with the SHA-256 of the weights file."""
    maps = {name: reshape_map(name, tensor) for name, tensor in network.state_dict().items()}
    tree = config.model_dump(mode="json", exclude_none=True)
    save_component(network, folder, f"Vitascope{type(network).__name__}", tree, maps, dtype, with_digest=True)


def save_component(
    network: nn.Module,
    folder: Path,
    class_name: str,
    config: Mapping[str, object],
    maps: TensorMaps,
    dtype: torch.dtype,
    *,
    with_digest: bool = False,
) -> None:
    """Write a network as a folder in diffusers' layout, replacing an existing one.

    Raises:
        FloatingPointError: a weight or a number of the config is not finite, or too large for `dtype`.
    """
    state = network.state_dict()
    tensors = {
        tensor_map.name: tensor_map.to_theirs(state[ours].detach().to(CPU, dtype)).clone().contiguous()
        for ours, tensor_map in maps.items()
    }
    check_finite(tensors, f"{folder} is not written")
    with replacing_folder(folder) as temporary:
        write_tensors(temporary / WEIGHTS_FILE, tensors, metadata={"format": "pt"})
        tree: dict[str, object] = {"_class_name": class_name}
        if with_digest:  # safetensors has no checksum of its own
            tree["_sha256"] = sha256(temporary / WEIGHTS_FILE)
        try:
            text = json.dumps({**tree, **config}, indent=2, allow_nan=False)
        except ValueError:
            raise FloatingPointError(f"{folder} is not written: its config has a number that is not finite") from None
        (temporary / CONFIG_FILE).write_text(f"{text}\n", encoding="utf-8")
        write_manifest(temporary)


def check_finite(tensors: Mapping[str, Tensor], consequence: str) -> None:
    """Refuse tensors with NaN or infinity.

    Raises:
        FloatingPointError: a value is not finite; the message begins with `consequence` and names the tensor.
    """
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            number = int((~tensor.isfinite()).sum())
            raise FloatingPointError(
                f"{consequence}: {number} of the {tensor.numel()} values of {name} are not finite in {tensor.dtype}; "
                "the last good checkpoint stays; train again with a lower learning_rate"
            )


def copy_weights(network: nn.Module, source: nn.Module, name: str) -> None:
    """Copy the weights of one network to another of the same shape.

    Raises:
        ModelError: networks of different shapes; the message calls the source by `name`.
    """
    try:
        network.load_state_dict(source.state_dict(), strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"{name} doesn't fit this network ({reason(error)[:200]}); give the config that it was trained with"
        ) from None


def file_of_tensor(folder: Path, weights_file: str = WEIGHTS_FILE) -> dict[str, Path]:
    """The file of each tensor, by its name in the file; all files exist and hold what the shard index lists.

    Raises:
        ModelError: a file is missing, damaged or a pickle.
    """
    whole = folder / weights_file
    if whole.suffix in PICKLE_SUFFIXES:
        raise ModelError(_pickle_message(whole))
    if whole.is_file():
        return dict.fromkeys(_tensor_names(whole), whole)
    if variant := _variant_file(folder, weights_file):
        return dict.fromkeys(_tensor_names(variant), variant)
    index_path = _index_file(folder, weights_file)
    if index_path is None:
        if pickles := sorted(path for suffix in PICKLE_SUFFIXES for path in folder.glob(f"*{suffix}")):
            raise ModelError(_pickle_message(pickles[0]))
        others = sorted(path.name for path in folder.glob("*.safetensors"))
        cure = f"rename {others[0]} if it holds them" if others else "download the folder again"
        raise ModelError(f"no weights {whole} and no {SHARD_INDEX.format(weights_file)}; {cure}")
    index = read_json(index_path, cure="download it again").get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(shard, str) for shard in index.values()):
        raise ModelError(f"{index_path} has no weight_map of file names; download it again")
    held: dict[str, Path] = {}
    for shard in sorted(set(index.values())):
        path = folder / shard
        if Path(shard).name != shard or path.suffix != ".safetensors":
            raise ModelError(f"{index_path} names {shard!r}; a shard must be a .safetensors file in that folder")
        if not path.is_file():
            raise ModelError(f"missing shard {path}, listed in {index_path.name}; download it again")
        for name in _tensor_names(path):
            held[name] = path
    for name, shard in index.items():
        if held.get(name) != folder / shard:
            raise ModelError(f"{folder / shard} lacks {name}, listed in {index_path.name}; download both again")
    return held


def _variant_file(folder: Path, weights_file: str) -> Path | None:
    """The weights file of a precision, such as model.fp16.safetensors, the most exact one; None without one."""
    stem = weights_file.removesuffix(".safetensors")
    paths = [folder / f"{stem}.{variant}.safetensors" for variant in VARIANTS]
    has_index = (folder / SHARD_INDEX.format(weights_file)).is_file()
    return None if has_index else next((path for path in paths if path.is_file()), None)


def _index_file(folder: Path, weights_file: str) -> Path | None:
    """The list of the shards, of full precision or of a variant; None without one."""
    stem, index = weights_file.removesuffix(".safetensors"), SHARD_INDEX.format(weights_file)
    names = [index]
    for variant in VARIANTS:  # as diffusers and transformers write, and as diffusers once wrote
        names += [
            f"{index.removesuffix('.json')}.{variant}.json",
            SHARD_INDEX.format(f"{stem}.{variant}.safetensors"),
        ]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _pickle_message(path: Path) -> str:
    return (
        f"{path} is a pickle, which can run code and is not read; "
        "get the model's safetensors files, or save it again with diffusers' save_pretrained"
    )


def _tensor_names(path: Path) -> list[str]:
    with _reading(path), safe_open(path, framework="pt") as file:
        return list(file.keys())


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A context in which any failure to open, map or read a file is a ModelError."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, ValueError, MemoryError, OverflowError) as error:
        raise ModelError(f"{path} can't be read ({reason(error)[:200]}); download it again") from None


def _check_names(folder: Path, files: Mapping[str, Path], maps: TensorMaps) -> None:
    wanted = {tensor_map.name for tensor_map in maps.values()}
    if missing := sorted(wanted - files.keys()):
        raise ModelError(
            f"{folder}: no tensor {missing[0]} in its weights ({len(missing)} missing); "
            "config and weights must come from the same model"
        )
    if extra := sorted(files.keys() - wanted):
        raise ModelError(
            f"{files[extra[0]]}: tensor {extra[0]} is unknown to our network ({len(extra)} such); "
            "this form of the model can't be loaded"
        )


def _check_shapes(files: Mapping[str, Path], maps: TensorMaps) -> None:
    shapes = {tensor_map.name: tensor_map.shape for tensor_map in maps.values()}
    for path in sorted(set(files.values())):
        with _reading(path), safe_open(path, framework="pt") as file:
            for name in (name for name, holder in files.items() if holder == path):
                stored = file.get_slice(name)
                if stored.get_dtype() not in _STORED:
                    raise ModelError(f"{path}: {name} is stored as {stored.get_dtype()}; save the weights as floats")
                found = tuple(stored.get_shape())
                if found != shapes[name]:
                    raise ModelError(
                        f"{path}: {name} has shape {found}, and {CONFIG_FILE} calls for {shapes[name]}; "
                        "config and weights must come from the same model"
                    )
