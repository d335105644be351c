"""A folder of clips with captions, as `vitascope render` writes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitascope.errors import DatasetError
from vitascope.video import Video, read_video


@dataclass(frozen=True)
class Clip:
    """One clip on disk: its media file, its shape and its captions by language."""

    id: str
    path: Path
    num_frames: int
    height: int
    width: int
    fps: float
    captions: dict[str, list[str]]

    def read(self) -> Video:
        """The clip's frames."""
        return read_video(self.path)

    def some_captions(self, per_language: int) -> list[str]:
        """The first captions of each language, in a fixed order; clips differ in which phrasings come first."""
        return [text for language in sorted(self.captions) for text in self.captions[language][:per_language]]


def list_clips(folder: str | Path) -> list[Clip]:
    """Every complete clip of a dataset folder, by id.

    Raises:
        DatasetError: no such folder, or no clips in it, or a record that can't be read.
    """
    records = sorted((Path(folder) / "clips").glob("[!.]*.json"))  # hidden ones are being written
    if not records:
        raise DatasetError(f"no clips in {folder}: make some with `vitascope render --clips 1000 --out {folder}`")
    return [_read_record(path) for path in records]


def split_validation(clips: Sequence[Clip], num_validation: int) -> tuple[list[Clip], list[Clip]]:
    """(training, validation): the last clips are kept for validation.

    Raises:
        DatasetError: no clips would be left for training.
    """
    if num_validation >= len(clips):
        raise DatasetError(f"{len(clips)} clips are too few for {num_validation} validation clips; render more")
    cut = len(clips) - num_validation
    return list(clips[:cut]), list(clips[cut:])


def _read_record(path: Path) -> Clip:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        media = path.with_suffix(".png" if record["num_frames"] == 1 else ".mp4")
        shape = {key: record[key] for key in ("num_frames", "height", "width", "fps")}
        return Clip(id=record["id"], path=media, captions=record["captions"], **shape)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a clip record: {type(error).__name__} {error}") from None
