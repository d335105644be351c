"""Settings of a judge's training run."""

from __future__ import annotations

from pydantic import Field

from vitascope.judge.network import JudgeConfig
from vitascope.train.run import RunConfig


class JudgeTrainConfig(RunConfig):
    """Settings of a judge run.

    `extra_data` lists further dataset folders, all for training. `init` is the folder of a judge of the same shape to
    start from; it may have other caption words and fewer lags. Preprocessed clips stay in memory up to `cache_gib`.
    `degraded`, `mirrored` and `framed` are the shares of augmented clips. The losses on captions and grounding are
    weighted by `caption_weight` and `grounding_weight`. In the attribute loss, words for motion, partner and camera
    have the weight `action_weight`.
    """

    extra_data: tuple[str, ...] = ()
    init: str = ""
    batch_clips: int = Field(default=16, ge=1, le=1024)
    degraded: float = Field(default=0.7, ge=0, le=1)
    mirrored: float = Field(default=0.5, ge=0, le=1)
    framed: float = Field(default=0.5, ge=0, le=1)
    cache_gib: float = Field(default=4.0, ge=0)
    caption_weight: float = Field(default=0.5, ge=0)
    grounding_weight: float = Field(default=1.0, ge=0)
    action_weight: float = Field(default=1.0, ge=0)
    judge: JudgeConfig = JudgeConfig()
