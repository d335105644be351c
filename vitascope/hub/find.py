"""Finding a model's folder: bundled, on the disk, of a training run, or downloaded from Hugging Face."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Literal

from vitascope.errors import ModelError, reason
from vitascope.hub.card import MODEL_INDEX
from vitascope.hub.download import download, is_hub_id
from vitascope.hub.registry import load_codec, load_model

RUN_CONFIG = "config.toml"  # in the folder of every training run


def find_model(model: str | Path, *, part: Literal["", "vae"] = "", weights: bool = True) -> Path:
    """The model folder of a bundled name, a path, a training run's folder or a Hugging Face id (owner/name).

    A run's model is the one of its newest checkpoint. Of an id, JSON files are downloaded first: a model that can't be
    loaded is refused before its weights are downloaded.
    part="vae" downloads the codec only; weights=False downloads no weights.

    Raises:
        ModelError: no such model, or a run without a checkpoint or of another network.
    """
    bundled = Path(str(resources.files("vitascope"))) / "models"
    names = sorted(path.parent.name for path in bundled.glob(f"*/{MODEL_INDEX}"))
    if str(model) in names:
        return bundled / str(model)
    if Path(model).is_dir():
        return _of_run(Path(model), part) if (Path(model) / RUN_CONFIG).is_file() else Path(model)
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


def _of_run(run: Path, part: Literal["", "vae"]) -> Path:
    """The folder that a training run writes at each checkpoint; with part="vae", a folder that holds a codec."""
    try:
        config = tomllib.loads((run / RUN_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{run / RUN_CONFIG} is not readable TOML ({reason(error)}); name a run's folder") from None
    if part == "vae" and (run / "vae").is_dir():
        return run
    if (run / "model" / MODEL_INDEX).is_file():
        return run / "model"
    network = next((name for name in ("transformer", "codec", "judge") if name in config), "network")
    if network != "transformer" and (network, part) != ("codec", "vae"):
        wanted = "a codec" if part == "vae" else "a whole model"
        raise ModelError(f"run {run} trains a {network}, not {wanted}; name the run of a transformer")
    steps = config.get("checkpoint_every", "some")
    raise ModelError(f"run {run} has no checkpoint yet; it writes the first after {steps} steps")
