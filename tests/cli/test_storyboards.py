"""`vitascope storyboard`: what it passes on, and what it refuses before a model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.fakes import FakePipeline
from vitascope import cli
from vitascope.generate.requests import Sampling, Storyboard
from vitascope.video import read_video

STORY = """
text = "一只红色的猫"
[[shots]]
text = "它在草地上走"
seconds = 2
image = "cat.png"
[[shots]]
text = "it jumps"
seconds = 1
cut = false
"""


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A storyboard with a first image, in the working folder."""
    (tmp_path / "cat.png").write_bytes(b"mine")
    path = tmp_path / "the story.toml"
    path.write_text(STORY, encoding="utf-8")
    return path


def test_a_storyboard_passes_every_option_on(
    pipeline: FakePipeline, story: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--size 160x96 --fps 16 --seed 7 --steps 9 --guidance 3.5 --negative rain --model here -n 2"
    assert cli.main(["storyboard", story.name, *words.split()]) == 0
    (request,) = pipeline.requests
    assert isinstance(request, Storyboard)
    assert [(shot.text, shot.seconds, shot.image, shot.cut) for shot in request.shots] == [
        ("它在草地上走", 2, Path("cat.png"), True),
        ("it jumps", 1, None, False),
    ]
    assert (request.height, request.width, request.fps) == (96, 160, 16.0)
    assert pipeline.samplings == [Sampling(seed, 9, 3.5, "rain") for seed in (7, 8)]
    assert pipeline.models == ["here"]
    assert capsys.readouterr().out == "the-story-7.mp4\nthe-story-8.mp4\n"


def test_an_interrupt_keeps_what_is_decoded(pipeline: FakePipeline, story: Path) -> None:
    pipeline.failure, pipeline.fails_after = KeyboardInterrupt(), 1
    assert cli.main(["storyboard", story.name, "-o", "out.mp4"]) == 130
    assert read_video("out.mp4").num_frames == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "FILE.toml"),
        ("missing.toml", "missing.toml: no such file"),
        ("bad.toml", "bad.toml: shots.0.second: Extra inputs are not permitted"),
        ("story.toml -o cat.png", "holds one frame"),
        ("story.toml -o none/cat.mp4", "no folder none"),
        ("story.toml --sheet cat.png", "cat.png is also an input"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_loaded(
    pipeline: FakePipeline, story: Path, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    story.rename("story.toml")
    Path("bad.toml").write_text(STORY.replace("seconds = 2", "second = 2\nseconds = 1"), encoding="utf-8")
    assert cli.main(["storyboard", *words.split()]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err
    assert pipeline.models == []
    assert Path("cat.png").read_bytes() == b"mine"
