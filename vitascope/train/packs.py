"""Noised packs: the transformer's training batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitascope.data.caches import EncodedClip
from vitascope.errors import DatasetError
from vitascope.model.canvas import Shot, make_canvas, reference_pin
from vitascope.model.diffusion import add_noise
from vitascope.model.patches import Pack, Sample, pack
from vitascope.train.patterns import draw_given, draw_given_sigma, draw_sigmas
from vitascope.train.shots import LatentShots, latent_shots
from vitascope.train.transformer_config import TransformerTrainConfig


@dataclass(frozen=True)
class PackBatch:
    """A noised pack with its clean data and noise. The loss counts tokens where `target` is true."""

    pack: Pack
    clean: Float[Tensor, "n p"]
    noise: Float[Tensor, "n p"]
    target: Bool[Tensor, " n"]
    ids: tuple[str, ...] = ()
    num_targets: int = 0  # true values of `target`, counted on the CPU


class BatchMaker:
    """Turns clips into noised packs: draws caption, condition frames, noise levels and noise from one generator."""

    def __init__(
        self,
        clips: Sequence[EncodedClip],
        no_text: Float[Tensor, "l e"],
        config: TransformerTrainConfig,
        time_stride: int,
    ):
        self.clips, self.no_text = clips, no_text
        self.config, self.time_stride = config, time_stride

    @property
    def lengths(self) -> list[int]:
        """Tokens of each clip, without those of a reference.

        Raises:
            DatasetError: the patch doesn't divide a clip's latent.
        """
        return [self._length(clip.latent.shape[1:]) for clip in self.clips]

    def _length(self, sides: Sequence[int]) -> int:
        patch = self.config.transformer.patch
        if any(side % step for side, step in zip(sides, patch, strict=True)):
            raise DatasetError(
                f"a clip's latent is {list(sides)}, which patches of {list(patch)} don't divide: crop the clip"
            )
        return math.prod(sides) // math.prod(patch)

    def make(self, indices: Sequence[int], generator: torch.Generator) -> PackBatch:
        """One pack of the clips with these indices, sorted by shape: attention batches neighbours of equal length."""
        indices = sorted(indices, key=lambda i: self.clips[i].latent.shape[1:])
        samples, cleans, noises, targets = zip(*(self._sample(self.clips[i], generator) for i in indices), strict=True)
        target = torch.cat(targets)
        ids = tuple(self.clips[i].id for i in indices)
        return PackBatch(pack(samples), torch.cat(cleans), torch.cat(noises), target, ids, int(target.sum()))

    def _contexts(self, descriptions: Sequence[Sequence[Tensor]], generator: torch.Generator) -> list[Tensor]:
        """Text states of one description, one text per shot. Dropout replaces all of them or none."""
        pick = int(torch.randint(len(descriptions), (1,), generator=generator))
        dropped = torch.rand((), generator=generator).item() < self.config.text_dropout
        return [self.no_text if dropped else text.float() for text in descriptions[pick]]

    def _shots(self, clip: EncodedClip, generator: torch.Generator) -> LatentShots | None:
        """Shots of a clip drawn as a storyboard; None if one text describes the whole clip."""
        if not clip.storyboards or torch.rand((), generator=generator).item() >= self.config.storyboards:
            return None
        return latent_shots(clip.cuts, clip.latent.shape[1], self.time_stride)

    def _sample(self, clip: EncodedClip, generator: torch.Generator) -> tuple[Sample, Tensor, Tensor, Tensor]:
        config, latent = self.config, clip.latent.float()
        storyboard = self._shots(clip, generator)
        if storyboard is None:
            captions = clip.captions or [self.no_text]
            storyboard, descriptions = LatentShots((Shot(),), ()), [[caption] for caption in captions]
        else:
            descriptions = [texts[: len(storyboard.shots)] for texts in clip.storyboards]
        contexts = self._contexts(descriptions, generator)
        pattern = draw_given(latent, config.patterns, generator, config.transformer.patch)
        fps, reference_fps, time_stride = clip.fps, config.pipeline.reference_fps, self.time_stride
        pins = [
            reference_pin(reference, number, fps=fps, reference_fps=reference_fps, time_stride=time_stride)
            for number, reference in enumerate(pattern.references)
        ]
        canvas = make_canvas(
            latent,
            pattern.given,
            pins,
            fps=fps,
            reference_fps=reference_fps,
            patch=config.transformer.patch,
            time_stride=time_stride,
            shots=storyboard.shots,
        )
        sigmas = draw_sigmas(canvas.num_frames, canvas.num_grid_tokens, pattern.independent, config.noise, generator)
        given_sigma = draw_given_sigma(config.patterns, generator)
        noise = torch.randn(canvas.clean.shape, generator=generator)
        sample = canvas.noised(canvas.clean, sigmas, contexts, given_sigma)
        noisy = add_noise(canvas.clean, noise, sample.sigmas[sample.frame_index])
        # no loss on latent frames that mix two shots: storyboards never generate them
        target = ~canvas.given & ~torch.isin(canvas.frame, torch.tensor(storyboard.mixed, dtype=canvas.frame.dtype))
        return canvas.noised(noisy, sigmas, contexts, given_sigma), canvas.clean, noise, target
