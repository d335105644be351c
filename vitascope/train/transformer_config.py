"""Settings of a transformer's training run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vitascope.hub.card import PipelineConfig
from vitascope.model.transformer import TransformerConfig
from vitascope.train.patterns import NoiseConfig, PatternConfig
from vitascope.train.run import RunConfig


class TransformerTrainConfig(RunConfig):
    """Settings of a transformer run.

    `vae`, `text_encoder` and `init`, a transformer to start from, are folders of a network, a model or a run, or a
    bundled model's name. The folder `tokenizer` is next to the text encoder's. `init_vae` is the codec of `init`, if
    that isn't `vae`: the first and last layers are then refitted. `max_latent_frames` cuts clips to their first
    latent frames; 1 trains on images. `storyboards` is the probability that a clip of several shots has one text per
    shot. `compile` compiles the blocks with torch.compile, which takes a minute and needs a C++ compiler on a CPU;
    `auto` does without if there is none. `recompute_blocks` saves memory: the backward pass computes the blocks again.
    """

    vae: str
    text_encoder: str
    init: str = ""
    init_vae: str = ""
    compile: bool | Literal["auto"] = False
    recompute_blocks: bool = False
    pack_tokens: int = Field(default=4096, ge=16)
    max_latent_frames: int | None = Field(default=None, ge=1)
    captions_per_language: int = Field(default=4, ge=1)
    text_dropout: float = Field(default=0.1, ge=0, le=1)
    storyboards: float = Field(default=0.5, ge=0, le=1)
    sample_prompts: tuple[str, ...] = ()
    noise: NoiseConfig = NoiseConfig()
    patterns: PatternConfig = PatternConfig()
    transformer: TransformerConfig
    pipeline: PipelineConfig

    @model_validator(mode="after")
    def _has_weights_to_refit(self) -> TransformerTrainConfig:
        if self.init_vae and not self.init:
            raise ValueError("init_vae needs init: give the folder of the transformer that was trained with it")
        return self
