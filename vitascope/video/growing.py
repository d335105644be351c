"""A video that plays while it is still being written, and stays if its writer is killed."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np

from vitascope.types import Number
from vitascope.video.clip import exact_fps
from vitascope.video.formats import GROWING, partial_path
from vitascope.video.writing import Encoder, errors_writing


class GrowingVideo:
    """What there is of a file at `path`, at its `partial_path`: `with GrowingVideo(...) as g: g.write(frames)`.

    All frames but the last are on disk as fragments of an mp4 when `write` returns, so that a kill leaves a file that
    plays. When the block ends, however it does, the file goes: whoever is still alive keeps the frames otherwise.
    It is not `path` itself because fragments make a larger file, which fewer programs can seek in.

    Raises:
        MediaError: no such folder, or a full disk.
        SizeError: a rate that no file has.
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
