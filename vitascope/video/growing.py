"""Partial videos: playable while they are written, and kept if the process is killed."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np

from vitascope.types import Number
from vitascope.video.clip import exact_fps
from vitascope.video.formats import GROWING, partial_path
from vitascope.video.writing import Encoder, errors_writing


class GrowingVideo:
    """Writer of the partial file of `path`: `with GrowingVideo(...) as partial: partial.write(frames)`.

    When `write` returns, all frames but the last are on disk as fragments of an MP4, so a killed process leaves a
    playable file. The end of the block removes it, because a live process keeps the frames elsewhere. It differs from
    `path` because fragmented files are larger and fewer programs can seek in them.

    Raises:
        MediaError: the folder is missing or the disk is full.
        SizeError: the rate is out of range.
    """

    def __init__(self, path: Path, fps: Number, height: int, width: int, crf: int = 18) -> None:
        self.path = partial_path(path)
        self._settings = (GROWING, exact_fps(fps), (height, width), crf)

    def __enter__(self) -> GrowingVideo:
        with errors_writing(self.path):
            self._encoder = Encoder(self.path, *self._settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file and remove it."""
        self._encoder.close_quietly()
        self.path.unlink(missing_ok=True)

    def write(self, frames: np.ndarray) -> None:
        """Append uint8 frames [t, h, w, 3]."""
        with errors_writing(self.path):
            for rgb in frames:
                self._encoder.encode(rgb)
