"""Frechet distances from real clips: degraded clips are further away than real ones, each on its own feature."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitascope.data.clips import Clip
from vitascope.errors import DatasetError, SizeError
from vitascope.evaluate.distribution import caption_jobs, evaluate_distribution
from vitascope.evaluate.measures.features import CHANGES, COLOURS, Feature, changes, colours
from vitascope.evaluate.measures.media import NamedVideo
from vitascope.generate.requests import Generate
from vitascope.video import Video


def drifting(seed: int, shift: int = 0) -> Video:
    """A bright square on a ground of its own, moving to the right: 8 frames of 32x32."""
    draw = np.random.default_rng(seed)
    frames = np.empty((8, 32, 32, 3), np.uint8)
    frames[:] = draw.integers(60, 120, 3) + shift
    top, colour = draw.integers(0, 20), draw.integers(150, 255, 3)
    for number, frame in enumerate(frames):
        frame[top : top + 10, 3 * number : 3 * number + 10] = colour
    return Video(frames, 8.0)


def named(seeds: range, shift: int = 0) -> list[NamedVideo]:
    return [(str(seed), lambda seed=seed, **_: drifting(seed, shift)) for seed in seeds]


def test_what_is_spoilt_lies_further_away_than_what_is_real(tmp_path: Path) -> None:
    """Fails when a contestant gets another's clips, or one kind of feature is taken for another."""
    bright = Feature("brightness", "mean brightness", lambda video: video.frames.mean(axis=(0, 1, 2)))
    report = evaluate_distribution(named(range(48)), named(range(100, 124), shift=60), [CHANGES, bright])
    by_changes, by_brightness = (table.distances for table in report.tables)
    assert list(by_changes)[:2] == ["generated", "real, other half"]
    for who in ("real, frozen", "real, frames shuffled", "real, noise"):
        assert by_changes[who].low > by_changes["real, other half"].high, who
    assert by_brightness["real, frames shuffled"].value == pytest.approx(by_brightness["real, other half"].value)
    assert by_brightness["generated"].low > by_brightness["real, other half"].high
    assert {table.num_clips for table in report.tables} == {24}
    assert "6 principal components of 48 numbers" in report.lines()[1]
    assert "3 numbers; 24 clips of each against 24 real ones" in "\n".join(report.lines())
    replace(report, about={"seed": 0}).write(tmp_path)
    tree = json.loads((tmp_path / "distribution.json").read_text())
    assert tree["seed"] == 0
    assert tree["features"]["changes"]["frechet_distance"]["generated"]["value"] == by_changes["generated"].value
    assert (tmp_path / "distribution.png").stat().st_size > 0


def test_every_contestant_has_as_many_clips_as_were_generated() -> None:
    report = evaluate_distribution(named(range(60)), named(range(100, 116)), [COLOURS])
    assert (report.tables[0].num_clips, report.tables[0].num_reference) == (16, 44)


def test_cells_tell_colours_where_they_are_and_changes_whatever_the_rate() -> None:
    frames = np.zeros((4, 16, 20, 3), np.uint8)
    frames[:, :4, :5, 0] = 255
    frames[1::2, 12:, 15:, 1] = 51
    seen, changed = colours(Video(frames, 8.0)), changes(Video(frames, 8.0))
    assert {k: round(value, 6) for k, value in enumerate(seen) if value} == {0: 100.0, 46: 10.0}
    assert {k: round(value, 6) for k, value in enumerate(changed) if value} == {46: 20.0}
    np.testing.assert_allclose(changes(Video(np.repeat(frames, 3, axis=0), 24.0)), changed)
    assert changes(Video(frames[:2], 24.0))[46] == pytest.approx(20)


def test_too_few_clips_and_still_pictures_are_refused() -> None:
    with pytest.raises(SizeError, match="30 real and 20 generated clips are too few; give 32 real and 16 generated"):
        evaluate_distribution(named(range(30)), named(range(20)), [COLOURS])
    still: NamedVideo = ("still.png", lambda **_: Video(np.zeros((1, 16, 16, 3), np.uint8), 1.0))
    with pytest.raises(SizeError, match=r"still\.png has one frame"):
        evaluate_distribution([still] * 40, None, [COLOURS])


def test_a_model_is_asked_for_the_real_clips_captions_and_shapes() -> None:
    clip = Clip("7", Path("7.mp4"), 9, 48, 80, 8.0, {"zh": ["一个球"], "en": ["a ball"]})

    shape = {"height": 48, "width": 80, "num_frames": 9, "fps": 8.0}
    expected = [Generate(prompt="a ball", seed=5, **shape), Generate(prompt="一个球", seed=6, **shape)]
    assert [job.request for job in caption_jobs([clip, clip], seed=5)] == expected
    with pytest.raises(DatasetError, match="clip 8 has no caption"):
        caption_jobs([Clip("8", Path("8.mp4"), 9, 48, 80, 8.0, {})], 0)
