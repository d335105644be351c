"""Media files in a folder, with their captions.

Captions come from a file of the same name or from tables. `clip.txt` has one caption per line, `clip.json` one of
`CAPTION_KEYS`. The tables `metadata.csv` and `metadata.jsonl` have `file_name` and one of `CAPTION_KEYS`, as in Hugging
Face's video folders. Every other file may be a picture or video whatever its suffix: its content decides later.
"""

from __future__ import annotations

import csv
import errno
import os
import re
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from vitascope.errors import DatasetError
from vitascope.files import load_json, parse_json, read_small

CAPTION_KEYS = ("caption", "captions", "text", "prompt")
TABLES = ("metadata.csv", "metadata.jsonl")
MAX_TEXT_BYTES = 1 << 20  # of a .txt file
MAX_FILES = 10_000_000  # linked folders may contain one another in endless variety
Captions = dict[str, list[str]]


@dataclass(frozen=True)
class CaptionedFile:
    """A media file and its captions by language, which may be none; `name` identifies it within its source."""

    name: str
    path: Path
    captions: Captions


@dataclass
class FoundFiles:
    """Media files in order of their names; everything left out, counted by reason."""

    files: list[CaptionedFile] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)


class _Names:
    """Files by name. Names that differ in their Unicode form or case are equal if nothing matches exactly.

    macOS stores decomposed letters (NFD), most tables hold composed ones (NFC).
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.exact, self.composed, self.folded = (defaultdict[str, list[str]](list) for _ in range(3))
        for name in names:
            self.exact[name].append(name)
            self.composed[_composed(name)].append(name)
            self.folded[_composed(name).casefold()].append(name)

    def find(self, name: str) -> list[str]:
        """Files of this name."""
        composed = _composed(name)
        return self.exact.get(name) or self.composed.get(composed) or self.folded.get(composed.casefold(), [])


def find_captioned_files(folder: Path) -> FoundFiles:
    """All files below a folder that may be media, with captions; nothing is decoded and hidden files are left out.

    Links are followed. A file that several names lead to is listed once, with the captions of all names.

    Raises:
        DatasetError: the folder is missing or has no file that may be media.
    """
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}; give an existing one")
    found = FoundFiles()
    paths = dict(sorted(_walk(folder, found.problems)))
    tables = [name for name in paths if PurePosixPath(name).name.casefold() in TABLES]
    sidecars = _sidecars([name for name in paths if name not in tables])
    texts: dict[str, list[str]] = {name: [] for name in paths if name not in tables and name not in sidecars}
    if not texts:
        raise DatasetError(f"no video or image in {folder}; give a folder that contains some")
    names = _Names(texts)
    for table in tables:
        for name, captions in _table_captions(paths[table], table, names, found.problems):
            texts[name] += captions
    for sidecar, owners in sidecars.items():
        captions = _sidecar_captions(paths[sidecar], found.problems)
        for name in owners:
            texts[name] += captions
    found.files = list(_distinct(paths, texts, found.problems))
    return found


def by_language(texts: list[str]) -> Captions:
    """Distinct captions by language: Chinese if the text has a Han character, else English."""
    captions: Captions = defaultdict(list)
    for text in dict.fromkeys(texts):
        captions["zh" if re.search(r"[\u3400-\u9fff]", text) else "en"].append(text)
    return dict(captions)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _walk(folder: Path, problems: Counter[str]) -> Iterator[tuple[str, Path]]:
    """(name, path) of every regular file below a folder, except hidden ones; names are relative, with slashes."""
    pending = [("", folder, frozenset({_identity(folder.stat())}))]
    num_files = 0
    while pending:
        prefix, inside, above = pending.pop()
        try:
            children = sorted(child for child in os.listdir(inside) if not child.startswith("."))
        except OSError:
            problems["unreadable folder"] += 1
            continue
        for child in children:
            path = inside / child
            try:
                status = path.stat()
            except OSError as error:
                problems[_broken_link(path, error)] += 1
                continue
            num_files += 1
            if num_files > MAX_FILES:
                raise DatasetError(f"{folder} has more than {MAX_FILES:,} files; do its links lead back into it?")
            if stat.S_ISDIR(status.st_mode):
                if _identity(status) in above:
                    problems["link to a folder that contains it"] += 1
                else:
                    pending.append((f"{prefix}{child}/", path, above | {_identity(status)}))
            elif stat.S_ISREG(status.st_mode):
                yield f"{prefix}{child}", path
            else:
                problems["not a regular file"] += 1


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _broken_link(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "link that leads to itself"
    return "link to nowhere" if path.is_symlink() else "unreadable file"


def _distinct(paths: dict[str, Path], texts: dict[str, list[str]], problems: Counter[str]) -> Iterator[CaptionedFile]:
    """One entry per file on disk. Of several names, the first one with captions is taken."""
    same: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name in texts:
        same[_identity(paths[name].stat())].append(name)
    for names in sorted(same.values(), key=lambda names: _chosen(names, texts)):
        name = _chosen(names, texts)
        captions = [text for each in names for text in texts[each]]
        if len(names) > 1:
            problems["second name of the same file"] += len(names) - 1
        yield CaptionedFile(_printable(name), paths[name], by_language(captions))


def _chosen(names: list[str], texts: dict[str, list[str]]) -> str:
    return min(names, key=lambda name: (not texts[name], name))


def _printable(name: str) -> str:
    """The name with bytes that are no UTF-8 as escapes, since JSON can't hold them."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _sidecars(names: list[str]) -> dict[str, list[str]]:
    """Caption files by name, with the files of the same stem in the same folder; others are no caption files."""
    texts = [name for name in names if PurePosixPath(name).suffix.lower() in (".txt", ".json")]
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in set(names) - set(texts):
        by_stem[str(PurePosixPath(name).with_suffix(""))].append(name)
    stems = _Names(by_stem)
    owners = {name: stems.find(str(PurePosixPath(name).with_suffix(""))) for name in texts}
    return {name: sorted(owner for stem in found for owner in by_stem[stem]) for name, found in owners.items() if found}


def _sidecar_captions(path: Path, problems: Counter[str]) -> list[str]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            return _clean(_captions_of(load_json(path)), problems)
        text = read_small(path, MAX_TEXT_BYTES).decode("utf-8-sig")
    except (OSError, ValueError):
        problems[f"unreadable {suffix} caption file"] += 1
        return []
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    return _clean(lines or [""], problems)


def _table_captions(path: Path, name: str, names: _Names, problems: Counter[str]) -> Iterator[tuple[str, list[str]]]:
    """(file, captions) of each row of a table whose file is in the folder."""
    kind = path.name.lower()
    try:
        rows = list(_rows(path))
    except (OSError, UnicodeDecodeError, csv.Error):
        problems[f"unreadable {kind}"] += 1
        return
    for row in rows:
        if not isinstance(row, dict):
            problems[f"unreadable row of {kind}"] += 1
        elif not (found := _named_files(row.get("file_name"), name, names)):
            problems[f"row of {kind} without a file in the folder"] += 1
        else:
            yield found[0], _clean(_captions_of(row), problems)


def _rows(table: Path) -> Iterator[Any]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        if table.suffix.lower() == ".csv":
            yield from csv.DictReader(file)
        else:
            yield from (_parsed(line) for line in file if line.strip())


def _parsed(line: str) -> Any:
    """The JSON value of a line, or None if it is invalid."""
    try:
        return parse_json(line)
    except ValueError:
        return None


def _named_files(name: Any, table: str, names: _Names) -> list[str]:
    """Files of the folder that a row's name means. Names that lead out of the table's folder mean none."""
    if not isinstance(name, str):
        return []
    for path in (PurePosixPath(name), PurePosixPath(name.replace("\\", "/"))):  # tables from Windows
        if not path.is_absolute() and ".." not in path.parts:
            found = names.find(str(PurePosixPath(table).parent / path))
            if found:
                return found
    return []


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


def _clean(texts: list[str], problems: Counter[str]) -> list[str]:
    """Captions that can be prompts, with single spaces; the others are counted by reason."""
    from vitascope.data.records import caption_problem  # deferred: it imports PyTorch, --help lists the sources

    found = [(text, caption_problem(text)) for text in texts]
    problems.update(problem for _, problem in found if problem is not None)
    return [" ".join(text.split()) for text, problem in found if problem is None]
