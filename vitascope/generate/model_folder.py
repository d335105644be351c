"""A model's folder: where it is found, and what `model_index.json` says of how the model is meant to be used."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field

from vitascope.config import Config, parse_config
from vitascope.errors import ModelError
from vitascope.generate.sizes import MAX_FRAMES, MAX_SIDE, MAX_STEPS, MIN_SIDE


class PipelineConfig(Config):
    """How a model is meant to be used, and what it was trained on; `model_index.json` holds it."""

    name: str
    height: int = Field(default=64, ge=MIN_SIDE, le=MAX_SIDE)
    width: int = Field(default=64, ge=MIN_SIDE, le=MAX_SIDE)
    num_frames: int = Field(default=17, ge=1, le=MAX_FRAMES)
    fps: float = Field(default=8.0, gt=0, le=240)
    reference_fps: float = Field(default=8.0, gt=0, le=240)
    num_steps: int = Field(default=40, ge=1, le=MAX_STEPS)
    solver: Literal["euler", "heun", "multistep"] = "multistep"
    guidance: float = Field(default=4.0, ge=0, le=100)
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_rescale: float = Field(default=0.0, ge=0, le=1)
    shift: float = Field(default=2.0, gt=0)
    reference_tokens: int = Field(default=80, ge=1)
    training: dict[str, str | int | float] = Field(default_factory=dict)
    scores: dict[str, float] = Field(default_factory=dict)


def read_model_index(folder: Path) -> PipelineConfig:
    """The pipeline config in a model folder.

    Raises:
        ModelError: no model_index.json, or one of another system.
    """
    path = folder / "model_index.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"no model in {folder}: model_index.json is missing") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not readable JSON: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict) or tree.get("_class_name") != "VitascopePipeline":
        raise ModelError(f"{path} doesn't describe a Vitascope model")
    return parse_config(tree.get("pipeline", {}), PipelineConfig, source=str(path))


def find_model(model: str | Path) -> Path:
    """The folder of a bundled model's name, or of a path.

    Raises:
        ModelError: neither; the message lists the bundled names.
    """
    bundled = Path(str(resources.files("vitascope"))) / "models"
    names = sorted(path.parent.name for path in bundled.glob("*/model_index.json"))
    if str(model) in names:
        return bundled / str(model)
    if Path(model).is_dir():
        return Path(model)
    known = f"a folder, or one of {', '.join(names)}" if names else "a model's folder; no model is bundled here"
    raise ModelError(f"no model {str(model)!r}: give {known}")
