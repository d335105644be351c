"""A pipeline whose model knows what it is to make: what is left is the ability's own doing, and the codec's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import UInt8

from vitascope.generate.pipeline import Pipeline
from vitascope.generate.requests import Sampling
from vitascope.generate.rollout import Window
from vitascope.generate.sampler import OnStep
from vitascope.generate.timeline import Timeline
from vitascope.video import Video


class KnowingPipeline(Pipeline):
    """A pipeline that puts the latent frames of a clip, known by its prompt, where a model would put its own.

    It is right where what is asked for is a clip from its first frame on, or the beginning of one
    (`vitascope.evaluate.abilities.KNOWN`).
    """

    def __init__(self, pipeline: Pipeline, clips: Mapping[str, Video]):
        super().__init__(pipeline.codec, pipeline.transformer, pipeline.text_encoder, pipeline.config)
        self.clips = clips

    @torch.inference_mode()
    def stream(
        self, timeline: Timeline, sampling: Sampling | None = None, on_progress: OnStep | None = None
    ) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
        """The frames of a timeline as the truth has them, but through the codec.

        Raises:
            KeyError: no clip has the timeline's prompt.
        """
        clip, dropped = self.clips[timeline.prompts[0]], timeline.hidden_frames
        assert timeline.num_frames <= clip.num_frames
        frames = clip.frames[: timeline.num_frames]
        repeated = np.repeat(frames[dropped.start : dropped.start + 1], len(dropped), axis=0)
        stream = np.concatenate([frames[: dropped.start], repeated, frames[dropped.start :]])
        rollout = self.rollout(timeline)
        truth = self.grid.encode(Video(stream, clip.fps))[:, : rollout.latent.shape[1]]
        rollout.put(Window(0, truth.shape[1]), truth)
        yield from rollout.decoded()
