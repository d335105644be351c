"""Sources that `vitascope prepare` can read. To add one, write a module and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vitascope.data.captioned_files import FoundFiles, find_captioned_files


class Source(NamedTuple):
    """A kind of footage. `find` lists its captioned files; all other fields document its verb and its argument."""

    find: Callable[[Path], FoundFiles]
    metavar: str
    help: str
    summary: str


SOURCES: dict[str, Source] = {
    "videos": Source(
        find_captioned_files,
        metavar="DIR",
        help="Read captioned videos and images here.",
        summary="Cut your own videos into clips for training. "
        "Captions: FILE.txt or FILE.json, or metadata.csv or metadata.jsonl.",
    ),
}
