"""Videos of any length, generated in overlapping windows no longer than the model's training clips.

Each window is conditioned on the end of the video so far, and on later given frames within its length. The latents form
one causal stream, decoded as it grows: windows have no seams, and memory doesn't depend on the duration. A tail clip is
a stream of its own; a correction removes the step between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vitascope.codec.streaming import (
    StreamingDecoder,
    decode_frames,
    encode_stream,
    latent_spans,
    to_frames,
)
from vitascope.generate.timeline import LatentGrid, TailClip, Timeline
from vitascope.model.canvas import Canvas, Shot, make_canvas

MIN_WINDOW = 3  # latent frames: one before, one to generate, one after


@dataclass(frozen=True)
class Window:
    """Latent frames of a timeline that are sampled together, known ones included."""

    start: int
    stop: int


def plan_windows(known: Sequence[bool], length: int) -> list[Window]:
    """Windows, in order, that generate every latent frame that isn't known.

    `length` is the number of latent frames in a window, at least MIN_WINDOW. Holes are filled from left to right. A
    hole at the beginning, with known frames after it, is filled from right to left.
    """
    known, total = list(known), len(known)
    overlap = max(1, min(max(2, length // 3), length - 2))
    windows: list[Window] = []
    while not all(known):
        first = known.index(False)
        end = known.index(True, first) if any(known[first:]) else total
        if total <= length:
            start = 0
        elif first == 0 and end < total:
            start = min(end + overlap, total) - length
        else:
            start = first - _num_before(first, end, total, length, overlap)
        start = max(0, min(start, total - length))
        window = Window(start, min(start + length, total))
        windows.append(window)
        for frame in range(window.start, window.stop):
            known[frame] = known[frame] or makes(window, frame)
    return windows


def makes(window: Window, frame: int) -> bool:
    """True if a window's result for a latent frame is used: a window's first latent frame holds a single image."""
    return frame == 0 or frame > window.start


def _num_before(first: int, end: int, total: int, length: int, overlap: int) -> int:
    """Known latent frames before a hole: half of the room if both ends of the hole fit, else the overlap."""
    room = length - (end - first)
    if end < total:
        behind = min(total - end, room // 2)
        return min(first, room - behind) if room >= 2 else min(first, overlap)
    return min(first, max(room, overlap))


class Rollout:
    """State of a timeline during generation: the known latent frames and the number decoded so far."""

    def __init__(self, timeline: Timeline, grid: LatentGrid, window_length: int, reference_fps: float):
        self.timeline, self.grid, self.reference_fps = timeline, grid, reference_fps
        self.window_length = max(window_length, MIN_WINDOW)
        self.latent, self.known = timeline.latent.clone(), timeline.given.clone()
        self._decoder = StreamingDecoder(grid.codec)
        self._num_decoded = 0
        self._last_frames: dict[int, Float[Tensor, "1 3 1 h w"]] = {}  # of latent frames, as pixels

    def windows(self) -> list[Window]:
        """The windows to sample, in order."""
        return plan_windows(self._whole, self.window_length)

    def canvas(self, window: Window) -> Canvas:
        """The canvas of a window: a video of its own, whose first latent frame holds a single image."""
        latent = self.latent[:, window.start : window.stop].clone()
        given = self.known[window.start : window.stop].clone()
        if window.start > 0 and given[0].all():
            (picture,) = encode_stream(self.grid.codec, [self._last_frames[window.start]])
            latent[:, :1] = picture[0].to(latent.device)
        return make_canvas(
            latent,
            given,
            self.timeline.references,
            fps=self.timeline.fps,
            reference_fps=self.reference_fps,
            patch=self.grid.patch,
            time_stride=self.grid.frames_per_cell,
            shots=[shot for shot, _ in self._shots_in(window)],
            generated_mask=given & ~self.timeline.given[window.start : window.stop],
        )

    def prompts(self, window: Window) -> list[str]:
        """Texts of the shots in a window."""
        return [prompt for _, prompt in self._shots_in(window)]

    def put(self, window: Window, made: Float[Tensor, "c t h w"]) -> None:
        """Store the latent that a window generated; known cells keep theirs."""
        made = made.to(self.latent.device)
        skipped = 0 if makes(window, window.start) else 1
        where = slice(window.start + skipped, window.stop)
        self.latent[:, where] = torch.where(self.known[where], self.latent[:, where], made[:, skipped:])
        self.known[where] = True

    def decoded(self) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
        """Frames decoded since the last call, up to the first latent frame that isn't known."""
        known, tail = [*self._whole, False].index(False), self.timeline.tail
        end = known if tail is None else min(known, tail.start)
        spans = latent_spans(self._num_decoded, end, *self.latent.shape[2:])
        chunks = self._decoder.decode_all(self.latent[None, :, start:stop] for start, stop in spans)
        for (start, stop), pixels in zip(spans, chunks, strict=True):
            self._num_decoded = stop
            if tail is not None and self._num_decoded == tail.start:  # the last chunk, so the decoder is idle
                pixels = self._blended_into(tail, pixels)
            yield from self._shown(pixels, first_latent=start)
            for old in [frame for frame in self._last_frames if frame < self._num_decoded - self.window_length]:
                del self._last_frames[old]
        if tail is not None and tail.start < known and self._num_decoded == tail.start:
            self._decoder = StreamingDecoder(self.grid.codec)  # the first stream has ended
            yield from self._decoded_tail(tail)
            self._num_decoded = known

    def _blended_into(self, tail: TailClip, pixels: Float[Tensor, "1 3 t h w"]) -> Float[Tensor, "1 3 t h w"]:
        """The last frames before the tail, corrected so that the change of streams makes no visible step.

        Both streams decode the tail's first frame. Their difference is spread evenly over the latent frame before it.
        """
        own = StreamingDecoder(self.grid.codec).decode(tail.latent[None, :, :1])
        continued = self._decoder.decode(self.latent[None, :, tail.start : tail.start + 1])[:, :, :1]
        num_steps = 1 + min(self.grid.frames_per_cell, pixels.shape[2])
        shares = torch.arange(1, num_steps, device=pixels.device).view(1, 1, -1, 1, 1) / num_steps
        corrected = pixels.clone()
        corrected[:, :, 1 - num_steps :] += shares * (own - continued)
        return corrected

    def _decoded_tail(self, tail: TailClip) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
        """The tail decoded as a video of its own; its last frame is repeated while frames are left to show."""
        timeline = self.timeline
        left = timeline.num_frames + len(timeline.hidden_frames) - self.grid.first_frame(tail.start)
        last = None
        if left == 0:  # a loop: the tail is a condition and isn't shown
            return
        for frames in decode_frames(self.grid.codec, tail.latent, timeline.height, timeline.width, left):
            left, last = left - len(frames), frames[-1:]
            yield frames
        if left and last is not None:
            yield np.repeat(last, left, axis=0)

    def _shots_in(self, window: Window) -> Iterator[tuple[Shot, str]]:
        """Shots that overlap a window, with starts relative to it, and their texts."""
        shots = self.timeline.shots
        stops = [*(shot.start for shot in shots[1:]), len(self._whole)]
        for shot, stop, prompt in zip(shots, stops, self.timeline.prompts, strict=True):
            if window.start < stop and shot.start < window.stop:
                begins_inside = shot.start > window.start
                start = shot.start - window.start if begins_inside else 0
                yield Shot(start, shot.is_cut and begins_inside), prompt

    @property
    def _whole(self) -> list[bool]:
        return self.known.flatten(1).all(dim=1).tolist()

    def _shown(self, pixels: Float[Tensor, "1 3 t h w"], first_latent: int) -> Iterator[UInt8[np.ndarray, "t h2 w2 3"]]:
        """Visible frames of a chunk. Keeps the frames at which later windows may begin."""
        timeline, stride = self.timeline, self.grid.frames_per_cell
        first_frame = self.grid.first_frame(first_latent)
        end = timeline.num_frames + len(timeline.hidden_frames)
        indices = range(first_frame, first_frame + pixels.shape[2])
        for offset, index in enumerate(indices):
            if index % stride == 0:
                self._last_frames[index // stride] = pixels[:, :, offset : offset + 1].clamp(-1, 1)
        keep = [index - first_frame for index in indices if index < end and index not in timeline.hidden_frames]
        if keep:
            yield to_frames(pixels[0][:, keep, : timeline.height, : timeline.width])
