"""The verbs that make videos: what they pass on, where their files go, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.fakes import FakePipeline
from vitascope import cli
from vitascope.cli.outputs import slug
from vitascope.errors import Terminated
from vitascope.generate.recording import read_request
from vitascope.generate.requests import Connect, Edit, Extend, Fill, Generate, Loop, Request
from vitascope.video import Video, read_video

ROOT = Path(__file__).parents[2]
SAMPLING = {"seed": 7, "num_steps": 9, "guidance": 3.5, "negative": "rain", "solver": "unipc", "shift": 5.0}
SHAPE = {"height": 96, "width": 160, "fps": 16.0}
SAMPLED = "--seed 7 --steps 9 --guidance 3.5 --negative rain --solver unipc --shift 5 --model here"


def test_generate_passes_every_option_on(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first.png", "last.png", "a.png", "b.png"):
        (tmp_path / name).touch()
    pictures = "--image first.png --last-image last.png --reference a.png --reference b.png"
    words = f"{pictures} --size 160x96 --seconds 2.5 --fps 16"
    assert cli.main(["generate", "a cat", *words.split(), *SAMPLED.split(), "-o", "cat.webm"]) == 0
    assert pipeline.models == ["here"]
    assert pipeline.requests == [
        Generate(
            prompt="a cat",
            image=Path("first.png"),
            last_image=Path("last.png"),
            references=(Path("a.png"), Path("b.png")),
            seconds=2.5,
            **SHAPE,
            **SAMPLING,
        )
    ]
    assert pipeline.samplings == [pipeline.requests[0].sampling]
    captured = capsys.readouterr()
    assert captured.out == "cat.webm\n"
    assert (tmp_path / "cat.webm").exists()


@pytest.mark.parametrize(
    ("words", "asked", "path"),
    [
        (
            ["extend", "a.mp4", "it jumps", "--seconds", "2", "--backward"],
            Extend(video=Path("a.mp4"), prompt="it jumps", seconds=2, backward=True),
            "a-extended-7.mp4",
        ),
        (
            ["extend", "a.mp4", "--seconds", "2"],
            Extend(video=Path("a.mp4"), seconds=2),
            "a-extended-7.mp4",
        ),
        (
            ["fill", "a.mp4", "--missing", "1-1.5,3-4"],
            Fill(video=Path("a.mp4"), missing=((1, 1.5), (3, 4))),
            "a-filled-7.mp4",
        ),
        (
            ["connect", "a.mp4", "b.png", "they meet", "--seconds", "0.5"],
            Connect(before=Path("a.mp4"), after=Path("b.png"), prompt="they meet", seconds=0.5),
            "a-to-b-7.mp4",
        ),
        (["loop", "a.mp4"], Loop(video=Path("a.mp4")), "a-looped-7.mp4"),
        (
            ["edit", "a.mp4", "in snow", "--strength", "0.6", "--mask", "b.png"],
            Edit(video=Path("a.mp4"), prompt="in snow", strength=0.6, mask=Path("b.png")),
            "a-edited-7.mp4",
        ),
    ],
)
def test_verbs_pass_every_option_on(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], words: list[str], asked: Request, path: str
) -> None:
    for name in ("a.mp4", "b.png"):
        Path(name).touch()
    assert cli.main([*words, "--size", "160x96", "--fps", "16", *SAMPLED.split()]) == 0
    request = asked.model_copy(update={**SHAPE, **SAMPLING})
    assert pipeline.requests == [request]
    assert pipeline.samplings == [request.sampling]
    assert capsys.readouterr().out == f"{path}\n"
    assert Path(path).is_file()


def test_generate_leaves_what_is_not_said_to_the_model(pipeline: FakePipeline) -> None:
    assert cli.main(["generate", "a cat"]) == 0
    assert pipeline.requests == [Generate(prompt="a cat")]
    assert pipeline.loaded_with == [{"device": "auto", "dtype": "auto", "compile": False, "offload": False}]


@pytest.mark.parametrize(
    ("words", "said"),
    [("--solver ddim", "'ddim' is no solver; give one of euler, "), ("--shift 0", "0.0 is not a number above 0"),
     ("--shift nan", "nan is not a number above 0"), ("--shift 1e9", "up to 1000")],
)  # fmt: skip
def test_a_solver_or_shift_that_does_not_exist_is_refused_in_one_line(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    assert cli.main(["generate", "a cat", *words.split()]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert pipeline.models == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Terminated()])
def test_an_interrupt_keeps_what_is_decoded(
    pipeline: FakePipeline,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    stop: BaseException,
) -> None:
    """As a file that plays; fails when the writer drops its file, as it does after an error."""
    pipeline.failure, pipeline.fails_after = stop, 1
    assert cli.main(["generate", "a cat", "-o", "cat.mp4"]) in (130, 143)
    assert capsys.readouterr().out == ""
    assert "cat.mp4: wrote the first 0.1 seconds" in caplog.messages
    assert read_video("cat.mp4").num_frames == 1


def test_an_interrupt_keeps_no_copy_of_what_was_given(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cat.mp4").touch()
    pipeline.failure, pipeline.fails_after, pipeline.num_given = KeyboardInterrupt(), 1, 1
    assert cli.main(["extend", "cat.mp4", "--seconds", "1"]) == 130
    assert capsys.readouterr().err == "vitascope: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["cat.mp4"]


def test_an_error_half_way_leaves_nothing(pipeline: FakePipeline, tmp_path: Path) -> None:
    pipeline.failure, pipeline.fails_after = OSError("no space"), 1
    assert cli.main(["generate", "a cat", "-o", "cat.mp4"]) == 1
    assert list(tmp_path.iterdir()) == []


KILLED = """
import time, types
from pathlib import Path
import numpy as np
from vitascope.generate.recording import record
from vitascope.generate.requests import Generate

def frames(*unused):
    for number in range(9):
        yield np.full((2, 32, 48, 3), 20 * number, np.uint8)
    print("there", flush=True)
    time.sleep(60)

grid = types.SimpleNamespace(num_given_first=lambda timeline: 0)
timeline = types.SimpleNamespace(num_frames=30, fps=8.0, height=32, width=48, sound=())
record(types.SimpleNamespace(stream=frames, grid=grid), Generate(prompt="a cat"), Path("cat.mp4"), timeline=timeline)
"""


def test_a_kill_leaves_a_file_that_plays(tmp_path: Path) -> None:
    """It lacks only the last frame. Fails when frames wait in the encoder, or reading the file requires its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"there\n"
        process.kill()
    assert not (tmp_path / "cat.mp4").exists()
    found = read_video(tmp_path / "cat.partial.mp4")
    assert found.frames.shape == (17, 32, 48, 3)
    assert found.fps == 8.0
    levels = found.frames.mean(axis=(1, 2, 3))
    assert levels == pytest.approx([20 * (k // 2) for k in range(17)], abs=3)


def test_a_partial_file_that_is_given_is_not_written_over(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cat.partial.mp4").write_bytes(b"mine")
    assert cli.main(["extend", "cat.partial.mp4", "--seconds", "1", "-o", "cat.mp4"]) == 2
    assert "cat.partial.mp4 is also an input" in capsys.readouterr().err
    assert (tmp_path / "cat.partial.mp4").read_bytes() == b"mine"


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
    assert [sampling.seed for sampling in pipeline.samplings] == seeds
    assert all(Path(path).is_file() for path in paths)


def test_a_made_up_name_is_a_new_one(pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    """Earlier results of the same footage stay; only a file named with -o is replaced."""
    Path("ball.mp4").touch()
    edit = ["edit", "ball.mp4", "snow", "--strength", "0.5"]
    two = [*edit, "-n", "2", "-o", "out.mp4"]
    for words in (edit, edit, [*edit, "-n", "2"], two, two):
        assert cli.main(words) == 0
    made = ["ball-edited-0", "ball-edited-0-2", "ball-edited-0-3", "ball-edited-1", "out-1", "out-2", "out-3", "out-4"]
    assert capsys.readouterr().out.split() == [f"{name}.mp4" for name in made]


def test_a_long_prompt_gives_a_short_name() -> None:
    assert len(slug("猫 " * 500)) <= 40


def test_an_image_file_asks_for_one_frame(pipeline: FakePipeline) -> None:
    assert cli.main(["generate", "a cat", "-o", "cat.png"]) == 0
    assert pipeline.requests == [Generate(prompt="a cat", num_frames=1)]


def test_an_existing_file_is_replaced(pipeline: FakePipeline, tmp_path: Path) -> None:
    (tmp_path / "cat.mp4").write_text("old")
    assert cli.main(["generate", "a cat", "-o", "cat.mp4"]) == 0
    assert read_video("cat.mp4").num_frames == 2


def test_odd_sides_are_stored_as_even_ones_and_a_note_says_so(
    pipeline: FakePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    for name, size, noted in (("a.mp4", (31, 77), True), ("b.webm", (31, 77), False), ("c.mp4", (30, 76), False)):
        pipeline.size = size
        assert cli.main(["generate", "a cat", "-o", name]) == 0
        assert (f"{name}: stored as 78x32, not 77x31: H.264 needs even sides" in caplog.messages) == noted
        assert read_video(name).frames.shape[1:3] == ((32, 78) if noted else size)


def test_what_is_given_is_never_written_over(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupt would leave a piece of it. Checked to fail: when the inputs aren't passed on."""
    (tmp_path / "clip.mp4").write_bytes(b"mine")
    for words in (["extend", "clip.mp4", "--seconds", "1"], ["loop", "clip.mp4"], ["edit", "clip.mp4", "red"]):
        strength = ["--strength", "0.5"] if words[0] == "edit" else []
        assert cli.main([*words, *strength, "-o", "./clip.mp4"]) == 2
        assert "clip.mp4 is also an input" in capsys.readouterr().err
    assert (tmp_path / "clip.mp4").read_bytes() == b"mine"


def test_a_sheet_shows_frames_of_every_video(pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "cat", "-n", "2", "--sheet", "cat.png"]) == 0
    assert capsys.readouterr().out == "cat-0.mp4\ncat-1.mp4\ncat.png\n"
    sheet = read_video("cat.png")
    assert (sheet.num_frames, sheet.fps > 0) == (1, True)
    assert sheet.width >= 2 * 8 * 16  # two frames, drawn eight times as large
    assert sheet.height >= 2 * 8 * 16  # two videos


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
        ("cat --last-image missing.png", "--last-image missing.png: no such file"),
        ("cat --reference missing.png", "--reference missing.png: no such file"),
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("extend a.mp4", "--seconds"),
        ("extend missing.mp4 --seconds 1", "missing.mp4: no such file"),
        ("extend a.mp4 --seconds 0", "not a positive number"),
        ("fill a.mp4", "--missing"),
        ("fill a.mp4 --missing 1", "pairs of seconds"),
        ("fill a.mp4 --missing 1-2,3", "pairs of seconds"),
        ("fill a.mp4 --missing ٣-٤", "pairs of seconds"),
        ("connect a.mp4 missing.mp4 --seconds 1", "missing.mp4: no such file"),
        ("connect a.mp4 --seconds 1", "B"),
        ("loop a.mp4 -o loop.png", "holds one frame"),
        ("edit a.mp4 --strength 0.5", "prompt"),
        ("edit a.mp4 snow", "--strength"),
        ("edit a.mp4 snow --strength 2", "--strength"),
        ("edit a.mp4 snow --strength 0.5 --mask missing.png", "--mask missing.png: no such file"),
    ],
)
def test_usage_errors_of_the_other_verbs(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    Path("a.mp4").touch()
    assert cli.main(words.split()) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err
    assert pipeline.models == []


def test_a_request_is_printed_and_made_again(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON from --dump-request and the video's metadata both lead back to the same request; options replace fields."""
    Path("cat.png").touch()
    words = ["generate", "一只猫", "--image", "cat.png", "--seconds", "2", *SAMPLED.split()]
    assert cli.main([*words, "--dump-request"]) == 0
    assert pipeline.models == []
    Path("request.json").write_text(capsys.readouterr().out, encoding="utf-8")
    assert cli.main([*words, "-o", "cat.mp4"]) == 0
    request = pipeline.requests[0]
    assert read_request("cat.mp4") == request
    assert cli.main(["run", "request.json", "-o", "again.mp4"]) == 0
    assert cli.main(["run", "cat.mp4", "--seed", "8", "-o", "other.mp4"]) == 0
    assert pipeline.requests[1] == request.model_copy(update={"image": tmp_path / "cat.png"})
    assert pipeline.requests[2] == request.model_copy(update={"seed": 8})
    (tmp_path / "videos").mkdir()
    assert cli.main(["run", "request.json", "-o", "videos/cat.mp4"]) == 0
    assert b"../cat.png" in (tmp_path / "videos" / "cat.mp4").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "videos" / "cat.mp4").read_bytes()
    assert read_request("videos/cat.mp4").image.samefile("cat.png")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not readable JSON"),
        ("[1]", "no JSON object"),
        ('{"prompt": "a cat"}', "verb is None"),
        ('{"verb": "paint"}', "verb is 'paint'"),
        ('{"verb": ["paint"]}', "verb is ['paint']"),
        ('{"verb": "generate", "promt": "a cat"}', "promt: Extra inputs are not permitted"),
        ('{"verb": "generate", "prompt": "a cat", "fps": "fast"}', "fps"),
        ('{"verb": "extend", "prompt": "a cat", "seconds": 1}', "video: is missing"),
        ('{"verb": "extend", "video": "in memory: 2 frames", "seconds": 1}', "footage in memory"),
        ('{"verb": "generate", "prompt": ' + "[" * 100_000, "not readable JSON"),
    ],
)
def test_a_bad_request_is_one_line(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    Path("request.json").write_text(text, encoding="utf-8")
    assert cli.main(["run", "request.json"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err
    assert pipeline.models == []


def test_a_video_without_a_request_is_refused(pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    Video(np.zeros((2, 16, 16, 3), np.uint8), 8.0).save("plain.mp4")
    assert cli.main(["run", "plain.mp4"]) == 2
    assert "plain.mp4 holds no request" in capsys.readouterr().err


def test_names_that_are_too_long_are_refused_before_the_work(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", "a box", "-o", "x" * 252 + ".mp4"]) == 2
    assert "name too long" in capsys.readouterr().err
    assert cli.main(["generate", "a box", "-o", "x" * 251 + ".mp4", "-n", "2"]) == 2
    assert "name too long" in capsys.readouterr().err
