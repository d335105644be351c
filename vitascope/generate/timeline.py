"""A video to be made: its latent frames, what of them is given, and which of the decoded frames are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.codec.streaming import encode_video, latent_shape
from vitascope.errors import SizeError
from vitascope.generate.footage import pad_to
from vitascope.model.canvas import Pin, Shot
from vitascope.model.patches import Patch
from vitascope.video import Video


@dataclass(frozen=True)
class Ending:
    """What is given last: decoded as the video of its own that it is, it comes back as the codec alone returns it.

    On the timeline it stands from latent frame `start` on, as far as a window may see of it, and its last frame for as
    long as there are frames to show. There are none in a loop: its first frame is only led to.
    """

    start: int
    latent: Float[Tensor, "c t h w"]


@dataclass(frozen=True)
class Timeline:
    """Latent frames from the first to the last, however many a model makes at once; of an ending those that matter.

    `latent` holds the data where `given` is true. Elsewhere it is looked at only if `strength` is below 1: what is made
    then begins there, with that much noise on it.
    """

    prompts: tuple[str, ...]  # of each shot
    latent: Float[Tensor, "c t h w"]
    given: Bool[Tensor, "t h w"]
    height: int  # pixels, as are the next
    width: int
    fps: float
    num_frames: int  # shown
    dropped: range = range(0)  # decoded frames that are not shown
    references: tuple[Pin, ...] = ()
    strength: float = 1.0
    shots: tuple[Shot, ...] = (Shot(),)
    ending: Ending | None = None

    def __post_init__(self) -> None:
        """Refuse a timeline on which nothing is to be made."""
        if self.given.all():
            raise SizeError("every frame is given, so there is nothing to make; ask for more frames")


@dataclass(frozen=True)
class Lattice:
    """How pixels become latent cells that the transformer's patch divides."""

    codec: Codec
    patch: Patch

    @property
    def frames_per_cell(self) -> int:
        """Pixel frames of each latent frame but the first, which is one frame's."""
        return self.codec.stride.time

    def shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Latent frames, rows and columns that cover a video of this size."""
        frames, rows, columns = latent_shape(self.codec, num_frames, height, width)
        _, patch_rows, patch_columns = self.patch
        return frames, -(-rows // patch_rows) * patch_rows, -(-columns // patch_columns) * patch_columns

    def first_frame(self, cell: int) -> int:
        """The number of the first frame of a latent frame."""
        return max(0, 1 + (cell - 1) * self.frames_per_cell)

    def num_given_first(self, timeline: Timeline) -> int:
        """Frames shown before the first one that is made, or made in part."""
        whole = timeline.given.flatten(1).all(dim=1).tolist()
        decoded = range(self.first_frame(whole.index(False)))
        return len(decoded) - len(decoded[timeline.dropped.start : timeline.dropped.stop])

    def encode(self, video: Video) -> Float[Tensor, "c t h w"]:
        """The latent of a video that begins where the timeline begins."""
        _, rows, columns = self.shape(1, video.height, video.width)
        stride = self.codec.stride
        return encode_video(self.codec, pad_to(video, rows * stride.rows, columns * stride.columns))

    def encode_after(self, video: Video) -> Float[Tensor, "c t2 h w"]:
        """The latent of a video before which others stand: four frames each, the first one too.

        The codec is causal, so the code of these frames depends on what precedes them, which isn't made yet: their
        first frame stands in for it. docs/decisions/0010-condition-frames-after-a-gap.md has what that costs.
        """
        before = video.frames[:1]
        return self.encode(Video(np.concatenate([before, video.frames]), video.fps))[:, 1:]

    def lay(
        self, shape: tuple[int, int, int], pieces: Sequence[tuple[int, Float[Tensor, "c _t h w"]]]
    ) -> tuple[Float[Tensor, "c t h w"], Bool[Tensor, "t h w"]]:
        """(latent, given) of a timeline of this shape that has pieces, each from its latent frame on."""
        latent = torch.zeros(self.codec.latent_channels, *shape)
        given = torch.zeros(shape, dtype=torch.bool)
        for start, piece in pieces:
            stop = min(shape[0], start + piece.shape[1])
            latent[:, start:stop] = piece[:, : stop - start]
            given[start:stop] = True
        return latent, given
