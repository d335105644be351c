"""Contact sheets."""

from __future__ import annotations

import numpy as np
import pytest

from tests.video.pictures import numbered
from vitascope.errors import SizeError
from vitascope.video import Video, contact_sheet


def test_a_contact_sheet_shows_every_video_in_reading_order() -> None:
    videos = [Video(np.full((3, 32, 32, 3), 40 * k, np.uint8), 10.0) for k in range(5)]
    sheet = contact_sheet(videos, columns=2, scale=1)
    assert sheet.frames.shape == (1, 3 * (32 + 4) + 4, 2 * (32 + 4) + 4, 3)
    levels = [sheet.frames[0, 4 + 36 * (k // 2) + 16, 4 + 36 * (k % 2) + 16, 0] for k in range(5)]
    assert levels == [0, 40, 80, 120, 160]
    assert sheet.frames[0, -16, -16].tolist() == [255, 255, 255]


def test_a_contact_sheet_spreads_the_frames_of_a_video() -> None:
    sheet = contact_sheet([Video(numbered(9), 10.0)], columns=1, frames_per_video=3, scale=2)
    row = sheet.frames[0, 20]
    assert [row[4 + 32 + 64 * k, 0] // 8 for k in range(3)] == [0, 4, 8]
    assert contact_sheet([Video(numbered(9), 10.0)], columns=1, scale=1).frames[0, 16, 16, 0] // 8 == 4


def test_labels_are_drawn_beneath() -> None:
    pytest.importorskip("PIL")
    videos = [Video(np.full((1, 32, 96, 3), 255, np.uint8), 10.0)] * 2
    bare = contact_sheet(videos, columns=2, scale=1)
    short = contact_sheet(videos, columns=2, labels=["one", "two"], scale=1)
    long = contact_sheet(videos, columns=2, labels=["one", "two " * 20], scale=1)
    assert bare.height < short.height < long.height
    assert short.frames[0, 4 + 32 :].min() < 64
    assert short.frames[0, : 4 + 32].min() == 255


@pytest.mark.parametrize(("side", "factor"), [(16, 3), (64, 3), (96, 3), (128, 2), (256, 1)])
def test_small_videos_are_enlarged_up_to_three_times(side: int, factor: int) -> None:
    videos = [Video(np.zeros((2, rows, side, 3), np.uint8), 10.0) for rows in (side, side - 2)]
    assert contact_sheet(videos, columns=1).frames.shape[2] == factor * side + 8


def test_labels_of_wide_pictures_have_larger_letters() -> None:
    pytest.importorskip("PIL")
    pictures = [Video(np.full((1, 32, width, 3), 255, np.uint8), 10.0) for width in (320, 960)]
    sheets = [contact_sheet([picture], columns=1, labels=["H"], scale=1) for picture in pictures]
    inked = [np.flatnonzero((sheet.frames[0] < 99).any(axis=(1, 2))) for sheet in sheets]
    assert len(inked[1]) > 1.4 * len(inked[0]) > 0


@pytest.mark.parametrize(
    "arguments",
    [{"columns": 0}, {"columns": 1, "frames_per_video": 0}, {"columns": 1, "scale": 0}, {"columns": 1, "labels": []}],
)
def test_a_contact_sheet_of_nothing_is_refused(arguments: dict) -> None:
    with pytest.raises(SizeError):
        contact_sheet([Video(numbered(2), 10.0)], **arguments)


def test_a_contact_sheet_needs_videos() -> None:
    with pytest.raises(SizeError):
        contact_sheet([], columns=2)
