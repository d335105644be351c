"""An oracle pipeline: ground-truth latents replace the model, which isolates errors of conditioning and codec."""

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

DEFAULT_SAMPLING = Sampling()


class OraclePipeline(Pipeline):
    """A pipeline whose model is replaced by the latents of ground-truth clips, looked up by prompt.

    Valid for requests whose result is a clip from its first frame on, or the beginning of one; see
    `vitascope.evaluate.conditioning.ORACLE_CASES`.
    """

    def __init__(self, pipeline: Pipeline, clips: Mapping[str, Video]):
        super().__init__(pipeline.codec, pipeline.transformer, pipeline.text_encoder, pipeline.config)
        self.clips = clips

    @torch.inference_mode()
    def stream(
        self, timeline: Timeline, sampling: Sampling = DEFAULT_SAMPLING, on_progress: OnStep | None = None
    ) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
        """Frames of a timeline from the ground truth, encoded and decoded.

        Raises:
            KeyError: no clip has the timeline's prompt.
        """
        clip, hidden = self.clips[timeline.prompts[0]], timeline.hidden_frames
        assert timeline.num_frames <= clip.num_frames
        frames = clip.frames[: timeline.num_frames]
        repeated = np.repeat(frames[hidden.start : hidden.start + 1], len(hidden), axis=0)
        stream = np.concatenate([frames[: hidden.start], repeated, frames[hidden.start :]])
        rollout = self.rollout(timeline)
        truth = self.grid.encode(Video(stream, clip.fps))[:, : rollout.latent.shape[1]]
        rollout.put(Window(0, truth.shape[1]), truth)
        yield from rollout.decoded()
