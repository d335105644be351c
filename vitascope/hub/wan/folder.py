"""A whole Wan model in diffusers' layout: its parts and the settings of its release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitascope.config import parse_config
from vitascope.errors import ModelError
from vitascope.files import read_json
from vitascope.hub.card import MODEL_INDEX, PipelineConfig
from vitascope.hub.wan import codec as wan_codec
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.wan import umt5

PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")
UNIPC, EULER = "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"
CLASSES = {
    "transformer": (wan_transformer.CLASS,),
    "vae": (wan_codec.CLASS,),
    "text_encoder": (umt5.CLASS,),
    "scheduler": (UNIPC, EULER),
}

# Settings of the releases. reference_tokens=None makes the shift constant.
USE = {"num_steps": 50, "guidance": 5.0, "reference_tokens": None}
USE_21 = {**USE, "height": 480, "width": 832, "num_frames": 81, "fps": 16.0, "reference_fps": 16.0}
USE_22 = {**USE, "height": 704, "width": 1280, "num_frames": 121, "fps": 24.0, "reference_fps": 24.0}


def read_wan_card(folder: Path, index: dict[str, Any]) -> PipelineConfig:
    """The settings of the model in a folder of a `WanPipeline` or `WanImageToVideoPipeline`, as released.

    Raises:
        ModelError: a part is missing or of an unsupported class, or the schedule is unknown.
    """
    _check_parts(index, folder / MODEL_INDEX)
    settings = {"name": folder.resolve().name, **(USE_22 if index.get("expand_timesteps") else USE_21)}
    return parse_config(settings | _solver(folder / "scheduler"), PipelineConfig, source=str(folder))


def _check_parts(index: dict[str, Any], path: Path) -> None:
    """Check that each part in the index is supported and present."""
    kind = index.get("_class_name")
    parts = {name: pair[1] for name, pair in index.items() if isinstance(pair, list) and len(pair) == 2 and pair[1]}
    for name, found in parts.items():
        known = CLASSES.get(name, (found,) if name == "tokenizer" else ())
        if found not in known:
            wanted = f"it must be a {' or '.join(known)}" if known else "our pipeline has no such part"
            raise ModelError(f"{path}: {name} is a {found}; {wanted}, so this form of {kind} can't be loaded")
    for name in (*CLASSES, "tokenizer"):
        if name not in parts:
            raise ModelError(f"{path} names no {name}; this form of {kind} can't be loaded")
        if not (path.parent / name).is_dir():
            raise ModelError(f"the folder {path.parent / name} is missing; download the model again")


def _solver(folder: Path) -> dict[str, Any]:
    """Settings that correspond to the peer's scheduler: a solver of the same order, and the shift."""
    path = folder / "scheduler_config.json"
    tree = read_json(path, cure="download the model again")
    kind = tree.get("_class_name")
    # the defaults are the peer's
    straight = tree.get("use_flow_sigmas", False) if kind == UNIPC else not tree.get("use_dynamic_shifting", False)
    if kind not in (UNIPC, EULER) or not straight:
        raise ModelError(f"{path}: {kind} isn't set to a flow with a constant shift, so its levels aren't known here")
    shift = tree.get("flow_shift" if kind == UNIPC else "shift", 1.0)
    if not isinstance(shift, int | float) or shift <= 0:
        raise ModelError(f"{path}: a shift of {shift!r}; it must be a positive number")
    return {"solver": "multistep" if kind == UNIPC else "euler", "shift": float(shift)}
