"""Clips as the transformer sees them: latents and text states, encoded once and cached on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.data.caches import cached_latents, cached_text_states
from vitascope.data.clips import Clip, Reader, shot_prompts
from vitascope.model.text import PromptEncoder
from vitascope.progress import progress


@dataclass(frozen=True)
class EncodedClip:
    """Latent of a clip and text states of its captions, both float16 on the CPU; frames per second.

    `cuts` are the first frames of all shots but the first. Each storyboard has the states of one text per shot.
    """

    latent: Float[Tensor, "c t h w"]
    captions: list[Float[Tensor, "_l e"]]
    fps: float
    cuts: tuple[int, ...] = ()
    storyboards: tuple[tuple[Float[Tensor, "_l e"], ...], ...] = ()
    id: str = ""


@dataclass(frozen=True)
class ClipEncoder:
    """Encodes clips and caches the results in two folders.

    The folders must belong to this codec, this text encoder and these clips alone: name them after digests.
    """

    codec: Codec
    latent_folder: Path
    text_encoder: PromptEncoder
    text_folder: Path
    captions_per_language: int

    def encode(self, clips: Sequence[Clip], reader: Reader, label: str) -> list[EncodedClip]:
        """All readable clips, encoded. Progress lines contain `label`."""
        captions = [clip.some_captions(self.captions_per_language) for clip in clips]
        prompts = [
            [
                prompt
                for storyboard in clip.some_storyboards(self.captions_per_language)
                for prompt in shot_prompts(storyboard)
            ]
            for clip in clips
        ]
        texts = [[*whole, *shots] for whole, shots in zip(captions, prompts, strict=True)]
        with progress(f"encoding latents for {label}") as show:
            latents = cached_latents(self.codec, clips, self.latent_folder, reader, show)
        with progress(f"encoding texts for {label}") as show:
            states = cached_text_states(self.text_encoder, texts, self.text_folder, show)
        return [
            _encoded(clip, latent, of_clip, len(whole))
            for clip, latent, of_clip, whole in zip(clips, latents, states, captions, strict=True)
            if latent is not None
        ]


def _encoded(
    clip: Clip, latent: Float[Tensor, "c t h w"], states: list[Float[Tensor, "_l e"]], num_captions: int
) -> EncodedClip:
    num_shots = len(clip.cuts) + 1
    starts = range(num_captions, len(states), num_shots)
    storyboards = tuple(tuple(states[start : start + num_shots]) for start in starts)
    return EncodedClip(latent, states[:num_captions], clip.fps, clip.cuts, storyboards, clip.id)
