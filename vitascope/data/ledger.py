"""Ledger of a prepared dataset: which files it was made from, in which version."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from vitascope.files import append_text, parse_json, sha256, write_text

LEDGER = "sources.jsonl"
RACY_NS = 2_000_000_000  # a file changed so shortly before its entry may change again within its time stamp

Entry = dict[str, Any]


class Ledger:
    """Finished files by name, appended to disk as they are finished."""

    def __init__(self, path: Path) -> None:
        self.path, self.existed = path, path.exists()
        self.done = _read_ledger(path)
        self.tidy()

    def tidy(self) -> None:
        """Write one line per file, by name."""
        write_text(self.path, "".join(_ledger_line(name, self.done[name]) for name in sorted(self.done)))

    def add(self, name: str, entry: Entry) -> None:
        """Record a finished file; an empty entry marks one that is being changed."""
        self.done[name] = entry
        append_text(self.path, _ledger_line(name, entry))

    def forget_others(self, names: set[str]) -> Counter[str]:
        """Drop entries of other files than `names`, and count them."""
        gone = self.done.keys() - names
        for name in gone:
            del self.done[name]
        return Counter({"removed": len(gone)}) if gone else Counter()


def read_stamp(path: Path) -> dict[str, int]:
    """Size and times of a file that differ if it has changed; 0 if it is unreadable."""
    try:
        status = path.stat()
    except OSError:
        return {"size": 0, "mtime_ns": 0, "ctime_ns": 0}
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}


def version(path: Path, stamp: dict[str, int]) -> Entry:
    """Fields of an entry that identify a file's content. `stamp` is the one from before it was used."""
    digest = _sha256(path) if stamp == read_stamp(path) else ""
    return {**stamp, "sha256": digest, "at_ns": time.time_ns()}


def _sha256(path: Path) -> str:
    """Digest of a file; empty if it is unreadable."""
    try:
        return sha256(path)
    except OSError:
        return ""


def is_unchanged(entry: Entry, path: Path) -> bool:
    """True if a file is the one of its ledger entry: by its stamp, or by its digest if the stamp leaves doubt."""
    stamp = read_stamp(path)
    is_racy = entry["at_ns"] - max(stamp["mtime_ns"], stamp["ctime_ns"]) <= RACY_NS
    if not is_racy and all(entry.get(key) == value for key, value in stamp.items()):
        return True
    return entry.get("size") == stamp["size"] and entry.get("sha256") == (_sha256(path) or None)


def _read_ledger(path: Path) -> dict[str, Entry]:
    """Entries of finished files by name, the last one of each. Truncated and foreign lines are ignored."""
    done: dict[str, Entry] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else ():
        try:
            entry = parse_json(line)
            name = entry.pop("source")
            done.pop(name, None)
            wanted = {"clips": int, "captions": str, "at_ns": int}  # ledgers of earlier versions have no digests
            if all(type(entry.get(key)) is kind for key, kind in wanted.items()) and 0 <= entry["clips"] < 10**6:
                done[name] = entry
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
    return done


def _ledger_line(name: str, entry: Entry) -> str:
    return json.dumps({"source": name, **entry}) + "\n"
