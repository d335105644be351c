"""Loaders of networks and whole models, chosen by the class that a folder's JSON names.

To add a codec, a transformer or a text encoder, write an opener for its folder and add a line to a table below.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch

from vitascope.codec.network import Codec, CodecConfig
from vitascope.codec.patch_codec import PatchCodec, PatchCodecConfig
from vitascope.codec.video_codec import VideoCodec
from vitascope.config import parse_config
from vitascope.errors import ModelError
from vitascope.files import read_json, read_stable, standing_folder
from vitascope.hub.card import MODEL_INDEX, PipelineConfig
from vitascope.hub.wan import codec as wan_codec
from vitascope.hub.wan import folder as wan_folder
from vitascope.hub.wan import original as wan_original
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.wan import umt5
from vitascope.hub.weights import CONFIG_FILE, LazyNetwork, check_manifest, open_network
from vitascope.kernels.device import CPU
from vitascope.model.bert_files import read_bert_config
from vitascope.model.text import PromptEncoder, TextEncoder
from vitascope.model.transformer import Transformer, TransformerConfig

RUN_CONFIG = "config.toml"  # in the folder of every training run

OpenedT = TypeVar("OpenedT")


@dataclass(frozen=True)
class Model:
    """The three networks of a model, and how to use them."""

    codec: VideoCodec
    transformer: Transformer
    text_encoder: PromptEncoder
    config: PipelineConfig


@runtime_checkable
class LazyTextEncoder(Protocol):
    """A text encoder's folder, before its weights are read."""

    @property
    def width(self) -> int:
        """Values in a token's state."""
        ...

    def check(self) -> None:
        """Check the weights files.

        Raises:
            ModelError: a file is missing, damaged or a pickle, or holds another network.
        """
        ...

    def empty(self, dtype: torch.dtype) -> PromptEncoder:
        """The encoder on the meta device. It has a size but can't encode."""
        ...

    def load(self, device: torch.device, dtype: torch.dtype) -> PromptEncoder:
        """The encoder with its weights. Raises as `check`."""
        ...


@dataclass(frozen=True)
class LazyBert:
    """The folder of the bundled text encoder and of its tokenizer; the encoder ignores the dtype and is float32."""

    folder: Path
    tokenizer_folder: Path
    width: int

    def check(self) -> None:
        """Check the digests."""
        _ = self._digests

    def empty(self, dtype: torch.dtype) -> TextEncoder:
        """The encoder on the meta device. It has a size but can't encode."""
        return TextEncoder.load(self.folder, self.tokenizer_folder, weights=False)

    def load(self, device: torch.device, dtype: torch.dtype) -> TextEncoder:
        """The encoder with its weights.

        Raises:
            ModelError: a file is missing or damaged, or describes another network.
        """
        self.check()
        return TextEncoder.load(self.folder, self.tokenizer_folder).to(device)

    @cached_property
    def _digests(self) -> dict[str, str]:
        return check_manifest(self.folder)


def _open_bert(folder: Path, tokenizer_folder: Path) -> LazyBert:
    return LazyBert(folder, tokenizer_folder, width=read_bert_config(folder / CONFIG_FILE).hidden_size)


def _read_card(folder: Path, index: dict[str, Any]) -> PipelineConfig:
    return parse_config(index.get("pipeline", {}), PipelineConfig, source=str(folder / MODEL_INDEX))


def _open_codec(folder: Path) -> LazyNetwork[Codec]:
    return open_network(folder, "Codec", CodecConfig, Codec)


def _open_patch_codec(folder: Path) -> LazyNetwork[PatchCodec]:
    return open_network(folder, "PatchCodec", PatchCodecConfig, PatchCodec)


def _open_transformer(folder: Path) -> LazyNetwork[Transformer]:
    return open_network(folder, "Transformer", TransformerConfig, Transformer)


# by _class_name in config.json
_CODECS: dict[str, Callable[[Path], LazyNetwork[Any]]] = {
    "VitascopeCodec": _open_codec,
    "VitascopePatchCodec": _open_patch_codec,
    wan_codec.CLASS: wan_codec.open_wan_codec,
}
_TRANSFORMERS: dict[str, Callable[[Path], LazyNetwork[Transformer]]] = {
    "VitascopeTransformer": _open_transformer,
    wan_transformer.CLASS: wan_transformer.open_wan_transformer,
    wan_original.CLASS: wan_original.open_original_transformer,
}
# by model_type in config.json, as transformers writes it; the second path is the tokenizer's folder
_TEXT_ENCODERS: dict[str, Callable[[Path, Path], LazyTextEncoder]] = {
    "bert": _open_bert,
    "umt5": umt5.open_umt5,
}
# by _class_name in model_index.json
_CARDS: dict[str, Callable[[Path, dict[str, Any]], PipelineConfig]] = {
    "VitascopePipeline": _read_card,
    **dict.fromkeys(wan_folder.PIPELINES, wan_folder.read_wan_card),
}


def load_model(
    folder: Path, *, device: torch.device = CPU, dtype: torch.dtype = torch.float32, weights: bool = True
) -> Model:
    """The model in a folder in diffusers' layout: ours, or another project's.

    `dtype` applies to the transformer and to large text encoders; the codec stays float32. All files are checked before
    the first weight is read. With weights=False only JSON files are read, and the networks stay on the meta device.

    Raises:
        ModelError: a part is missing, damaged, a pickle, or of an unsupported form.
        ModuleNotFoundError: the extra `interop` is missing, and the text encoder needs it.
    """
    return read_stable(folder, lambda standing: _load_model(standing, device, dtype, weights=weights))


def _load_model(folder: Path, device: torch.device, dtype: torch.dtype, *, weights: bool) -> Model:
    for part in (folder, folder / "scheduler"):
        check_manifest(part, weights=False)
    path = folder / MODEL_INDEX
    index = read_json(path, cure="give the folder of a model in diffusers' layout")
    config = _choose(_CARDS, index.get("_class_name"), path)(folder, index)
    codec = _open(_CODECS, folder / "vae")
    transformer = _open(_TRANSFORMERS, folder / "transformer")
    text_encoder = _open_text_encoder(folder / "text_encoder", folder / "tokenizer")
    _check_fit(codec.network, transformer.network, text_encoder.width, folder)
    if not weights:
        return Model(codec.network, transformer.network.to(dtype), text_encoder.empty(dtype), config)
    for part in (codec, transformer, text_encoder):
        part.check()
    return Model(
        codec.load(device, torch.float32), transformer.load(device, dtype), text_encoder.load(device, dtype), config
    )


def load_codec(
    folder: Path, *, device: torch.device = CPU, dtype: torch.dtype = torch.float32, weights: bool = True
) -> VideoCodec:
    """The codec in a folder, its own or a model's. With weights=False it stays on the meta device.

    Raises:
        ModelError: a file is missing, damaged or a pickle, or describes no known codec.
    """

    def load(part: Path) -> VideoCodec:
        codec = _open(_CODECS, part)
        return codec.load(device, dtype) if weights else codec.network.to(dtype)

    return read_stable(_part(folder, "vae"), load)


def load_transformer(
    folder: Path, *, device: torch.device = CPU, dtype: torch.dtype = torch.float32, weights: bool = True
) -> Transformer:
    """The transformer in a folder, its own or a model's. With weights=False it stays on the meta device.

    Raises:
        ModelError: a file is missing, damaged or a pickle, or describes no known transformer.
    """

    def load(part: Path) -> Transformer:
        transformer = _open(_TRANSFORMERS, part)
        return transformer.load(device, dtype) if weights else transformer.network.to(dtype)

    return read_stable(_part(folder, "transformer"), load)


def load_text_encoder(
    folder: Path,
    tokenizer_folder: Path | None = None,
    *,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    weights: bool = True,
) -> PromptEncoder:
    """The text encoder in a folder, its own or a model's.

    Without `tokenizer_folder`, tokenizer.json is read from the encoder's folder or from `tokenizer` next to it.

    Raises:
        ModelError: a file is missing, damaged or a pickle, or describes no known text encoder.
        ModuleNotFoundError: the extra `interop` is missing, and this encoder needs it.
    """

    def load(part: Path) -> PromptEncoder:
        beside = part if (part / "tokenizer.json").is_file() else part.parent / "tokenizer"
        encoder = _open_text_encoder(part, beside if tokenizer_folder is None else tokenizer_folder)
        return encoder.load(device, dtype) if weights else encoder.empty(dtype)

    return read_stable(_part(folder, "text_encoder"), load)


def find_part(model: str | Path, part: Literal["vae", "text_encoder", "transformer", "judge"]) -> Path:
    """The folder of one network: of a bundled model's name, a model's or a training run's folder, or a folder itself.

    Raises:
        ModelError: no such folder, or a run that hasn't written this network.
    """
    folder = _bundled() / "judge" if (str(model), part) == ("judge", "judge") else local_folder(model)
    if folder is None:
        raise unknown_model(model)
    for place in (standing_folder(folder / "model") / part, standing_folder(folder / part)):
        if place.is_dir():
            return place
    if (folder / RUN_CONFIG).is_file():
        raise ModelError(f"run {folder} has no {part}; name another folder, or wait for the run's first checkpoint")
    return folder


def _bundled() -> Path:
    return Path(str(resources.files("vitascope"))) / "models"


def _names() -> list[str]:
    return sorted(path.parent.name for path in _bundled().glob(f"*/{MODEL_INDEX}"))


def local_folder(model: str | Path) -> Path | None:
    """The folder of a bundled name or of a path; None if neither exists. A path may begin with `~`.

    Raises:
        ModelError: a file, or a link to nothing.
    """
    if str(model) in _names():
        return _bundled() / str(model)
    try:
        path = Path(model).expanduser()
    except RuntimeError:  # no such user
        return None
    if not os.path.lexists(path):
        return None
    if not path.is_dir():
        kind = "a file" if path.exists() else "a link to a missing file"
        raise ModelError(f"model {str(model)!r} is {kind}; give a model's folder")
    return path


def unknown_model(model: str | Path) -> ModelError:
    """The error of a name that is neither bundled nor a folder."""
    names = _names()
    known = f"a folder, or one of {', '.join(names)}" if names else "a model's folder; no model is bundled here"
    return ModelError(f"no model {str(model)!r}: give {known}")


def _part(folder: Path, name: str) -> Path:
    """The part's folder within a model's; the folder itself if it has no such part."""
    folder = standing_folder(folder)
    return folder / name if (folder / name).is_dir() else folder


def _open(openers: Mapping[str, Callable[[Path], OpenedT]], folder: Path) -> OpenedT:
    check_manifest(folder, weights=False)
    path = folder / CONFIG_FILE
    tree = read_json(path, cure="give the folder of a whole model")
    return _choose(openers, tree.get("_class_name"), path)(folder)


def _open_text_encoder(folder: Path, tokenizer_folder: Path) -> LazyTextEncoder:
    for part in (folder, tokenizer_folder):
        check_manifest(part, weights=False)
    path = folder / CONFIG_FILE
    tree = read_json(path, cure="give the folder of a text encoder")
    return _choose(_TEXT_ENCODERS, tree.get("model_type"), path)(folder, tokenizer_folder)


def _choose(table: Mapping[str, OpenedT], found: object, path: Path) -> OpenedT:
    if not isinstance(found, str) or found not in table:
        raise ModelError(f"{path} describes {found!r}; known here: {', '.join(table)}")
    return table[found]


def _check_fit(codec: VideoCodec, transformer: Transformer, text_width: int, folder: Path) -> None:
    channels, config = codec.latent_channels, transformer.config
    if (config.in_channels, config.out_channels) != (channels, channels):
        raise ModelError(
            f"{folder}: the transformer takes {config.in_channels} channels and gives {config.out_channels}, the "
            f"latents have {channels}; a model that takes its image as extra channels can't be loaded"
        )
    if config.text_width != text_width:
        raise ModelError(
            f"{folder}: the text encoder's states are {text_width} wide and the transformer takes "
            f"{config.text_width}; both must come from the same model"
        )
