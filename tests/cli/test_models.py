"""`vitascope info`: what it passes on, prints and refuses."""

from __future__ import annotations

import json
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
    from vitascope.hub import registry as loading

    for name in bundled:
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model_index.json").touch()
    monkeypatch.setattr(loading.resources, "files", lambda package: tmp_path)
    assert cli.main(["info", "medium"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith("vitascope: error: no model 'medium': give a")
    assert said in captured.err
