"""A dataset as the transformer sees it: latents and token states, encoded once and kept beside the clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.data.clips import Clip, Reader
from vitascope.data.latents import cached_latents
from vitascope.data.text_states import cached_text_states
from vitascope.model.text import TextEncoder

OnProgress = Callable[[str, int, int], None]
"""Called with (what is being encoded, clips done, clips in all)."""


@dataclass(frozen=True)
class EncodedClip:
    """One clip: its latent and the states of each of its captions (float16), and its rate in frames per second."""

    latent: Float[Tensor, "c t h w"]
    captions: list[Float[Tensor, "_l e"]]
    fps: float


def encode_clips(
    clips: Sequence[Clip],
    codec: Codec,
    latent_folder: Path,
    text_encoder: TextEncoder,
    text_folder: Path,
    captions_per_language: int,
    reader: Reader,
    on_progress: OnProgress,
) -> list[EncodedClip]:
    """Every clip that `reader` can read, encoded. The folders must belong to this codec, encoder and clips alone."""
    latents = cached_latents(
        codec, clips, latent_folder, reader, lambda done, total: on_progress("latents", done, total)
    )
    texts = cached_text_states(
        text_encoder,
        clips,
        captions_per_language,
        text_folder,
        lambda done, total: on_progress("captions", done, total),
    )
    return [
        EncodedClip(latent, states, clip.fps)
        for clip, latent, states in zip(clips, latents, texts, strict=True)
        if latent is not None
    ]
