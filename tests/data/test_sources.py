"""Dataset sources: an entry of the table is all that a new one needs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from vitascope.cli import main
from vitascope.config import parse_config
from vitascope.data.captioned_files import CaptionedFile, FoundFiles, by_language
from vitascope.data.clips import list_clips
from vitascope.data.prepare import PrepareConfig, prepare_videos
from vitascope.data.sources import SOURCES, Source
from vitascope.video import Video, write_video


def find_listed_files(table: Path) -> FoundFiles:
    """The media files that a CSV table lists, relative to its folder."""
    found = FoundFiles()
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            path = table.parent / row["path"]
            if path.is_file():
                found.files.append(CaptionedFile(row["path"], path, by_language([row["caption"]])))
            else:
                found.problems["missing file"] += 1
    return found


def test_a_new_source_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked to fail: with `find_captioned_files` called by name in `prepare_videos`."""
    monkeypatch.setitem(SOURCES, "table", Source(find_listed_files, "CSV", "Read this table.", "Cut listed files."))
    (tmp_path / "footage").mkdir()
    write_video(Video(np.zeros((9, 32, 48, 3), np.uint8), 8.0), tmp_path / "footage" / "a.mp4")
    table = tmp_path / "footage" / "clips.csv"
    table.write_text("path,caption\na.mp4,a dark film\nb.mp4,nothing\n")
    config = parse_config({"sizes": ["48x32"], "num_frames": 9}, PrepareConfig)
    prepared = prepare_videos(table, tmp_path / "data", config, kind="table")
    assert (prepared.num_clips, prepared.problems) == (1, {"missing file": 1})
    (clip,) = list_clips(tmp_path / "data")
    assert clip.captions == {"en": ["a dark film"]}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_is_a_verb(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", kind, "--help"]) == 0
    assert SOURCES[kind].help.split()[0] in capsys.readouterr().out
