"""`vitascope evaluate length` on two files, and its usage errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.fakes import FakePipeline
from vitascope import cli
from vitascope.video import Video, write_video


@pytest.fixture
def clips(pipeline: FakePipeline) -> FakePipeline:
    """a.mp4 of two seconds, b.mp4 of four and short.mp4 of less than one, in the working folder."""
    for name, num_frames in (("a", 16), ("b", 32), ("short", 4)):
        frames = np.full((num_frames, 32, 32, 3), 120, np.uint8)
        frames[:, 16:] = 60
        write_video(Video(frames, 8.0), f"{name}.mp4")
    return pipeline


def test_two_files_get_a_table_json_and_a_picture(clips: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "length", "a.mp4", "b.mp4", "--out", "report"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["2", "s", "4", "s", "ratio"]
    assert lines[1].split() == ["unrequested", "cuts", "0.00", "0.00", "-", "holds"]
    assert lines[-1] == "report"
    assert {path.name for path in Path("report").iterdir()} == {"length.json", "length.png"}
    assert clips.models == []  # nothing was loaded


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.mp4"], "give two videos, a short one and a long one, not 1"),
        (["a.mp4", "none.mp4"], "none.mp4: no such file"),
        (["b.mp4", "a.mp4"], "a.mp4 is no longer than b.mp4"),
        (["short.mp4", "a.mp4"], "short.mp4 has 4 frames; give at least 6"),
        (["a.mp4", "b.mp4", "--seconds", "60"], "--seconds is for a model"),
        (["a.mp4", "b.mp4", "--model", "mine"], "--model is for a model"),
        (["a.mp4", "b.mp4", "--out", "a.mp4"], "--out a.mp4: a.mp4 is a file, not a folder"),
        (["--seconds", "5"], "--seconds 5 is no longer than --short 10"),
        (["--short", "-1"], "-1.0 is not a positive number"),
    ],
)
def test_a_mistake_is_one_line(
    clips: FakePipeline, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", "length", *words]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err
    assert clips.models == []
