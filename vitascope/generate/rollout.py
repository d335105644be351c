"""Timelines of any length, made window by window: what a model makes at once is no longer than what it was trained on.

Each window sees the end of what exists, and what is given behind it where that is in reach. The latents are one causal
stream, which is decoded as it grows: windows have no seams, and memory doesn't depend on the duration. What is given
last is a stream of its own, to which the frames before it lead without a step.
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
from vitascope.generate.timeline import Ending, Lattice, Timeline
from vitascope.model.canvas import Canvas, Shot, make_canvas

MIN_WINDOW = 3  # latent frames: something before, something to make, something behind


@dataclass(frozen=True)
class Window:
    """Latent frames of a timeline that are made together, those that are known among them."""

    start: int
    stop: int


def plan_windows(known: Sequence[bool], length: int) -> list[Window]:
    """The windows, in order, that make every latent frame of a timeline that isn't known.

    `length` is how many latent frames a window has, at least MIN_WINDOW. Holes are made from left to right, but one
    that is open to the left alone, before what it has to lead to, from right to left.
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
    """Whether a window's result for a latent frame can stand: its first is an image's, as only a video's first is."""
    return frame == 0 or frame > window.start


def _num_before(first: int, end: int, total: int, length: int, overlap: int) -> int:
    """Known latent frames to show before a hole: half of what room there is if both its ends fit, else the overlap."""
    room = length - (end - first)
    if end < total:
        behind = min(total - end, room // 2)
        return min(first, room - behind) if room >= 2 else min(first, overlap)
    return min(first, max(room, overlap))


class Rollout:
    """A timeline while it is made: what is known so far, and how much of it is decoded."""

    def __init__(self, timeline: Timeline, lattice: Lattice, window_length: int, reference_fps: float):
        self.timeline, self.lattice, self.reference_fps = timeline, lattice, reference_fps
        self.window_length = max(window_length, MIN_WINDOW)
        self.latent, self.known = timeline.latent.clone(), timeline.given.clone()
        self._decoder = StreamingDecoder(lattice.codec)
        self._num_decoded = 0
        self._last_frames: dict[int, Float[Tensor, "1 3 1 h w"]] = {}  # of latent frames, as pixels

    def windows(self) -> list[Window]:
        """What is to be made, in order."""
        return plan_windows(self._whole, self.window_length)

    def canvas(self, window: Window) -> Canvas:
        """What a window looks like to the transformer: a video of its own, whose first latent frame is an image's."""
        latent = self.latent[:, window.start : window.stop].clone()
        given = self.known[window.start : window.stop].clone()
        if window.start > 0 and given[0].all():
            (picture,) = encode_stream(self.lattice.codec, [self._last_frames[window.start]])
            latent[:, :1] = picture[0]
        return make_canvas(
            latent,
            given,
            self.timeline.references,
            fps=self.timeline.fps,
            reference_fps=self.reference_fps,
            patch=self.lattice.patch,
            time_stride=self.lattice.frames_per_cell,
            shots=[shot for shot, _ in self._shots_in(window)],
            history=given & ~self.timeline.given[window.start : window.stop],
        )

    def prompts(self, window: Window) -> list[str]:
        """The texts of a window's shots."""
        return [prompt for _, prompt in self._shots_in(window)]

    def put(self, window: Window, made: Float[Tensor, "c t h w"]) -> None:
        """Take over what a window made; what was known stays as it is."""
        skipped = 0 if makes(window, window.start) else 1
        where = slice(window.start + skipped, window.stop)
        self.latent[:, where] = torch.where(self.known[where], self.latent[:, where], made[:, skipped:])
        self.known[where] = True

    def decoded(self) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
        """The frames that are new since the last call: up to the first latent frame that isn't known."""
        known, ending = [*self._whole, False].index(False), self.timeline.ending
        end = known if ending is None else min(known, ending.start)
        spans = latent_spans(self._num_decoded, end, *self.latent.shape[2:])
        chunks = self._decoder.decode_all(self.latent[None, :, start:stop] for start, stop in spans)
        for (start, stop), pixels in zip(spans, chunks, strict=True):
            self._num_decoded = stop
            if ending is not None and self._num_decoded == ending.start:  # the last chunk: the decoder is free again
                pixels = self._leading_to(ending, pixels)
            yield from self._shown(pixels, first_latent=start)
            for old in [frame for frame in self._last_frames if frame < self._num_decoded - self.window_length]:
                del self._last_frames[old]
        if ending is not None and ending.start < known and self._num_decoded == ending.start:
            self._decoder = StreamingDecoder(self.lattice.codec)  # the other stream has come to its end
            yield from self._decoded_ending(ending)
            self._num_decoded = known

    def _leading_to(self, ending: Ending, pixels: Float[Tensor, "1 3 t h w"]) -> Float[Tensor, "1 3 t h w"]:
        """The last frames before what is given last, without the step that the change of streams would make.

        Both streams can decode the first given frame. What they differ by is spread over the latent frame before it, so
        that each step bears an equal part.
        """
        own = StreamingDecoder(self.lattice.codec).decode(ending.latent[None, :, :1])
        going_on = self._decoder.decode(self.latent[None, :, ending.start : ending.start + 1])[:, :, :1]
        num_steps = 1 + min(self.lattice.frames_per_cell, pixels.shape[2])
        shares = torch.arange(1, num_steps, device=pixels.device).view(1, 1, -1, 1, 1) / num_steps
        corrected = pixels.clone()
        corrected[:, :, 1 - num_steps :] += shares * (own - going_on)
        return corrected

    def _decoded_ending(self, ending: Ending) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
        """What is given last, as a video of its own; its last frame is held for what is left to show."""
        timeline = self.timeline
        left = timeline.num_frames + len(timeline.dropped) - self.lattice.first_frame(ending.start)
        last = None
        if left == 0:  # it is led to, and not shown
            return
        for frames in decode_frames(self.lattice.codec, ending.latent, timeline.height, timeline.width, left):
            left, last = left - len(frames), frames[-1:]
            yield frames
        if left and last is not None:
            yield np.repeat(last, left, axis=0)

    def _shots_in(self, window: Window) -> Iterator[tuple[Shot, str]]:
        """The shots that a window shows any of, as they lie in it, and their texts."""
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
        """The frames of a chunk that are shown. Remembers where windows may begin."""
        timeline, stride = self.timeline, self.lattice.frames_per_cell
        first_frame = self.lattice.first_frame(first_latent)
        end = timeline.num_frames + len(timeline.dropped)
        indices = range(first_frame, first_frame + pixels.shape[2])
        for offset, index in enumerate(indices):
            if index % stride == 0:
                self._last_frames[index // stride] = pixels[:, :, offset : offset + 1].clamp(-1, 1)
        keep = [index - first_frame for index in indices if index < end and index not in timeline.dropped]
        if keep:
            yield to_frames(pixels[0][:, keep, : timeline.height, : timeline.width])
