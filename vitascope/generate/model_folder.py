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
from vitascope.interop.hub import download, is_hub_id
from vitascope.interop.wan_folder import PIPELINES
from vitascope.model.diffusion import shift_factor


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
    reference_tokens: int | None = Field(default=80, ge=1)  # None: the shift is the same for any number of tokens
    training: dict[str, str | int | float] = Field(default_factory=dict)
    scores: dict[str, float] = Field(default_factory=dict)

    def shift_of(self, num_tokens: int) -> float:
        """How far noise levels move towards noise for a video of this many tokens."""
        reference = num_tokens if self.reference_tokens is None else self.reference_tokens
        return shift_factor(num_tokens, reference_tokens=reference, base=self.shift)


def read_model_index(folder: Path) -> PipelineConfig:
    """The pipeline config in a model folder.

    Raises:
        ModelError: no model_index.json, or one of another system.
    """
    path = folder / "model_index.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"no model in {folder}: model_index.json is missing; of Wan's models take those in diffusers' layout"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not readable JSON: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict) or tree.get("_class_name") != "VitascopePipeline":
        found = tree.get("_class_name") if isinstance(tree, dict) else None
        raise ModelError(f"{path} doesn't describe a Vitascope model or a {' or '.join(PIPELINES)}, but {found!r}")
    return parse_config(tree.get("pipeline", {}), PipelineConfig, source=str(path))


def find_model(model: str | Path) -> Path:
    """The folder of a bundled model's name, of a path, or of a Hugging Face id (owner/name), which is downloaded.

    Raises:
        ModelError: none of them; the message lists the bundled names.
    """
    bundled = Path(str(resources.files("vitascope"))) / "models"
    names = sorted(path.parent.name for path in bundled.glob("*/model_index.json"))
    if str(model) in names:
        return bundled / str(model)
    if Path(model).is_dir():
        return Path(model)
    if isinstance(model, str) and is_hub_id(model):
        return download(model)
    known = f"a folder, or one of {', '.join(names)}" if names else "a model's folder; no model is bundled here"
    raise ModelError(f"no model {str(model)!r}: give {known}")
