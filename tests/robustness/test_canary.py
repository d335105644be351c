"""Hostile names and playlists open neither the network nor another file."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.robustness import canary
from vitascope.video.formats import ffmpeg_url, partial_path

NUM_PROTOCOLS = 3


def test_no_name_and_no_playlist_opens_the_network_or_another_file(tmp_path: Path) -> None:
    """Fails for half of the names if FFmpeg is given them as they are, and for concat.mkv if it may open playlists."""
    names = canary.NAMES[:NUM_PROTOCOLS] + canary.NAMES[-len(canary.HOSTILE) :]
    failures, num_trials = canary.run(tmp_path, names)
    assert failures == []
    assert num_trials > len(names)


@pytest.mark.parametrize("name", ["http:a.mp4", "concat:a|b", "-y.mp4", "a%03d.png", "a\nb.mp4", "subfile,,:a.mp4"])
def test_ffmpeg_gets_absolute_names_of_local_files(name: str) -> None:
    assert ffmpeg_url(Path(name)) == f"file:{Path.cwd() / name}"


@pytest.mark.parametrize("stem", ["x" * 251, "\u00e9" * 125, "\U0001f600" * 62])
def test_partial_names_of_long_names_fit(stem: str) -> None:
    """Fails if the stem is kept: a name of 255 bytes has no room for the longer suffix."""
    path = partial_path(Path(f"{stem}.mp4"))
    assert len(path.name.encode()) <= 255
    assert path.name.endswith(".partial.mp4")
    assert path.stem.startswith(stem[:50])
