"""Sound of given footage in recorded videos: at the place of the footage, for every verb."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest

from tests.video.tones import sounding, write_tone
from vitascope.generate.footage import sound_of
from vitascope.generate.pipeline import Pipeline
from vitascope.generate.recording import record
from vitascope.generate.requests import Connect, Edit, Extend, Fill, Generate, Loop, Request
from vitascope.video import SoundPart, Video, write_video

FAST = {"height": 16, "width": 16, "fps": 8.0, "num_steps": 1, "guidance": 1.0}


def recorded(pipeline: Pipeline, request: Request, path: Path) -> list[tuple[float, float]]:
    record(pipeline, request, path)
    return sounding(path)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("extend", [(0.25, 0.5)]),
        ("backward", [(1.25, 1.5)]),
        ("loop", [(0.25, 0.5)]),
        ("fill", [(0.25, 0.5)]),
        ("edit", [(0.25, 0.5)]),
        ("connect", [(0.25, 0.5), (2.625, 2.875)]),
    ],
)
def test_every_verb_keeps_sound_at_the_place_of_the_footage(
    pipeline: Pipeline, tmp_path: Path, verb: str, expected: list[tuple[float, float]], suffix: str
) -> None:
    """Given 9 frames at 8 a second. A second is added before them, or after them and before 9 more."""
    video = write_tone(tmp_path / "given.mp4", (0.25, 0.5), num_frames=9)
    other = write_tone(tmp_path / "other.mkv", (0.5, 0.75), num_frames=9, container="matroska")
    requests: dict[str, Request] = {
        "extend": Extend(video=video, seconds=1.0, **FAST),
        "backward": Extend(video=video, seconds=1.0, backward=True, **FAST),
        "loop": Loop(video=video, seconds=1.0, **FAST),
        "fill": Fill(video=video, missing=((0.5, 0.75),), **FAST),
        "edit": Edit(video=video, prompt="snow", strength=0.5, **FAST),
        "connect": Connect(before=video, after=other, seconds=1.0, **FAST),
    }
    found = recorded(pipeline, requests[verb], tmp_path / f"made{suffix}")
    assert np.shape(found) == np.shape(expected), found
    assert np.abs(np.subtract(found, expected)).max() < 0.03, found


def test_of_long_footage_the_sound_of_the_part_in_use_is_kept(tmp_path: Path) -> None:
    """The last minute of 70 seconds begins at second 10."""
    video = write_tone(tmp_path / "long.mp4", (12.0, 12.5), num_frames=8 * 70)
    fitted = Video(np.zeros((480, 1, 1, 3), np.uint8), 8.0)
    assert sound_of(video, fitted, math.inf, at=2.0) == (SoundPart(video, 10.0, 60.0, 2.0),)
    assert sound_of(video, fitted) == (SoundPart(video, 0.0, 60.0, 0.0),)


def test_sound_that_a_result_cannot_hold_is_noted(
    pipeline: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = write_tone(tmp_path / "given.mp4", (0.25, 0.5), num_frames=9)
    request = Loop(video=video, seconds=0.5, **FAST)
    with caplog.at_level(logging.WARNING):
        assert recorded(pipeline, request, tmp_path / "made.gif") == []
        assert "made.gif: a gif holds no sound" in caplog.text
        caplog.clear()
        pipeline.run(request)
        assert "is left out of the video in memory" in caplog.text


def test_footage_without_sound_makes_a_silent_file(pipeline: Pipeline, tmp_path: Path) -> None:
    write_video(Video(np.zeros((9, 16, 16, 3), np.uint8), 8.0), tmp_path / "given.mp4")
    assert recorded(pipeline, Loop(video=tmp_path / "given.mp4", seconds=0.5, **FAST), tmp_path / "made.mp4") == []
    assert recorded(pipeline, Generate(prompt="a cat", num_frames=5, **FAST), tmp_path / "made.mp4") == []
