"""Awkward files of phones, cameras, browsers and editors: the quick ones of `benchmarks/robustness/awkward.py`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.robustness.awkward import OTHERS, faults, prepare, write_files

QUICK = (
    "phone turned.mp4",
    "phone photo.JPG",
    "phone variable rate.mp4",
    "camera interlaced.MTS",
    "camera battery died.mkv",
    "browser alpha.webm",
    "browser download",
    "browser wrong suffix.jpg",
    "editor cover.mp4",
    "editor edit list.mp4",
    "editor joined.ts",
    "editor odd size.mkv",
    "old.wmv",
    "scan.tif",
)


def test_every_file_that_shows_something_is_used_and_the_rest_is_counted_by_reason(tmp_path: Path) -> None:
    write_files(tmp_path / "files", QUICK)
    prepared, clips = prepare(tmp_path / "files", tmp_path / "data")
    assert faults(prepared, clips, QUICK) == []
    assert clips["phone turned.mp4"][0].captions == {"en": ["a disc moves to the right"]}
    assert prepared.problems.total() == len(OTHERS)
    assert prepared.notes == {"is interlaced, deinterlaced": 1}
    assert "note: 1 x is interlaced, deinterlaced" in str(prepared)
