"""Text states of a dataset, encoded once and cached on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vitascope.data.latents import CLIPS_PER_SHARD
from vitascope.files import replacing
from vitascope.kernels.device import CPU
from vitascope.model.text import PromptEncoder

States = Float[Tensor, "_l e"]


def cached_text_states(
    encoder: PromptEncoder,
    texts_of_clips: Sequence[Sequence[str]],
    folder: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[list[States]]:
    """States of each clip's texts, float16 on the CPU.

    States that the folder lacks are encoded and written, one shard at a time. The folder must belong to this text
    encoder and dataset alone: name it after the encoder's digest.
    """
    states: list[list[States]] = []
    for start in range(0, len(texts_of_clips), CLIPS_PER_SHARD):
        part = texts_of_clips[start : start + CLIPS_PER_SHARD]
        texts = [text for of_clip in part for text in of_clip]
        shard = folder / f"text_{start // CLIPS_PER_SHARD:05d}.safetensors"
        digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        found = _read_shard(shard, digest)
        if found is None:
            found = _encode(encoder, texts)
            tensors = {"states": torch.cat(found), "lengths": torch.tensor([len(state) for state in found])}
            with replacing(shard) as temporary:
                save_file(tensors, temporary, metadata={"captions_sha256": digest})
        remaining = iter(found)
        states += [[next(remaining) for _ in of_clip] for of_clip in part]
        if on_progress is not None:
            on_progress(len(states), len(texts_of_clips))
    return states


def _encode(encoder: PromptEncoder, texts: Sequence[str]) -> list[States]:
    """States of each text. Equal texts are encoded once, texts of similar length together."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    by_text = dict(zip(distinct, (state.to(CPU, torch.float16) for state in encoder.encode(distinct)), strict=True))
    return [by_text[text] for text in texts]


def _read_shard(path: Path, digest: str) -> list[States] | None:
    """States in a shard; None if it is missing, damaged or belongs to other captions."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("captions_sha256") != digest:
                return None
            return list(file.get_tensor("states").split(file.get_tensor("lengths").tolist()))
    except (OSError, SafetensorError):
        return None
