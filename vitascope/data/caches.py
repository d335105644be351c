"""Latents and text states of a dataset, encoded once and cached on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.codec.streaming import encode_video
from vitascope.data.clips import Clip, Reader
from vitascope.files import replacing
from vitascope.kernels.device import CPU
from vitascope.model.text import PromptEncoder

CLIPS_PER_SHARD = 256

States = Float[Tensor, "_l e"]


def cached_latents(
    codec: Codec,
    clips: Sequence[Clip],
    folder: Path,
    reader: Reader,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Float[Tensor, "c _t _h _w"] | None]:
    """Latent of each clip, float16 on the CPU; None for unreadable clips.

    Latents that the folder lacks are encoded and written, one shard at a time. The folder must belong to this codec and
    dataset alone: name it after the codec's digest.
    """
    latents: dict[str, Tensor] = {}
    for start in range(0, len(clips), CLIPS_PER_SHARD):
        part = clips[start : start + CLIPS_PER_SHARD]
        shard = folder / f"latents_{start // CLIPS_PER_SHARD:05d}.safetensors"
        found = _read_latents(shard)
        num_found = len(found)
        for number, clip in enumerate(part):
            video = None if clip.id in found else reader.read(clip)
            if video is not None:
                found[clip.id] = encode_video(codec, video).to(CPU, torch.float16).contiguous()
            if on_progress is not None:
                on_progress(start + number + 1, len(clips))
        if len(found) > num_found:
            with replacing(shard) as temporary:
                save_file(found, temporary)
        latents.update(found)
    return [latents.get(clip.id) for clip in clips]


def _read_latents(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        return {}
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return {}  # a damaged shard is encoded again


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
        found = _read_states(shard, digest)
        if found is None:
            found = _encode_texts(encoder, texts)
            tensors = {"states": torch.cat(found), "lengths": torch.tensor([len(state) for state in found])}
            with replacing(shard) as temporary:
                save_file(tensors, temporary, metadata={"captions_sha256": digest})
        remaining = iter(found)
        states += [[next(remaining) for _ in of_clip] for of_clip in part]
        if on_progress is not None:
            on_progress(len(states), len(texts_of_clips))
    return states


def _encode_texts(encoder: PromptEncoder, texts: Sequence[str]) -> list[States]:
    """States of each text. Equal texts are encoded once, texts of similar length together."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    by_text = dict(zip(distinct, (state.to(CPU, torch.float16) for state in encoder.encode(distinct)), strict=True))
    return [by_text[text] for text in texts]


def _read_states(path: Path, digest: str) -> list[States] | None:
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
