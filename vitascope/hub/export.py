"""A model's folder, written anew in diffusers' layout: each network as diffusers' own class where that can hold it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from vitascope.errors import ModelError
from vitascope.files import read_json, replacing_folder
from vitascope.hub.card import MODEL_INDEX
from vitascope.hub.registry import load_codec, load_transformer
from vitascope.hub.wan import codec as wan_codec
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.weights import save_network

COPIED = ("text_encoder", "tokenizer")


def export_model(source: Path, out: Path, dtype: torch.dtype) -> list[str]:
    """Write the model of a folder as another, whose transformer is in `dtype`; what could not be diffusers' own.

    The text encoder and its tokenizer are copied as they are. `Pipeline.load` reads the folder.

    Raises:
        ModelError: a part is missing or damaged.
    """
    index = read_json(source / MODEL_INDEX, cure="give the folder of a model")
    codec, transformer = load_codec(source / "vae"), load_transformer(source / "transformer", dtype=dtype)
    notes = []
    with replacing_folder(out) as temporary:
        try:
            wan_codec.save_wan_codec(codec, temporary / "vae")
            index["vae"] = ["diffusers", wan_codec.CLASS]
        except ModelError as error:
            save_network(codec, codec.config, temporary / "vae", torch.float32)
            index["vae"] = ["vitascope", "VitascopeCodec"]
            notes.append(f"vae is written in Vitascope's own layout: {error}")
        try:
            wan_transformer.save_wan_transformer(transformer, temporary / "transformer", dtype)
            index["transformer"] = ["diffusers", wan_transformer.CLASS]
        except ModelError as error:
            save_network(transformer, transformer.config, temporary / "transformer", dtype)
            index["transformer"] = ["vitascope", "VitascopeTransformer"]
            notes.append(f"transformer is written in Vitascope's own layout: {error}")
        for part in (*COPIED, *(("scheduler",) if "scheduler" in index else ())):
            if not (source / part).is_dir():
                raise ModelError(f"the folder {source / part} is missing; download the model again")
            shutil.copytree(source / part, temporary / part)
        if "quantization" in read_json(temporary / "text_encoder" / "config.json", cure="download the model again"):
            notes.append("text_encoder is copied in Vitascope's own layout: its weights lie in 4-bit blocks")
        (temporary / MODEL_INDEX).write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return notes
