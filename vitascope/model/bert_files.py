"""Files of the text encoder: its config and its weights.

Weights may be stored in 4-bit blocks (Q4_0: 32 columns share a scale); loading converts them to float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vitascope.config import validation_message
from vitascope.errors import ModelError, reason
from vitascope.files import read_json
from vitascope.types import MAX_CHARACTERS


class BertConfig(BaseModel):
    """The encoder's part of config.json, with the defaults of `transformers`; other keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    model_type: Literal["bert"] = "bert"
    hidden_act: Literal["gelu"] = "gelu"
    position_embedding_type: Literal["absolute"] = "absolute"
    hidden_size: int = Field(ge=1, le=1 << 16)
    intermediate_size: int = Field(ge=1, le=1 << 18)
    num_hidden_layers: int = Field(ge=1, le=256)
    num_attention_heads: int = Field(ge=1, le=256)
    vocab_size: int = Field(ge=1, le=1 << 24)
    max_position_embeddings: int = Field(default=512, ge=2, le=1 << 20)
    type_vocab_size: int = Field(default=2, ge=1, le=1 << 10)
    layer_norm_eps: float = Field(default=1e-12, gt=0, le=1e-2)
    text_prefix: str = Field(default="", max_length=MAX_CHARACTERS)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> BertConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self


def read_bert_config(path: Path) -> BertConfig:
    """The config of a text encoder's folder.

    Raises:
        ModelError: a file that is missing or damaged, or describes another network.
    """
    tree = read_json(path, cure="a text encoder's folder has config.json and model.safetensors")
    try:
        return BertConfig.model_validate(tree)
    except ValidationError as error:
        raise ModelError(f"{path}: {validation_message(error)}; download the folder again") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Float32 weights by name, with 4-bit blocks unpacked.

    Raises:
        ModelError: the file is missing or damaged.
    """
    if not path.is_file():
        others = sorted(each.name for each in path.parent.glob("*.safetensors"))
        pickles = sorted(each.name for each in path.parent.glob("*.bin"))
        cure = "download the folder again"
        if others or pickles:
            named = others[0] if others else f"{pickles[0]}, a pickle, after converting it to safetensors"
            cure = f"rename {named}"
        raise ModelError(f"no file {path}; {cure}")
    try:
        stored = load_file(str(path))
        names = [name for name in stored if not name.endswith(".scale")]
        return {
            name.removesuffix(".q4"): (
                _unpack_blocks(stored[name], stored[name.removesuffix(".q4") + ".scale"])
                if name.endswith(".q4")
                else stored[name].float()
            )
            for name in names
        }
    except (OSError, SafetensorError, LookupError, RuntimeError, ValueError, MemoryError) as error:
        raise ModelError(f"{path} is not a readable weights file: {reason(error)[:200]}; download it again") from None


def _unpack_blocks(packed: Tensor, scale: Tensor) -> Tensor:
    """Float32 [rows, columns] of bytes [rows, columns / 2] and one scale per 32 columns.

    Byte j of a block's 16 holds column j in its low four bits and column 16 + j in its high four.
    """
    block = rearrange(packed, "rows (blocks bytes) -> rows blocks bytes", bytes=16)
    values = torch.cat([block & 15, block >> 4], dim=-1).float() - 8
    return rearrange(values * scale.float()[..., None], "rows blocks values -> rows (blocks values)")


def weight_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each weight by its name, as BERT has them."""
    e, hidden = config.hidden_size, config.intermediate_size
    wanted: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, e),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, e),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, e),
    }
    norms, linears = ["embeddings.LayerNorm"], {}
    for layer in range(config.num_hidden_layers):
        name = f"encoder.layer.{layer}"
        linears |= {f"{name}.attention.self.{part}": (e, e) for part in ("query", "key", "value")}
        linears |= {f"{name}.attention.output.dense": (e, e)}
        linears |= {f"{name}.intermediate.dense": (hidden, e), f"{name}.output.dense": (e, hidden)}
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    for name, (rows, columns) in linears.items():
        wanted |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    for name in norms:
        wanted |= {f"{name}.weight": (e,), f"{name}.bias": (e,)}
    return wanted


def check_shapes(weights: dict[str, Tensor], wanted: dict[str, tuple[int, ...]], folder: Path) -> None:
    """Check that a folder's weights are exactly those wanted.

    Raises:
        ModelError: a weight is missing, unknown or of another shape.
    """
    for name, shape in wanted.items():
        found = tuple(weights[name].shape) if name in weights else None
        if found != shape:
            raise ModelError(
                f"{folder}: weight {name} is {found or 'missing'}; config.json needs {shape}; download the folder again"
            )
    if extra := sorted(weights.keys() - wanted):
        raise ModelError(
            f"{folder}: weight {extra[0]} is unknown to this network, one of {len(extra)}; download the folder again"
        )
