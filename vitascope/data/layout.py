"""What a dataset's folder looks like: `dataset.json` says how it was made, `clips/` holds media and their records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitascope.errors import ConfigError
from vitascope.files import write_text

CRF = 12  # close to lossless at the sizes of clips
MIN_SIDE, MAX_SIDE = 16, 2048


def parse_size(size: str) -> tuple[int, int]:
    """(width, height) of a clip's size, such as 80x48.

    Raises:
        ValueError: another form, or a side that is odd or out of range.
    """
    match = re.fullmatch(r"([0-9]{2,5})x([0-9]{2,5})", size)
    width, height = (int(side) for side in match.groups()) if match else (0, 0)
    if not MIN_SIDE <= min(width, height) <= max(width, height) <= MAX_SIDE or width % 2 or height % 2:
        raise ValueError(f"size {size!r}: write WIDTHxHEIGHT, both even and {MIN_SIDE} to {MAX_SIDE}")
    return width, height


def media_path(record: Path, num_frames: int) -> Path:
    """The media file that a record, `ID.json`, is about: an image if it has one frame."""
    return record.with_suffix(".png" if num_frames == 1 else ".mp4")


def claim(out: Path, wanted: Mapping[str, Any], may_grow: str | None = None) -> None:
    """Write a folder's dataset.json, or check that the one there says the same.

    `may_grow` names a number that may differ; the larger one is kept.

    Raises:
        ConfigError: the folder is another's, or was made with other settings.
    """
    path, wanted = out / "dataset.json", dict(wanted)
    if path.exists():
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
            if may_grow is not None:
                wanted[may_grow] = max(wanted[may_grow], int(found[may_grow]))
        except (ValueError, TypeError, KeyError):
            raise ConfigError(f"{path} is not a dataset's; choose another --out") from None
        differing = [key for key in wanted if key != may_grow and found.get(key) != wanted[key]]
        if differing:
            raise ConfigError(f"{out} was made with other settings ({', '.join(differing)}); choose another --out")
    (out / "clips").mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(wanted, indent=2) + "\n")
