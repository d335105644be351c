"""Timelines: the latent frames of a video, a mask of those given, and which of the decoded frames are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitascope.codec.streaming import encode_video, latent_shape
from vitascope.codec.video_codec import VideoCodec
from vitascope.errors import SizeError
from vitascope.generate.footage import pad_to
from vitascope.kernels.device import CPU
from vitascope.model.canvas import Pin, Shot
from vitascope.model.patches import Patch
from vitascope.video import SoundPart, Video


@dataclass(frozen=True)
class TailClip:
    """Given footage at the end, decoded as a separate video, so that it comes back at the codec's own quality.

    It begins at latent frame `start` of the timeline. Its last frame is repeated while there are frames to show. In a
    loop it isn't shown: it conditions the frames before it.
    """

    start: int
    latent: Float[Tensor, "c t h w"]


@dataclass(frozen=True)
class Timeline:
    """All latent frames of a video of any length, including the part of a tail that windows can see.

    `latent` holds data where `given` is true. Elsewhere it is read only if `strength` is below 1: sampling then starts
    from it, noised to that level. Tensors are on the CPU, also if the model is not.
    """

    prompts: tuple[str, ...]  # one per shot
    latent: Float[Tensor, "c t h w"]
    given: Bool[Tensor, "t h w"]
    height: int  # pixels, as are the next
    width: int
    fps: float
    num_frames: int  # shown
    hidden_frames: range = range(0)  # decoded frames that are not shown
    references: tuple[Pin, ...] = ()
    strength: float = 1.0
    shots: tuple[Shot, ...] = (Shot(),)
    tail: TailClip | None = None
    sound: tuple[SoundPart, ...] = ()  # of given footage, at its place in the result

    def __post_init__(self) -> None:
        """Refuse a timeline with nothing to generate."""
        if self.given.all():
            raise SizeError("every frame is given, so there is nothing to generate; ask for more frames")


@dataclass(frozen=True)
class LatentGrid:
    """Relation of pixels to latent cells, for a codec and a patch size."""

    codec: VideoCodec
    patch: Patch

    @property
    def frames_per_cell(self) -> int:
        """Pixel frames of a latent frame; the first latent frame holds one."""
        return self.codec.stride.time

    def shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """(latent frames, rows, columns) that cover a video of this size and that the patch divides."""
        frames, rows, columns = latent_shape(self.codec, num_frames, height, width)
        _, patch_rows, patch_columns = self.patch
        return frames, -(-rows // patch_rows) * patch_rows, -(-columns // patch_columns) * patch_columns

    def first_frame(self, cell: int) -> int:
        """The index of the first pixel frame of a latent frame."""
        return max(0, 1 + (cell - 1) * self.frames_per_cell)

    def num_given_first(self, timeline: Timeline) -> int:
        """Number of frames shown before the first one that is generated, or generated in part."""
        whole = timeline.given.flatten(1).all(dim=1).tolist()
        decoded = range(self.first_frame(whole.index(False)))
        return len(decoded) - len(decoded[timeline.hidden_frames.start : timeline.hidden_frames.stop])

    def encode(self, video: Video) -> Float[Tensor, "c t h w"]:
        """The latent of a video that begins at the timeline's start, on the CPU."""
        _, rows, columns = self.shape(1, video.height, video.width)
        stride = self.codec.stride
        return encode_video(self.codec, pad_to(video, rows * stride.rows, columns * stride.columns)).to(CPU)

    def encode_after(self, video: Video) -> Float[Tensor, "c t2 h w"]:
        """The latent of a video that other frames precede; its first latent frame is a full one, too.

        The codec is causal, so this latent depends on the frames before, which don't exist yet: the video's first frame
        stands in for them. docs/decisions/0010-condition-frames-after-a-gap.md states the cost.
        """
        before = video.frames[:1]
        return self.encode(Video(np.concatenate([before, video.frames]), video.fps))[:, 1:]

    def lay(
        self, shape: tuple[int, int, int], pieces: Sequence[tuple[int, Float[Tensor, "c _t h w"]]]
    ) -> tuple[Float[Tensor, "c t h w"], Bool[Tensor, "t h w"]]:
        """(latent, given mask) of this shape, with each piece placed at its latent frame."""
        latent = torch.zeros(self.codec.latent_channels, *shape)
        given = torch.zeros(shape, dtype=torch.bool)
        for start, piece in pieces:
            stop = min(shape[0], start + piece.shape[1])
            latent[:, start:stop] = piece[:, : stop - start]
            given[start:stop] = True
        return latent, given
