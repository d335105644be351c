"""`vitascope evaluate faithful` and `distribution` with a fake model: reports, cached videos and usage errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.fakes import FakePipeline
from tests.cli.judges import save_small_judge
from vitascope import cli
from vitascope.generate.requests import Generate
from vitascope.video import Video, write_video


def noise(seed: int, **_: Any) -> Video:
    return Video(np.random.default_rng(seed).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8), 8.0)


class Model:
    """Returns noise for each request and keeps the requests; may stop at one of them."""

    def __init__(self, stops_at: int = -1) -> None:
        self.requests: list[Generate] = []
        self.stops_at = stops_at

    def run(self, request: Generate) -> Video:
        if len(self.requests) == self.stops_at:
            raise KeyboardInterrupt
        self.requests.append(request)
        return noise(request.seed)


@pytest.fixture
def model(pipeline: FakePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model in the folder `mine`, a judge in `judge`; renders are noise too."""
    from vitascope.evaluate import faithful

    save_small_judge(tmp_path / "judge")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model_index.json").write_text("{}")
    made = Model()
    monkeypatch.setattr(pipeline, "run", made.run, raising=False)
    monkeypatch.setattr(faithful, "render_question", lambda question, shape: noise(question.scene.seed % 1000))
    return made


FAITHFUL = ["evaluate", "faithful", "--judge", "judge", "-n", "4"]


def test_a_model_is_scored_beside_the_judge_the_renders_and_chance(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*FAITHFUL, "--model", "mine", "--out", "report"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-4:] == ["judge", "renders", "shuffled", "model"]
    assert next(line for line in lines if line.startswith("kind")).split()[1] == "50.0"
    assert lines[-1] == "report"
    clips = json.loads(Path("report/faithful.json").read_text(encoding="utf-8"))["clips"]
    assert [clip["prompt"] for clip in clips] == [request.prompt for request in model.requests]
    assert [request.seed for request in model.requests] == [0, 1, 2, 3]
    assert {path.name for path in Path("report").iterdir()} == {"faithful.json", "faithful.png", "model", "renders"}


def test_an_interrupted_evaluation_makes_only_what_is_missing(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    model.stops_at = 3
    words = [*FAITHFUL, "--model", "mine", "--no-baseline", "--out", "report"]
    assert cli.main(words) == 130
    model.stops_at = -1
    assert cli.main(words) == 0
    assert [request.seed for request in model.requests] == [0, 1, 2, 3]
    Path("mine/model_index.json").write_text('{"trained": "on"}')
    capsys.readouterr()
    assert cli.main(words) == 2
    assert "made with other settings" in capsys.readouterr().err


def test_another_systems_videos_are_scored_by_the_prompts_that_were_written(
    model: Model, pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", "faithful", "-n", "4", "--write-prompts", "theirs"]) == 0
    rows = [json.loads(line) for line in Path("theirs/metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    for seed, row in enumerate(rows[:3]):
        write_video(noise(seed), Path("theirs") / row["file_name"])
    capsys.readouterr()
    assert cli.main([*FAITHFUL, "theirs"]) == 0
    captured = capsys.readouterr()
    assert "left out: 1 of 4 prompts have no video" in captured.out
    assert captured.out.splitlines()[0].split()[-3:] == ["renders", "shuffled", "model"]
    assert (pipeline.models, model.requests) == ([], [])


def test_distances_of_a_models_videos_of_the_real_clips_captions(
    model: Model, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitascope.evaluate.measures import frechet

    monkeypatch.setattr(frechet, "NUM_RESAMPLED", 10)
    clips = Path("real/clips")
    clips.mkdir(parents=True)
    for seed in range(33):
        shape = {"num_frames": 3, "height": 16, "width": 16, "fps": 8.0}
        record = {"id": f"{seed:06d}", "captions": {"en": [f"clip {seed}"]}, **shape}
        write_video(noise(seed), clips / f"{seed:06d}.mp4")
        (clips / f"{seed:06d}.json").write_text(json.dumps(record))
    words = ["evaluate", "distribution", "--real", "real", "--model", "mine", "-n", "16", "--out", "report"]
    assert cli.main([*words, "--judge", "judge"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if ": " in line and not line.startswith(" ")] == [
        "colours", "changes", "trunk",
    ]  # fmt: skip
    assert sum(line.startswith("real, frozen") for line in lines) == 3
    assert len(model.requests) == 16
    shape = {"height": 16, "width": 16, "num_frames": 3, "fps": 8.0}
    assert model.requests[0] == Generate(prompt=model.requests[0].prompt, seed=0, **shape)
    tree = json.loads(Path("report/distribution.json").read_text())
    assert tree["features"]["trunk"]["clips"] == 16
    assert tree.keys() >= {"judge", "model", "real"}
    assert Path("report/distribution.png").stat().st_size > 0
    assert cli.main([*words, "--features", "colours"]) == 0
    assert len(model.requests) == 16  # nothing is made again


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["faithful", "mine", "--model", "mine"], "--model is for a model; the given videos exist already"),
        (["faithful", "few", "--dtype", "float32"], "--dtype is for a model"),
        (["distribution", "few", "--real", "few", "--dtype", "float32"], "--dtype is for a model"),
        (["faithful", "none", "--judge", "judge"], "no folder none"),
        (["faithful", "--judge", "none"], "none/config.json is missing; give the folder of a network"),
        (["faithful", "--out", "file"], "--out file: file is a file, not a folder"),
        (["distribution", "--real", "none"], "none: no such file or folder"),
        (["distribution", "--real", "few", "--features", "colours"], "few has no captions to generate from"),
        (["distribution", "few", "--real", "few", "--features", "colours"], "1 real and 1 generated clips are too few"),
    ],
)
def test_a_mistake_is_one_line(model: Model, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("few").mkdir()
    Path("file").touch()
    write_video(noise(0), "few/one.gif")
    assert cli.main(["evaluate", *words]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err


def test_without_a_judge_it_is_said_how_to_get_one(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitascope.judge import bundled

    monkeypatch.setattr(bundled.resources, "files", lambda package: tmp_path)
    assert cli.main(["evaluate", "faithful", "--model", "mine"]) == 2
    assert "no judge is bundled here: train one (docs/judge.md)" in capsys.readouterr().err
    (tmp_path / "models").mkdir()
    (tmp_path / "judge").rename(tmp_path / "models" / "judge")
    assert cli.main(["evaluate", "faithful", "--model", "mine", "-n", "2", "--no-baseline"]) == 0
