"""Layout of a dataset folder: `dataset.json` holds its settings, `clips/` holds media files and their records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitascope.errors import ConfigError
from vitascope.files import load_json, write_text

CRF = 12  # nearly lossless at the sizes of clips
MIN_SIDE, MAX_SIDE = 16, 2048


def parse_size(size: str) -> tuple[int, int]:
    """(width, height) from a text such as 80x48.

    Raises:
        ValueError: the text has another form, or a side is odd or out of range.
    """
    match = re.fullmatch(r"([0-9]{2,5})x([0-9]{2,5})", size)
    width, height = (int(side) for side in match.groups()) if match else (0, 0)
    if not MIN_SIDE <= min(width, height) <= max(width, height) <= MAX_SIDE or width % 2 or height % 2:
        raise ValueError(
            f"size {size!r} is not WIDTHxHEIGHT with even sides from {MIN_SIDE} to {MAX_SIDE}; write such as 80x48"
        )
    return width, height


def media_path(record: Path, num_frames: int) -> Path:
    """Media file of the record `ID.json`: a PNG for one frame, else an MP4."""
    return record.with_suffix(".png" if num_frames == 1 else ".mp4")


def claim(out: Path, wanted: Mapping[str, Any], may_grow: str | None = None) -> None:
    """Write the settings of a dataset folder, or check that the existing ones are equal.

    `may_grow` names a numeric setting that may differ; the larger value is written.

    Raises:
        ConfigError: the folder isn't a dataset's, or has other settings.
    """
    path, wanted = out / "dataset.json", dict(wanted)
    if path.exists():
        try:
            found = dict(load_json(path))
            if may_grow is not None:
                wanted[may_grow] = max(wanted[may_grow], int(found[may_grow]))
        except (OSError, ValueError, TypeError, LookupError):
            raise ConfigError(f"{path} is not a dataset's settings; choose another --out") from None
        differing = [key for key in wanted if key != may_grow and found.get(key) != wanted[key]]
        if differing:
            raise ConfigError(f"{out} was made with other settings ({', '.join(differing)}); choose another --out")
    (out / "clips").mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(wanted, indent=2) + "\n")
