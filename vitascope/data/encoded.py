"""A dataset as the transformer sees it: latents and token states, encoded once and kept beside the clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.data.clips import Clip, Reader, shot_prompts
from vitascope.data.latents import cached_latents
from vitascope.data.text_states import cached_text_states
from vitascope.model.text import PromptEncoder

OnProgress = Callable[[str, int, int], None]
"""Called with (what is being encoded, clips done, clips in all)."""


@dataclass(frozen=True)
class EncodedClip:
    """One clip: its latent and the states of each of its captions (float16), and its rate in frames per second.

    `cuts` are the frames with which its shots but the first begin; a storyboard has states for each of them.
    """

    latent: Float[Tensor, "c t h w"]
    captions: list[Float[Tensor, "_l e"]]
    fps: float
    cuts: tuple[int, ...] = ()
    storyboards: tuple[tuple[Float[Tensor, "_l e"], ...], ...] = ()


def encode_clips(
    clips: Sequence[Clip],
    codec: Codec,
    latent_folder: Path,
    text_encoder: PromptEncoder,
    text_folder: Path,
    captions_per_language: int,
    reader: Reader,
    on_progress: OnProgress,
) -> list[EncodedClip]:
    """Every clip that `reader` can read, encoded. The folders must belong to this codec, encoder and clips alone."""
    latents = cached_latents(
        codec, clips, latent_folder, reader, lambda done, total: on_progress("latents", done, total)
    )
    captions = [clip.some_captions(captions_per_language) for clip in clips]
    by_shots = [
        [prompt for told in clip.some_storyboards(captions_per_language) for prompt in shot_prompts(told)]
        for clip in clips
    ]
    texts = cached_text_states(
        text_encoder,
        [[*whole, *shots] for whole, shots in zip(captions, by_shots, strict=True)],
        text_folder,
        lambda done, total: on_progress("captions", done, total),
    )
    return [
        _encoded(clip, latent, states, len(whole))
        for clip, latent, states, whole in zip(clips, latents, texts, captions, strict=True)
        if latent is not None
    ]


def _encoded(
    clip: Clip, latent: Float[Tensor, "c t h w"], states: list[Float[Tensor, "_l e"]], num_captions: int
) -> EncodedClip:
    num_shots, starts = len(clip.cuts) + 1, range(num_captions, len(states), len(clip.cuts) + 1)
    storyboards = tuple(tuple(states[start : start + num_shots]) for start in starts)
    return EncodedClip(latent, states[:num_captions], clip.fps, clip.cuts, storyboards)
