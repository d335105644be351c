"""`vitascope evaluate abilities` and `storyboards` with a fake model: reports, cached videos and usage errors."""

from __future__ import annotations

import json
import logging
import types
from pathlib import Path

import numpy as np
import pytest

from tests.cli.fakes import FakePipeline
from tests.cli.judges import save_small_judge
from vitascope import cli
from vitascope.generate.requests import Edit, Request
from vitascope.hub.card import PipelineConfig
from vitascope.video import Video
from vitascope.video.shape import VideoShape

pytestmark = pytest.mark.rendering


@pytest.fixture
def model(pipeline: FakePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    """A model that returns noise for every request and logs a note; renders are noise too; a judge in `judge`."""
    from vitascope.evaluate import conditioning, storyboards
    from vitascope.evaluate.measures import tasks

    save_small_judge(tmp_path / "judge")
    monkeypatch.setattr("vitascope.evaluate.measures.generator.model_fingerprint", lambda model: "noise")
    pipeline.config = PipelineConfig(name="noise", height=32, width=32, num_frames=17)
    pipeline.grid = types.SimpleNamespace(frames_per_cell=4)

    def noise(request: Request) -> Video:
        length = 17 if isinstance(request, Edit) else 26  # enough for all others
        return Video(np.random.default_rng(request.seed).integers(0, 256, (length, 32, 32, 3), dtype=np.uint8), 8.0)

    def run(request: Request) -> Video:
        if pipeline.failure is not None and len(pipeline.requests) == pipeline.fails_after:
            raise pipeline.failure
        pipeline.requests.append(request)
        logging.getLogger("vitascope.generate").warning("one of many notes")
        return noise(request)

    def render(what: object, shape: VideoShape) -> Video:
        frames = np.random.default_rng(99).integers(0, 256, (shape.num_frames, shape.height, shape.width, 3), np.uint8)
        return Video(frames, shape.fps)

    monkeypatch.setattr(tasks, "render_question", render)
    monkeypatch.setattr(storyboards.Board, "render", render)
    monkeypatch.setattr(pipeline, "run", run, raising=False)
    monkeypatch.setattr(pipeline, "codec", None, raising=False)
    monkeypatch.setattr(conditioning, "reconstruct", lambda codec, video: Video(video.frames // 2 * 2, video.fps))
    monkeypatch.setattr(conditioning, "OraclePipeline", lambda known, clips: types.SimpleNamespace(run=noise))
    return pipeline


def test_abilities_are_measured(model: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "abilities", "--judge", "judge", "-n", "2", "--strength", "0.5", "--out", "report"]
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    for row in (
        "first frame",
        "extend",
        "backward",
        "both ways",
        "fill",
        "connect",
        "loop",
        "codec",
        "requested colours",
    ):
        assert any(line.startswith(row) for line in captured.out.splitlines()), row
    assert "one of many notes" not in captured.err
    assert captured.out.splitlines()[-1] == "report"
    written = json.loads(Path("report/abilities.json").read_text(encoding="utf-8"))
    assert (len(written["outcomes"]), len(written["fills"]), len(written["edits"])) == (14, 2, 2)
    assert len(written["oracle"]) == 10
    assert [request.strength for request in model.requests if isinstance(request, Edit)] == [0.5, 0.5]
    assert Path("report/abilities.png").exists()


def test_storyboards_are_measured(model: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "storyboards", "--judge", "judge", "-n", "3", "--out", "report"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].split()[-2:] == ["renders", "model"]
    assert "one of many notes" not in captured.err
    assert [request.seed for request in model.requests] == [0, 1, 2]
    written = json.loads(Path("report/storyboards.json").read_text(encoding="utf-8"))
    assert {who: len(found) for who, found in written.items()} == {"prompts": 3, "renders": 3, "model": 3}
    assert Path("report/storyboards.png").exists()


@pytest.mark.parametrize("verb", ["abilities", "storyboards"])
def test_an_interrupted_evaluation_makes_only_what_is_missing(verb: str, model: FakePipeline) -> None:
    words = ["evaluate", verb, "--judge", "judge", "-n", "2", "--dtype", "bfloat16", "--out", "report"]
    model.failure, model.fails_after = KeyboardInterrupt(), 1
    assert cli.main(words) == 130
    model.failure = None
    assert cli.main(words) == 0
    assert len(model.requests) == {"abilities": 18, "storyboards": 2}[verb]
    made = json.loads(Path("report/model/made.json").read_text(encoding="utf-8"))
    assert made["seed"] == 0
    assert (made["model"], made["dtype"]) == ("noise", "bfloat16")


@pytest.mark.parametrize("verb", ["abilities", "storyboards"])
def test_bad_options_are_refused_before_anything_is_made(
    verb: str, model: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").write_text("a file")
    assert cli.main(["evaluate", verb, "--out", "taken"]) == 2
    assert cli.main(["evaluate", verb, "-n", "1"]) == 2
    assert cli.main(["evaluate", verb, "--judge", "nowhere"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 3
    assert model.requests == []
