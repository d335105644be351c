"""Writing a model's folder: each network as diffusers' own class where that can hold it, and a card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vitascope.codec.video_codec import VideoCodec
from vitascope.errors import ModelError
from vitascope.files import read_json, read_stable, remove_leftovers, replacing_folder
from vitascope.hub.card import MODEL_INDEX, PipelineConfig
from vitascope.hub.registry import load_codec, load_model, load_transformer
from vitascope.hub.wan import codec as wan_codec
from vitascope.hub.wan import folder as wan_folder
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.weights import CONFIG_FILE, copy_part, save_network, write_manifest
from vitascope.model.transformer import Transformer

COPIED = ("text_encoder", "tokenizer")
MODEL_CARD = "README.md"
LOADING = "## Load this folder"  # title of the last section of every exported card


def export_model(source: Path, out: Path, dtype: torch.dtype) -> list[str]:
    """Write a model's folder as another one, and return a note on each network that diffusers' class can't hold.

    The transformer is written in `dtype`, the codec in float32. Text encoder, tokenizer and model card are copied; a
    model without a card gets one. The card's last section says how to load the folder.

    Raises:
        FloatingPointError: a weight is not finite, or too large for `dtype`.
        ModelError: a part is missing or damaged.
    """
    remove_leftovers(out.parent)  # of killed exports
    return read_stable(source, lambda standing: _export(standing, out, dtype))


def _export(source: Path, out: Path, dtype: torch.dtype) -> list[str]:
    index = read_json(source / MODEL_INDEX, cure="give the folder of a model")
    codec, transformer = load_codec(source / "vae"), load_transformer(source / "transformer", dtype=dtype)
    parts = (*COPIED, *(("scheduler",) if "scheduler" in index else ()))
    for part in parts:
        if not (source / part).is_dir():
            raise ModelError(f"the folder {source / part} is missing; download the model again")
    config = load_model(source, weights=False).config
    notes = []
    with replacing_folder(out) as temporary:
        index["vae"], note = _save_codec(codec, temporary / "vae")
        notes += note
        index["transformer"], note = _save_transformer(transformer, temporary / "transformer", dtype)
        notes += note
        for part in parts:
            copy_part(source / part, temporary / part)
        if "quantization" in read_json(temporary / "text_encoder" / CONFIG_FILE, cure="download the model again"):
            notes.append("text_encoder is copied in Vitascope's own layout: its weights are in 4-bit blocks")
        own = source / MODEL_CARD
        card = own.read_text(encoding="utf-8", errors="replace") if own.is_file() else model_card(config)
        written = f"{card.split(LOADING)[0].rstrip()}\n\n{loading_section(index)}"
        (temporary / MODEL_CARD).write_text(written, encoding="utf-8")
        (temporary / MODEL_INDEX).write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        write_manifest(temporary)
    return notes


def how_to_load(folder: Path) -> str:
    """One line that says how to load a written folder, and whether diffusers can.

    Raises:
        ModelError: the folder has no readable index.
    """
    index = read_json(folder / MODEL_INDEX, cure="give the folder of a model")
    kind, ours = index["_class_name"], f"load it with vitascope.load({str(folder)!r}) or --model {folder}"
    if kind in wan_folder.PIPELINES:
        return f"{ours}; diffusers.{kind}.from_pretrained, with accelerate, loads it too"
    parts = _readable_parts(index)
    also = f"; its classes load {' and '.join(parts)}" if parts else ""
    return f"{ours}; diffusers.DiffusionPipeline.from_pretrained can't: diffusers has no class {kind}{also}"


def loading_section(index: Mapping[str, Any]) -> str:
    """The section of a model card that says how to load the folder, and whether diffusers can."""
    kind = index["_class_name"]
    lines = [
        LOADING,
        "",
        "```python",
        "import vitascope",
        "",
        'pipeline = vitascope.load("FOLDER")  # or: vitascope generate "..." --model FOLDER',
        "```",
        "",
    ]
    if kind in wan_folder.PIPELINES:
        lines += [f"`diffusers.{kind}.from_pretrained` loads it too, with the package accelerate installed."]
    else:
        lines += [
            "`diffusers.DiffusionPipeline.from_pretrained` can't load it and ends with "
            f"`module diffusers has no attribute {kind}`: this pipeline exists in Vitascope alone."
        ]
        lines += [f"- `{part}` is a `diffusers.{name}`." for part, name in _readable_parts(index).items()]
    return "\n".join(lines) + "\n"


def _readable_parts(index: Mapping[str, Any]) -> dict[str, str]:
    """Parts that diffusers can load on their own, and their classes."""
    return {part: index[part][1] for part in ("vae", "transformer") if index[part][0] == "diffusers"}


def model_card(config: PipelineConfig) -> str:
    """A model card as Hugging Face expects it: YAML front matter, then the facts that the config states."""
    lines = [
        "---",
        "library_name: vitascope",
        "pipeline_tag: text-to-video",
        "tags:",
        "- text-to-video",
        "- vitascope",
        "---",
        "",
        f"# {config.name}",
        "",
        "A text-to-video model, written by `vitascope export`.",
        "",
        "| default | value |",
        "|---|---|",
        f"| size | {config.width} x {config.height} |",
        f"| frames | {config.num_frames} at {config.fps:g} a second |",
        f"| sampling | {config.num_steps} steps of {config.solver}, guidance {config.guidance:g} |",
    ]
    for title, figures in (("Training", config.training), ("Figures", config.scores)):
        if figures:
            lines += ["", f"## {title}", "", *(f"- {name}: {value}" for name, value in figures.items())]
    return "\n".join(lines) + "\n"


def _save_codec(codec: VideoCodec, folder: Path) -> tuple[list[str], list[str]]:
    """Library and class of the written codec, and a note if it is not diffusers'."""
    try:
        wan_codec.save_wan_codec(codec, folder)
        return ["diffusers", wan_codec.CLASS], []
    except ModelError as error:
        save_network(codec, codec.config, folder, torch.float32)
        return ["vitascope", codec.class_name], [f"vae is written in Vitascope's own layout: {error}"]


def _save_transformer(transformer: Transformer, folder: Path, dtype: torch.dtype) -> tuple[list[str], list[str]]:
    """Library and class of the written transformer, and a note if it is not diffusers'."""
    try:
        wan_transformer.save_wan_transformer(transformer, folder, dtype)
        return ["diffusers", wan_transformer.CLASS], []
    except ModelError as error:
        save_network(transformer, transformer.config, folder, dtype)
        return ["vitascope", "VitascopeTransformer"], [f"transformer is written in Vitascope's own layout: {error}"]
