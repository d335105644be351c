"""`vitascope train` and `info`: what they pass on, print and refuse."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from tests.cli.fakes import FakePipeline
from vitascope import cli


def test_info_prints_the_card(pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    assert "limits.width: 256\n" in capsys.readouterr().out
    assert cli.main(["info", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pipeline.card()
    assert pipeline.models == ["playground", "mine"]


@pytest.mark.parametrize("network", ["codec", "transformer", "judge"])
def test_train_passes_config_run_and_overrides_on(
    network: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[object, ...]] = []
    module = types.ModuleType("train")

    def train(config: Path, run: Path, overrides: list[str]) -> Path:
        calls.append((config, run, overrides))
        return run / "model"

    vars(module)["train"] = train
    monkeypatch.setitem(
        sys.modules, "vitascope.judge.train" if network == "judge" else f"vitascope.train.{network}", module
    )
    assert cli.main(["train", network, "configs/small.toml", "steps=3", "optimizer.lr=1e-4"]) == 0
    assert cli.main(["train", network, "configs/small.toml", "--out", "here"]) == 0
    config = Path("configs/small.toml")
    run = Path("runs/small")
    assert calls == [(config, run, ["steps=3", "optimizer.lr=1e-4"]), (config, Path("here"), [])]
    assert capsys.readouterr().out == f"{run / 'model'}\n{Path('here', 'model')}\n"


@pytest.mark.parametrize(
    ("bundled", "said"), [([], "no model is bundled here"), (["large", "small"], "or one of large, small")]
)
def test_a_model_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bundled: list[str],
    said: str,
) -> None:
    from vitascope.hub import find as loading

    for name in bundled:
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model_index.json").touch()
    monkeypatch.setattr(loading.resources, "files", lambda package: tmp_path)
    assert cli.main(["info", "medium"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith("vitascope: error: no model 'medium': give a")
    assert said in captured.err
