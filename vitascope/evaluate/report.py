"""Reports: the protocol that all evaluations return, and the files they write."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vitascope.files import write_text
from vitascope.video import Video, contact_sheet, write_video


@runtime_checkable
class Report(Protocol):
    """The result of an evaluation."""

    def lines(self) -> list[str]:
        """The table, line by line."""
        ...

    def write(self, out: Path) -> None:
        """Write JSON and a picture into a folder."""
        ...


def write_report(out: Path, name: str, tree: dict[str, Any], sheet: Video) -> None:
    """Write NAME.json and NAME.png into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / f"{name}.json", json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
    write_video(sheet, out / f"{name}.png")


def labelled_sheet(pictures: Sequence[Video], labels: Sequence[str], **layout: Any) -> Video:
    """A contact sheet with a label under each picture; without Pillow the labels are left out."""
    has_pillow = importlib.util.find_spec("PIL") is not None
    return contact_sheet(pictures, labels=labels if has_pillow else None, **layout)


def or_none(value: Any) -> Any:
    """The value, or None for NaN and infinity, which JSON lacks."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
