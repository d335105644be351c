"""A whole Wan model in diffusers' layout: its parts and the settings of its release."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitascope.config import parse_config
from vitascope.errors import ModelError
from vitascope.files import read_json
from vitascope.hub.card import MODEL_INDEX, PipelineConfig
from vitascope.hub.wan import codec as wan_codec
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.wan import umt5
from vitascope.model.diffusion import TRAIN_LEVELS
from vitascope.types import MAX_SHIFT

PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")
UNIPC, EULER = "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"
CLASSES = {
    "transformer": (wan_transformer.CLASS,),
    "vae": (wan_codec.CLASS,),
    "text_encoder": (umt5.CLASS,),
    "scheduler": (UNIPC, EULER),
}


@dataclass(frozen=True)
class SchedulerForm:
    """The form of a peer's scheduler that our samplers reproduce.

    `required` holds the supported values of settings that change the samples. Where the first value isn't the peer's
    default, `is_stated` names the setting: the file must contain it. `inert` settings change nothing in this form.
    """

    solver: str
    spacing: str
    shift: str  # name of the setting
    required: dict[str, tuple[Any, ...]]
    inert: frozenset[str]
    is_stated: frozenset[str] = field(default=frozenset())


_SAME_LEVELS = {
    "num_train_timesteps": (TRAIN_LEVELS,),
    "use_dynamic_shifting": (False,),
    "shift_terminal": (None, False, 0, 0.0),
    "use_karras_sigmas": (False,),
    "use_exponential_sigmas": (False,),
    "use_beta_sigmas": (False,),
}
SCHEDULERS = {
    UNIPC: SchedulerForm(
        solver="unipc",
        spacing="unipc",
        shift="flow_shift",
        required={
            **_SAME_LEVELS,
            "use_flow_sigmas": (True,),
            "prediction_type": ("flow_prediction",),
            "solver_order": (2,),
            "solver_type": ("bh2", "midpoint", "heun", "logrho"),  # the peer takes the last three for bh2
            "predict_x0": (True,),
            "lower_order_final": (True,),
            "disable_corrector": ([],),
            "solver_p": (None,),
            "thresholding": (False,),
            "final_sigmas_type": ("zero",),
        },
        inert=frozenset(
            (
                "beta_start",
                "beta_end",
                "beta_schedule",
                "trained_betas",
                "dynamic_thresholding_ratio",
                "sample_max_value",
                "timestep_spacing",
                "steps_offset",
                "rescale_betas_zero_snr",
                "time_shift_type",
                "sigma_min",
                "sigma_max",
            )
        ),
        is_stated=frozenset(("use_flow_sigmas", "prediction_type")),
    ),
    EULER: SchedulerForm(
        solver="euler",
        spacing="flow_match",
        shift="shift",
        required={**_SAME_LEVELS, "invert_sigmas": (False,), "stochastic_sampling": (False,)},
        inert=frozenset(("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "time_shift_type")),
    ),
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
    return parse_config(
        settings | _sampling(folder / "scheduler", index["scheduler"][1]), PipelineConfig, source=str(folder)
    )


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


def _sampling(folder: Path, kind: str) -> dict[str, Any]:
    """Solver, spacing and shift of the peer's scheduler of that class.

    Raises:
        ModelError: a config of another class, or a setting that would change the samples and isn't supported.
    """
    path = folder / "scheduler_config.json"
    tree = read_json(path, cure="download the model again")
    if tree.get("_class_name") != kind:
        raise ModelError(f"{path} describes {_shown(tree.get('_class_name'))}, but {MODEL_INDEX} names {kind}")
    form = SCHEDULERS[kind]
    _check_scheduler(tree, form, path)
    shift = tree.get(form.shift, 1.0)
    if isinstance(shift, bool) or not isinstance(shift, int | float) or not 0 < shift <= MAX_SHIFT:
        raise ModelError(f"{path}: {form.shift} is {shift!r}; it must be a number above 0 and up to {MAX_SHIFT:g}")
    return {"solver": form.solver, "spacing": form.spacing, "shift": float(shift)}


def _check_scheduler(tree: dict[str, Any], form: SchedulerForm, path: Path) -> None:
    """Refuse each setting that changes the samples and is not supported, also one of an unknown name."""
    for name in sorted(form.is_stated - tree.keys()):
        raise ModelError(f"{path}: {name} is missing; only {form.required[name][0]!r} is supported")
    for name, value in tree.items():
        if name.startswith("_") or name == form.shift or name in form.inert:
            continue
        if name in form.required:
            allowed = form.required[name]
            if not any(type(value) is type(each) and value == each for each in allowed):
                raise ModelError(f"{path}: {name} is {_shown(value)}; only {allowed[0]!r} is supported")
        elif value not in _unset(name, tree, form):
            raise ModelError(f"{path}: {name} is {_shown(value)}; this setting is not supported, remove it")


def _unset(name: str, tree: dict[str, Any], form: SchedulerForm) -> list[Any]:
    """Values with which an unknown setting is off.

    The peer keeps the settings of a scheduler that another was made from; those at their defaults are off.
    """
    defaults = {name: allowed[0] for other in SCHEDULERS.values() for name, allowed in other.required.items()}
    values = [None, False, [], {}, defaults.get(name)]
    if any(name in other.inert for other in SCHEDULERS.values()):
        return [*values, tree[name]]
    return [*values, 1.0, tree.get(form.shift)] if any(name == other.shift for other in SCHEDULERS.values()) else values


def _shown(value: object) -> str:
    """The value in at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
