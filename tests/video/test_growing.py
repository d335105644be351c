"""A file that grows: it plays at every moment, and is gone when its block ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.video.pictures import numbered, numbers, psnr, smooth
from vitascope.errors import MediaError
from vitascope.video import GrowingVideo, read_video
from vitascope.video.formats import partial_path


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif", "a.b.webm"])
def test_it_plays_while_it_grows_and_then_it_is_gone(tmp_path: Path, name: str) -> None:
    """All frames but the last, after every one. Fails when the encoder looks ahead, or the muxer waits for more."""
    path = partial_path(tmp_path / name)
    assert path.name == f"{name.rpartition('.')[0]}.partial.mp4"
    with GrowingVideo(tmp_path / name, 8.0, 32, 32) as growing:
        for count, frame in enumerate(numbered(12), start=1):
            growing.write(frame[None])
            if count > 1:
                found = read_video(path)
                assert numbers(found) == list(range(count - 1))
                assert found.fps == 8.0
    assert list(tmp_path.iterdir()) == []


def test_it_looks_like_what_was_written(tmp_path: Path) -> None:
    frames = smooth(6, 33, 51)
    with GrowingVideo(tmp_path / "clip.mp4", 24.0, 33, 51) as growing:
        growing.write(frames)
        found = read_video(partial_path(tmp_path / "clip.mp4")).frames
    assert psnr(found[:, :33, :51], frames[:5]) > 33


def test_an_error_takes_it_along(tmp_path: Path) -> None:
    def write_some() -> None:
        with GrowingVideo(tmp_path / "clip.mp4", 8.0, 32, 32) as growing:
            growing.write(np.zeros((3, 32, 32, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_some()
    assert list(tmp_path.iterdir()) == []


def write_into(folder: Path) -> None:
    with GrowingVideo(folder / "clip.mp4", 8.0, 32, 32) as growing:
        growing.write(np.zeros((3, 32, 32, 3), np.uint8))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none/clip\.partial\.mp4 can't be written"):
        write_into(tmp_path / "none")
