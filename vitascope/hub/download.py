"""Models by their Hugging Face id. The only file that uses the network, and only for an id that a user gave."""

from __future__ import annotations

import re
from pathlib import Path

from vitascope.errors import ModelError, reason

CONFIGS = ("{}/*.json",)  # of a part
WEIGHTS = ("{}/*.safetensors",)  # no pickles


def is_hub_id(model: str) -> bool:
    """Whether a name has the form owner/name."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model, re.ASCII) is not None


def download(model: str, part: str = "*", *, weights: bool = True) -> Path:
    """The folder of a Hugging Face model, downloaded where it isn't in the cache yet.

    Only a part of it, such as `vae`, if one is named; without weights, what describes it and its tokenizer alone.

    Raises:
        ModelError: no such model, or no way to get it.
        ModuleNotFoundError: the extra `interop` isn't installed.
    """
    from huggingface_hub import snapshot_download

    files = ["model_index.json", *(kind.format(part) for kind in (CONFIGS + WEIGHTS if weights else CONFIGS))]
    try:
        return Path(snapshot_download(model, allow_patterns=files))
    except Exception as error:  # of HTTP, of the hub or of the disk, by the version installed
        what = reason(error).split(". ")[0][:200]
        raise ModelError(
            f"{model!r} is no folder here, and getting it from Hugging Face failed ({what}); check the name"
        ) from None
