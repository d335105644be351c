"""Models by their Hugging Face id. The only file that uses the network, and only for an id that a user gave."""

from __future__ import annotations

import re
from pathlib import Path

from vitascope.errors import ModelError, reason

FILES = ("model_index.json", "*/*.json", "*/*.safetensors", "*/spiece.model")  # no pickles, no pictures


def is_hub_id(model: str) -> bool:
    """Whether a name has the form owner/name."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model, re.ASCII) is not None


def download(model: str) -> Path:
    """The folder of a Hugging Face model, downloaded where it isn't in the cache yet.

    Raises:
        ModelError: no such model, or no way to get it.
        ModuleNotFoundError: the extra `interop` isn't installed.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=list(FILES)))
    except Exception as error:  # of HTTP, of the hub or of the disk, by the version installed
        what = reason(error).split(". ")[0][:200]
        raise ModelError(
            f"{model!r} is no folder here, and getting it from Hugging Face failed ({what}); check the name"
        ) from None
