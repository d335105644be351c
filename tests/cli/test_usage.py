"""`vitascope evaluate abilities` and `storyboards`: what they take, print, keep and refuse."""

from __future__ import annotations

import json
import logging
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.fakes import FakePipeline
from tests.cli.test_scores import CONFIG
from vitascope import cli
from vitascope.hub.card import PipelineConfig
from vitascope.hub.weights import save_network
from vitascope.judge.network import Judge
from vitascope.video import Video

pytestmark = pytest.mark.rendering


@pytest.fixture
def model(pipeline: FakePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    """A model whose every ability makes noise, and notes something; a judge in `judge`."""
    from vitascope.codec import streaming

    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_network(Judge(CONFIG), CONFIG, tmp_path / "judge")
    monkeypatch.setattr("vitascope.cli.usage.model_fingerprint", lambda model: "noise")
    pipeline.config = PipelineConfig(name="noise", height=32, width=32, num_frames=17)
    pipeline.grid = types.SimpleNamespace(frames_per_cell=4)

    def noise(*given: Any, **options: Any) -> Video:
        length = 17 if "strength" in options else 26  # of an edit; enough for all others
        return Video(np.random.default_rng(options["seed"]).integers(0, 256, (length, 32, 32, 3), dtype=np.uint8), 8.0)

    def make(*given: Any, **options: Any) -> Video:
        if pipeline.failure is not None and len(pipeline.asked) == pipeline.fails_after:
            raise pipeline.failure
        pipeline.asked.append({"given": given, **options})
        logging.getLogger("vitascope.generate").warning("one of many notes")
        return noise(*given, **options)

    abilities = ("generate", "extend", "fill", "connect", "loop", "edit", "storyboard")
    for ability in abilities:
        monkeypatch.setattr(pipeline, ability, make, raising=False)
    monkeypatch.setattr(pipeline, "codec", None, raising=False)
    monkeypatch.setattr(streaming, "reconstruct", lambda codec, video: Video(video.frames // 2 * 2, video.fps))
    knowing = types.SimpleNamespace(**dict.fromkeys(abilities, noise))
    monkeypatch.setattr("vitascope.evaluate.measures.oracle.KnowingPipeline", lambda known, clips: knowing)
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
        "colours as asked",
    ):
        assert any(line.startswith(row) for line in captured.out.splitlines()), row
    assert "one of many notes" not in captured.err
    assert captured.out.splitlines()[-1] == "report"
    written = json.loads(Path("report/abilities.json").read_text(encoding="utf-8"))
    assert (len(written["outcomes"]), len(written["filled"]), len(written["edits"])) == (14, 2, 2)
    assert len(written["outcomes if the truth is made"]) == 10
    assert [asked["strength"] for asked in model.asked if "strength" in asked] == [0.5, 0.5]
    assert Path("report/abilities.png").exists()


def test_storyboards_are_measured(model: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "storyboards", "--judge", "judge", "-n", "3", "--out", "report"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].split()[-2:] == ["renders", "model"]
    assert "one of many notes" not in captured.err
    assert [asked["seed"] for asked in model.asked] == [0, 1, 2]
    written = json.loads(Path("report/storyboards.json").read_text(encoding="utf-8"))
    assert {who: len(found) for who, found in written.items()} == {"prompts": 3, "renders": 3, "model": 3}
    assert Path("report/storyboards.png").exists()


@pytest.mark.parametrize("verb", ["abilities", "storyboards"])
def test_an_interrupted_evaluation_makes_only_what_is_missing(verb: str, model: FakePipeline) -> None:
    words = ["evaluate", verb, "--judge", "judge", "-n", "2", "--out", "report"]
    model.failure, model.fails_after = KeyboardInterrupt(), 1
    assert cli.main(words) == 130
    model.failure = None
    assert cli.main(words) == 0
    assert len(model.asked) == {"abilities": 18, "storyboards": 2}[verb]
    made = json.loads(Path("report/model/made.json").read_text(encoding="utf-8"))
    assert made["seed"] == 0
    assert (made["model"], made["dtype"]) == ("noise", "float32")


@pytest.mark.parametrize("verb", ["abilities", "storyboards"])
def test_bad_options_are_refused_before_anything_is_made(
    verb: str, model: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").write_text("a file")
    assert cli.main(["evaluate", verb, "--out", "taken"]) == 2
    assert cli.main(["evaluate", verb, "-n", "1"]) == 2
    assert cli.main(["evaluate", verb, "--judge", "nowhere"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 3
    assert model.asked == []
