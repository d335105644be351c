"""Finding a model's folder: bundled, on the disk, of a training run, or downloaded from Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vitascope.config import read_toml
from vitascope.errors import ConfigError, ModelError
from vitascope.files import standing_folder
from vitascope.hub.card import MODEL_INDEX
from vitascope.hub.download import download, is_hub_id
from vitascope.hub.registry import RUN_CONFIG, load_codec, load_model, local_folder, unknown_model


def find_model(model: str | Path, *, part: Literal["", "vae"] = "", weights: bool = True) -> Path:
    """The model folder of a bundled name, a path, a training run's folder or a Hugging Face id (owner/name).

    A run's model is the one of its newest checkpoint. An existing path is never an id. Of an id, JSON files are
    downloaded first: a model that can't be loaded is refused before its weights are downloaded.
    part="vae" downloads the codec only; weights=False downloads no weights.

    Raises:
        ModelError: no such model, a file, or a run without a checkpoint or of another network.
    """
    if folder := local_folder(model):
        return _of_run(folder, part) if (folder / RUN_CONFIG).is_file() else folder
    if isinstance(model, str) and is_hub_id(model):
        return _downloaded(model, part, weights=weights)
    raise unknown_model(model)


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
        config = read_toml(run / RUN_CONFIG)
    except ConfigError as error:
        raise ModelError(f"{error}; name a run's folder") from None
    if part == "vae" and standing_folder(run / "vae").is_dir():
        return run
    if (standing_folder(run / "model") / MODEL_INDEX).is_file():
        return run / "model"
    network = next((name for name in ("transformer", "codec", "judge") if name in config), "network")
    if network != "transformer" and (network, part) != ("codec", "vae"):
        wanted = "a codec" if part == "vae" else "a whole model"
        raise ModelError(f"run {run} trains a {network}, not {wanted}; name the run of a transformer")
    if any((run / "checkpoints").glob("step_*")):
        raise ModelError(f"run {run} was stopped before it wrote the model of its checkpoint; run the training again")
    steps = config.get("checkpoint_every", "some")
    raise ModelError(f"run {run} has no checkpoint yet; it writes the first after {steps} steps")
