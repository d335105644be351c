"""Captioned footage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.films import film


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files captioned in five ways, one of them twice and in two languages."""
    folder = tmp_path / "mine"
    for name in ("a.mp4", "b.mkv", "deep/c.mp4", "deep/d.png", "e.mp4"):
        film(folder / name, num_frames=1 if name.endswith("png") else 20)
    (folder / "a.txt").write_text("a grey film\n\n一段灰色的视频\n", encoding="utf-8")
    (folder / "b.json").write_text('{"captions": {"en": ["b one", "b two"]}, "fps": 8}')
    (folder / "deep" / "metadata.csv").write_text("file_name,text\nc.mp4,the film c\nd.png,a grey card\n")
    (folder / "metadata.jsonl").write_text('{"file_name": "e.mp4", "caption": "the film e"}\n')
    return folder
