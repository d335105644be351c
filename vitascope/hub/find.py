"""Where a model is found, by a bundled name, a folder or a Hugging Face id, and how it is loaded."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from vitascope.codec.network import Codec
from vitascope.errors import ModelError
from vitascope.hub import registry as parts
from vitascope.hub.download import download, is_hub_id


def load_codec(model: str | Path) -> Codec:
    """A model's codec; the rest of the model is neither read nor downloaded.

    Raises:
        ModelError: no such model, or its codec is missing or damaged.
    """
    folder = _folder_here(model)
    if folder is None:
        parts.load_codec(download(str(model), "vae", weights=False) / "vae", weights=False)
        folder = download(str(model), "vae")
    return parts.load_codec(folder / "vae").requires_grad_(False)


def find_model(model: str | Path, *, weights: bool = True) -> Path:
    """The folder of a bundled model's name, of a path, or of a Hugging Face id (owner/name), which is downloaded.

    Of an id, what it says of itself comes first: a model that can't be loaded is refused before its weights are
    downloaded. With weights=False they aren't.

    Raises:
        ModelError: none of them; the message lists the bundled names.
    """
    folder = _folder_here(model)
    if folder is None:
        folder = download(str(model), weights=False)
        if weights:
            from vitascope.generate.pipeline import Pipeline

            Pipeline.load(folder, weights=False)
            folder = download(str(model))
    return folder


def _folder_here(model: str | Path) -> Path | None:
    """The folder of a bundled name or a path; None for an id."""
    bundled = Path(str(resources.files("vitascope"))) / "models"
    names = sorted(path.parent.name for path in bundled.glob("*/model_index.json"))
    if str(model) in names:
        return bundled / str(model)
    if Path(model).is_dir():
        return Path(model)
    if isinstance(model, str) and is_hub_id(model):
        return None
    known = f"a folder, or one of {', '.join(names)}" if names else "a model's folder; no model is bundled here"
    raise ModelError(f"no model {str(model)!r}: give {known}")
