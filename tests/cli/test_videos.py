"""`vitascope generate`: what it passes on, where its files go, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.fakes import FakePipeline
from vitascope import cli
from vitascope.cli import videos


def test_generate_passes_every_option_on(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "first.png").touch()
    words = "--image first.png --size 160x96 --seconds 2.5 --fps 16 --seed 7 --steps 9 --guidance 3.5 --model here"
    assert cli.main(["generate", "a cat", *words.split(), "--negative", "rain", "-o", "cat.webm"]) == 0
    assert pipeline.models == ["here"]
    assert pipeline.asked == [
        {
            "prompt": "a cat",
            "image": Path("first.png"),
            "height": 96,
            "width": 160,
            "num_frames": 40,
            "fps": 16.0,
            "seed": 7,
            "num_steps": 9,
            "guidance": 3.5,
            "negative": "rain",
        }
    ]
    captured = capsys.readouterr()
    assert captured.out == "cat.webm\n"
    assert (tmp_path / "cat.webm").exists()


def test_generate_leaves_what_is_not_said_to_the_model(pipeline: FakePipeline) -> None:
    assert cli.main(["generate", "a cat"]) == 0
    (asked,) = pipeline.asked
    unsaid = ("image", "height", "width", "num_frames", "fps", "num_steps", "guidance")
    assert [asked[name] for name in unsaid] == [None] * len(unsaid)
    assert (asked["seed"], asked["negative"]) == (0, "")


def test_seconds_use_the_models_rate_when_none_is_given(pipeline: FakePipeline) -> None:
    assert cli.main(["generate", "a cat", "--seconds", "2"]) == 0
    assert pipeline.asked[0]["num_frames"] == 16


def test_an_absurd_duration_reaches_the_model_as_a_number(pipeline: FakePipeline) -> None:
    assert cli.main(["generate", "a cat", "--seconds", "1e308"]) == 0
    assert pipeline.asked[0]["num_frames"] == 10**9


@pytest.mark.parametrize(
    ("words", "paths", "seeds"),
    [
        (["A red ball, rolling!"], ["a-red-ball-rolling-0.mp4"], [0]),
        (["一只红色的猫在跑", "--seed", "4"], ["一只红色的猫在跑-4.mp4"], [4]),
        (["../../etc/passwd"], ["etc-passwd-0.mp4"], [0]),
        (["🎈"], ["video-0.mp4"], [0]),
        (["cat", "--frames", "1"], ["cat-0.png"], [0]),
        (["cat", "-n", "2", "--seed", "5"], ["cat-5.mp4", "cat-6.mp4"], [5, 6]),
        (["cat", "-n", "3", "-o", "out.mp4"], ["out-1.mp4", "out-2.mp4", "out-3.mp4"], [0, 1, 2]),
        (["cat", "-o", "."], ["cat-0.mp4"], [0]),
    ],
)
def test_names_of_the_files(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], words: list[str], paths: list[str], seeds: list[int]
) -> None:
    assert cli.main(["generate", *words]) == 0
    assert capsys.readouterr().out.split("\n")[:-1] == paths
    assert [asked["seed"] for asked in pipeline.asked] == seeds
    assert all(Path(path).is_file() for path in paths)


def test_a_long_prompt_gives_a_short_name() -> None:
    assert len(videos._slug("猫 " * 500)) <= 40


def test_an_image_file_asks_for_one_frame(pipeline: FakePipeline) -> None:
    assert cli.main(["generate", "a cat", "-o", "cat.png"]) == 0
    assert pipeline.asked[0]["num_frames"] == 1


def test_an_existing_file_is_replaced(pipeline: FakePipeline, tmp_path: Path) -> None:
    (tmp_path / "cat.mp4").write_text("old")
    assert cli.main(["generate", "a cat", "-o", "cat.mp4"]) == 0
    assert (tmp_path / "cat.mp4").read_text() == "video"


def test_a_sheet_shows_frames_of_every_video(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    from vitascope.video import Video, read_video

    grey = Video(np.full((3, 64, 48, 3), 128, np.uint8), 8.0)
    monkeypatch.setattr(pipeline, "generate", lambda prompt, **options: grey)
    assert cli.main(["generate", "cat", "-n", "2", "--sheet", "cat.png"]) == 0
    assert capsys.readouterr().out == "cat-0.mp4\ncat-1.mp4\ncat.png\n"
    sheet = read_video("cat.png")
    assert (sheet.num_frames, sheet.fps > 0) == (1, True)
    assert sheet.width >= 3 * 2 * 48  # three frames, drawn twice as large
    assert sheet.height >= 2 * 2 * 64  # two videos


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "PROMPT"),
        ("cat --frames 0", "--frames"),
        ("cat --frames 2 --seconds 1", "not both"),
        ("cat --seconds -1", "-1.0 is not a positive number"),
        ("cat --seconds nan", "nan"),
        ("cat --fps 0", "--fps"),
        ("cat --fps inf", "inf"),
        ("cat --steps 0", "--steps"),
        ("cat --guidance -2", "--guidance"),
        ("cat --seed -1", "--seed"),
        ("cat --seed 9223372036854775807 -n 2", "--seed"),
        ("cat --seed one", "--seed"),
        ("cat -n 0", "-n"),
        ("cat --size 12", "WIDTHxHEIGHT"),
        ("cat --size 0x8", "WIDTHxHEIGHT"),
        ("cat --size -8x8", "WIDTHxHEIGHT"),
        ("cat --size ٣x٣", "WIDTHxHEIGHT"),
        ("cat --size 12x12x3", "WIDTHxHEIGHT"),
        ("cat --image missing.png", "missing.png: no such file"),
        ("cat -o missing/cat.mp4", "no folder missing"),
        ("cat -o cat.txt", ".mp4"),
        ("cat -o cat.png --frames 9", "cat.mp4"),
        ("cat -n 99999999999", "-n"),
        ("cat --sheet frames.mp4", "--sheet"),
        ("cat -o cat.png --sheet cat.png", "name another file"),
        ("cat dog", "dog"),
        ("cat --stepz 3", "--steps"),
    ],
)
def test_usage_errors_are_one_line_and_nothing_is_loaded_or_written(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    assert cli.main(["generate", *words.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vitascope: error: ")
    assert captured.err.count("\n") == 1
    assert said.lower() in captured.err.lower()
    assert pipeline.models == []
    assert list(tmp_path.iterdir()) == []
