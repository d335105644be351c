"""A pipeline whose model knows what it is to make: what is left is the ability's own doing, and the codec's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from vitascope.generate.pipeline import Pipeline, Sampling
from vitascope.generate.sampler import OnStep
from vitascope.generate.timeline import Timeline
from vitascope.video import Video


class KnowingPipeline(Pipeline):
    """A pipeline that puts the latent frames of a clip, known by its prompt, where a model would put its own.

    It makes the first frames of the clip, as many as are asked for, of what is given of them.
    """

    def __init__(self, pipeline: Pipeline, clips: Mapping[str, Video]):
        super().__init__(pipeline.codec, pipeline.transformer, pipeline.text_encoder, pipeline.config)
        self.clips = clips

    @torch.inference_mode()
    def make(self, timeline: Timeline, sampling: Sampling | None = None, on_progress: OnStep | None = None) -> Video:
        """The frames of a timeline as the truth has them, but through the codec."""
        clip, dropped = self.clips[timeline.prompts[0]], timeline.dropped
        frames = clip.frames[: timeline.num_frames]
        repeated = np.repeat(frames[dropped.start : dropped.start + 1], len(dropped), axis=0)
        frames = np.concatenate([frames[: dropped.start], repeated, frames[dropped.start :]])
        rollout = self.rollout(timeline)
        truth = self.lattice.encode(Video(frames, clip.fps))[:, : rollout.latent.shape[1]]
        known = rollout.known[: truth.shape[1]]
        rollout.latent[:, : truth.shape[1]] = torch.where(known, rollout.latent[:, : truth.shape[1]], truth)
        rollout.known[:] = True
        return Video(np.concatenate(list(rollout.decoded())), timeline.fps)
