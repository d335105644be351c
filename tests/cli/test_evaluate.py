"""`vitascope evaluate` on files and a fake model: input, output, reports and usage errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.fakes import FakePipeline
from vitascope import cli
from vitascope.generate.requests import Request
from vitascope.video import Video, write_video


def still(num_frames: int = 8) -> Video:
    """Grey frames with a darker lower half."""
    frames = np.full((num_frames, 32, 32, 3), 160, np.uint8)
    frames[:, 16:] = 90
    return Video(frames, 8.0)


def test_a_folder_of_files_gets_a_table_json_and_a_picture(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(still(), tmp_path / "one.gif")
    assert cli.main(["evaluate", "coherence", str(tmp_path), "--out", "report", "--loop"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["measure", "mean", "95", "%", "limit", "fail", "%", "95", "%", "n"]
    assert lines[-1] == "report"
    clips = json.loads(Path("report/coherence.json").read_text())["clips"]
    assert [(clip["name"], clip["cuts"], clip["identity"]) for clip in clips] == [("one.gif", 0, None)]
    assert Path("report/coherence.png").stat().st_size > 0
    assert pipeline.models == []  # nothing was loaded


def test_a_codec_is_measured_without_the_rest_of_its_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitascope.codec.network import Codec, CodecConfig
    from vitascope.hub.weights import save_network

    config = CodecConfig(latent_channels=4, base_width=8)
    save_network(Codec(config), config, tmp_path / "model" / "vae")
    write_video(still(), tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", "codec", "clip.mp4", "--model", "model", "--frames", "5"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["clip.mp4", "32x32", "5"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--videos", "nowhere"], "--videos nowhere: no such folder"),
        (
            ["--videos", ".", "--model", "mine"],
            "--model encodes and decodes; --videos holds finished copies",
        ),
        (["-n", "4"], "-n is for unseen clips; the given files exist"),
    ],
)
def test_copies_that_cannot_be_scored_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(still(), "clip.mp4")
    assert cli.main(["evaluate", "codec", "clip.mp4", *words]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err


def test_a_codec_is_scored_on_unseen_clips_without_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "codec", "--rows", "64"]) == 2
    assert "--rows is for files; without any, unseen clips are drawn" in capsys.readouterr().err
    assert cli.main(["evaluate", "codec", "--emoji", "nowhere"]) == 2
    assert "--emoji nowhere: no such folder" in capsys.readouterr().err


def test_a_model_is_asked_for_held_out_prompts(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requests: list[Request] = []

    def run(request: Request) -> Video:
        requests.append(request)
        return still()

    monkeypatch.setattr(pipeline, "run", run, raising=False)
    words = ["evaluate", "coherence", "--model", "mine", "-n", "3", "--seed", "7", "--dtype", "bfloat16"]
    assert cli.main([*words, "--device", "cuda:1"]) == 0
    assert (pipeline.models, pipeline.loaded_with) == (
        ["mine"],
        [{"device": "cuda:1", "dtype": "bfloat16", "weights": True}],
    )
    assert [request.seed for request in requests] == [7, 8, 9]
    assert len({request.prompt for request in requests}) == 3
    assert "unrequested cuts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.mp4"], "none.mp4: no such file or folder"),
        (["here", "--model", "mine"], "--model is for a model"),
        (["here"], "no clips in here"),
        (["short.gif"], "none of 1 videos has 6 frames or more"),
        (["broken.mp4"], "broken.mp4 can't be read as a video"),
        (["short.gif", "--out", "short.gif"], "--out short.gif: short.gif is a file, not a folder"),
        (["short.gif", "-n", "3"], "-n is for a model; the given videos exist already"),
        (["short.gif", "--seed", "0"], "--seed is for a model"),
        (["short.gif", "--dtype", "float32"], "--dtype is for a model"),
        (["short.gif", "--device", "cpu"], "--device is for a model"),
        (["--frames", "9"], "--frames is for files"),
        (["--time-stride", "2"], "--time-stride is for files"),
    ],
)
def test_a_mistake_is_one_line(
    pipeline: FakePipeline, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("here").mkdir()
    Path("broken.mp4").write_text("no video")
    write_video(still(3), "short.gif")
    assert cli.main(["evaluate", "coherence", *words]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--write-given", "file/given"], "--write-given file/given: "),
        (["--write-given", "given", "--out", "report"], "--out is for scoring; --write-given only writes files"),
        (["--write-given", "given", "--videos", "."], "--videos is for scoring"),
        (["--videos", ".", "--dtype", "bfloat16"], "--dtype is for a model"),
        (["--videos", "nowhere"], "--videos nowhere: no such folder"),
    ],
)
def test_options_of_physics_that_nothing_comes_of_are_one_line(
    pipeline: FakePipeline, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["evaluate", "physics", *words]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err
    assert pipeline.models == []
