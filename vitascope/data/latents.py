"""Latents of a dataset, encoded once and cached on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.codec.streaming import encode_video
from vitascope.data.clips import Clip, Reader
from vitascope.files import replacing
from vitascope.kernels.device import CPU

CLIPS_PER_SHARD = 256


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
        found = _read_shard(shard)
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


def _read_shard(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        return {}
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return {}  # a damaged shard is encoded again
