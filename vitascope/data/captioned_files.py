"""Captioned media files in a folder.

Captions come from a file of the same name or from tables. `clip.txt` has one caption per line, `clip.json` one of
`CAPTION_KEYS`. The tables `metadata.csv` and `metadata.jsonl` have `file_name` and one of `CAPTION_KEYS`, as in Hugging
Face's video folders.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitascope.errors import DatasetError
from vitascope.files import parse_json
from vitascope.video.formats import MOVING, STILL

MEDIA = {*MOVING, *STILL, ".mpg", ".mpeg", ".bmp", ".tif", ".tiff"}  # the last five are read, never written
CAPTION_KEYS = ("caption", "captions", "text", "prompt")
Captions = dict[str, list[str]]


@dataclass(frozen=True)
class CaptionedFile:
    """A media file and its captions by language; `name` identifies it within its source."""

    name: str
    path: Path
    captions: Captions


@dataclass
class FoundFiles:
    """Captioned files in order of their names, and the rejected files counted by reason."""

    files: list[CaptionedFile] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)


def find_captioned_files(folder: Path) -> FoundFiles:
    """All captioned media files below a folder, except hidden ones; nothing is decoded.

    Raises:
        DatasetError: the folder is missing or has no media file.
    """
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}; give an existing one")
    paths = sorted(path for path in folder.rglob("*") if _is_media(path, folder))
    if not paths:
        raise DatasetError(f"no video or image in {folder}; the kinds are {' '.join(sorted(MEDIA))}")
    found = FoundFiles()
    captions = _table_captions(folder, found.problems)
    for path in paths:
        texts = captions.get(path, []) + _sidecar_captions(path, found.problems)
        if texts:
            found.files.append(CaptionedFile(path.relative_to(folder).as_posix(), path, by_language(texts)))
        else:
            found.problems["no caption"] += 1
    return found


def _is_media(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in MEDIA and path.is_file()


def by_language(texts: list[str]) -> Captions:
    """Distinct captions by language: Chinese if the text has a Han character, else English."""
    captions: Captions = defaultdict(list)
    for text in dict.fromkeys(texts):
        captions["zh" if re.search(r"[\u3400-\u9fff]", text) else "en"].append(text)
    return dict(captions)


def _sidecar_captions(path: Path, problems: Counter[str]) -> list[str]:
    texts: list[str] = []
    for suffix, read in ((".txt", str.splitlines), (".json", lambda text: _captions_of(parse_json(text)))):
        try:
            texts += _clean(read(path.with_suffix(suffix).read_text(encoding="utf-8-sig")))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            problems[f"unreadable {suffix} caption file"] += 1
    return texts


def _table_captions(folder: Path, problems: Counter[str]) -> dict[Path, list[str]]:
    """Captions from the folder's tables, by media file."""
    captions: dict[Path, list[str]] = defaultdict(list)
    for table in sorted((*folder.rglob("metadata.csv"), *folder.rglob("metadata.jsonl"))):
        try:
            rows = list(_rows(table))
        except (OSError, UnicodeDecodeError, csv.Error):
            problems[f"unreadable {table.name}"] += 1
            continue
        for row in rows:
            path = _named_file(row, table, folder)
            if path is None:
                problems[f"row of {table.name} without a file in the folder"] += 1
            else:
                captions[path] += _clean(_captions_of(row))
    return captions


def _rows(table: Path) -> Iterator[Any]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        if table.suffix == ".csv":
            yield from csv.DictReader(file)
        else:
            yield from (_parsed(line) for line in file if line.strip())


def _parsed(line: str) -> Any:
    """The JSON value of a line, or None if it is invalid."""
    try:
        return parse_json(line)
    except ValueError:
        return None


def _named_file(row: Any, table: Path, folder: Path) -> Path | None:
    """The file that a row names, or None; names that lead out of the folder are rejected."""
    name = row.get("file_name") if isinstance(row, dict) else None
    if not isinstance(name, str):
        return None
    try:
        path = table.parent / name
        inside = path.resolve().is_relative_to(folder.resolve())
        return path if inside and path.is_file() and ".." not in Path(name).parts else None
    except (OSError, ValueError):
        return None


def _captions_of(record: Any) -> list[str]:
    """Texts under a record's caption keys; each holds a string, a list of strings, or either by language."""
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return [text for key in CAPTION_KEYS for text in _texts(record.get(key))]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []


def _clean(texts: list[str]) -> list[str]:
    return [" ".join(text.split()) for text in texts if text.strip()]
