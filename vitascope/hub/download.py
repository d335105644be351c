"""Download of models from Hugging Face. The network is used only for an id that the user gives."""

from __future__ import annotations

import re
from pathlib import Path

from vitascope.errors import ModelError, reason

CONFIGS = ("{}/*.json",)  # patterns of one part's files
WEIGHTS = ("{}/*.safetensors",)  # no pickles
MAX_ID = 96  # characters, Hugging Face's limit


def is_hub_id(model: str) -> bool:
    """True if a name has the form owner/name."""
    return len(model) <= MAX_ID and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model, re.ASCII) is not None


def download(model: str, part: str = "*", *, weights: bool = True) -> Path:
    """The folder of a Hugging Face model, downloaded unless cached.

    A part, such as `vae`, restricts the download to that folder. weights=False downloads JSON files only.

    Raises:
        ModelError: no such model, or the download failed.
        ModuleNotFoundError: the extra `interop` isn't installed.
    """
    from huggingface_hub import snapshot_download

    files = ["model_index.json", *(kind.format(part) for kind in (CONFIGS + WEIGHTS if weights else CONFIGS))]
    try:
        return Path(snapshot_download(model, allow_patterns=files))
    except Exception as error:  # its type depends on the version of huggingface_hub
        what = reason(error).split(". ")[0][:200]
        raise ModelError(
            f"{model!r} is no folder here, and the download from Hugging Face failed ({what}); check the name"
        ) from None
