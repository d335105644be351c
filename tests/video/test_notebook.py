"""Videos in notebooks: a player, or an image, without other files."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from tests.video.pictures import numbered, numbers
from vitascope.video import Video, read_video, sheet


def shown(video: Video, path: Path) -> tuple[str, Video]:
    """The tag of the HTML that a notebook shows, and the video or image inside it."""
    html = video._repr_html_()
    tag, kind, content = re.fullmatch(r'<(\w+) src="data:([^;]+);base64,([^"]+)".*', html).groups()
    file = path / f"shown.{kind.rpartition('/')[2]}"
    file.write_bytes(base64.b64decode(content))
    return tag, read_video(file)


def test_a_video_plays(tmp_path: Path) -> None:
    """Fails without an HTML form: a notebook then prints the array."""
    tag, found = shown(Video(numbered(12), 8.0), tmp_path)
    assert (tag, found.fps, numbers(found)) == ("video", 8.0, list(range(12)))


def test_one_frame_is_an_image(tmp_path: Path) -> None:
    tag, found = shown(Video(numbered(3)[2:], 1.0), tmp_path)
    assert (tag, numbers(found)) == ("img", [2])


@pytest.mark.parametrize("limit", ["MAX_NOTEBOOK_BYTES", "MAX_NOTEBOOK_PIXELS"])
def test_what_is_too_large_is_an_image_of_some_frames(
    tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, limit, 100)
    tag, found = shown(Video(numbered(15), 8.0), tmp_path)
    assert (tag, found.height, found.width) == ("img", 32, 8 * 32)
    assert found.frames[0, 16, 16::32, 0].tolist() == [8 * k for k in range(0, 15, 2)]


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (17, 33)])
def test_any_size_is_shown(tmp_path: Path, size: tuple[int, int]) -> None:
    assert shown(Video(np.zeros((2, *size, 3), np.uint8), 8.0), tmp_path)[0] == "video"


def test_a_video_is_named_by_its_size() -> None:
    assert repr(Video(numbered(12), 8.0)) == "Video(12 frames of 32x32 at 8 per second)"
    assert repr(Video(numbered(1), 1.0)) == "Video(1 frame of 32x32 at 1 per second)"
