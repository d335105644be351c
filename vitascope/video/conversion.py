"""Conversion of decoded frames into RGB pictures of one size, handed on as they are made."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from vitascope.video.clip import check_clip, check_size
from vitascope.video.pixels import BandConverter, colour_note, displayed_size, orientation, over_white

# Takes a description of an array, such as its place in the result, and the array
Emit = Callable[[list[Any], np.ndarray | None], None]


class Conversion:
    """Conversion of the frames of a file; `emit` takes the results in order, and `notes` describe what changed.

    All frames have the first one's displayed size, or a given (height, width) `size`. `alpha` is the opacity of an
    image that stores it as a second, grey one. `emit` gets ["start", height, width, expected number], then for each
    frame ["frame"] and ["block", top, left, rows, columns] with uint8 RGB pixels, or ["repeat"] for the previous frame
    again. A second start voids what came before.

    Raises:
        SizeError: also from `add`: the result exceeds the limits, or a frame is below 16x16 or above 64 Mpx.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None, emit: Emit) -> None:
        self.notes: list[str] = []
        self.num_frames = 0
        self.alpha: av.VideoFrame | None = None
        self._path, self._asked, self._emit = path, size, emit
        self._converter = BandConverter()
        self._size = (0, 0)
        self._last: av.VideoFrame | None = None
        self._alpha: np.ndarray | None = None

    @property
    def is_large(self) -> bool:
        """True if garbage of the result's frames is worth collecting."""
        return self._size[0] * self._size[1] > 512 * 512

    def start(self, stored: tuple[int, int], aspect: Fraction, expected: int) -> None:
        """Begin, or begin again; `expected` frames of the `stored` size are checked."""
        self.notes.clear()
        self.num_frames, self._last = 0, None
        self._aspect, self._expected = aspect, expected
        height, width = self._asked or stored
        check_clip(self._path, expected, height * width * 3)

    def add(self, frame: av.VideoFrame) -> None:
        """Convert a frame; the previous frame again is only mentioned."""
        if not self.num_frames:
            self._begin(frame)
        height, width = self._size
        check_clip(self._path, self.num_frames + 1, height * width * 3)
        if frame is self._last:
            self._emit(["repeat"], None)
        else:
            check_size(frame.height, frame.width, what=str(self._path))
            if frame.rotation != self._rotation:
                self._rotation, self._orientation = frame.rotation, orientation(frame)
            self._emit(["frame"], None)
            for top, left, rgb in self._converter.blocks(frame, self._size, self._orientation):
                if self.alpha is not None:
                    rgb = over_white(rgb, self._opacity()[top : top + rgb.shape[0], left : left + rgb.shape[1]])
                self._emit(["block", top, left, *rgb.shape[:2]], rgb)
        self.num_frames, self._last = self.num_frames + 1, frame

    def _opacity(self) -> np.ndarray:
        """The alpha frame in the size of the result, uint8 [h, w, 1]; kept for the next block."""
        if self._alpha is None and self.alpha is not None:
            self._alpha = np.empty((*self._size, 1), np.uint8)
            for top, left, grey in self._converter.blocks(self.alpha, self._size, self._orientation):
                self._alpha[top : top + grey.shape[0], left : left + grey.shape[1]] = grey[..., :1]
        assert self._alpha is not None
        return self._alpha

    def _begin(self, frame: av.VideoFrame) -> None:
        check_size(frame.height, frame.width, what=str(self._path))
        # only here, because PyAV's side data refer to their frame and would keep it in memory
        self._rotation, self._orientation = frame.rotation, orientation(frame)
        self._size = self._asked or displayed_size(frame, self._aspect, self._orientation)
        check_size(*self._size, what=str(self._path))
        if note := colour_note(frame):
            self.notes.insert(0, note)
        self._emit(["start", *self._size, self._expected], None)

    def finish(self) -> None:
        """Release the last frame."""
        self._last = None
