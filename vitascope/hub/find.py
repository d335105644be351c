"""Finding a model's folder: bundled, on the disk, of a training run, or downloaded from Hugging Face."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

from vitascope.errors import ModelError
from vitascope.hub.download import download, is_hub_id
from vitascope.hub.registry import load_codec, load_model


def find_model(model: str | Path, *, part: Literal["", "vae"] = "", weights: bool = True) -> Path:
    """The folder of a bundled name, of a path, or of a Hugging Face id (owner/name), which is downloaded.

    An id's JSON files are downloaded first: a model that can't be loaded is refused before its weights are downloaded.
    part="vae" downloads the codec only; weights=False downloads no weights.

    Raises:
        ModelError: no such model; the message lists the bundled names.
    """
    bundled = Path(str(resources.files("vitascope"))) / "models"
    names = sorted(path.parent.name for path in bundled.glob("*/model_index.json"))
    if str(model) in names:
        return bundled / str(model)
    if Path(model).is_dir():
        return Path(model)
    if isinstance(model, str) and is_hub_id(model):
        return _downloaded(model, part, weights=weights)
    known = f"a folder, or one of {', '.join(names)}" if names else "a model's folder; no model is bundled here"
    raise ModelError(f"no model {str(model)!r}: give {known}")


def _downloaded(model: str, part: Literal["", "vae"], *, weights: bool) -> Path:
    wanted = part or "*"
    folder = download(model, wanted, weights=False)
    if not weights:
        return folder
    check = load_codec if part == "vae" else load_model
    check(folder, weights=False)
    return download(model, wanted)
