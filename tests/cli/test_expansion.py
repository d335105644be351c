"""`--expand`: the expanded prompt is used and printed, and a failing endpoint causes a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.fakes import FakePipeline
from vitascope import cli
from vitascope.errors import EndpointError
from vitascope.generate.expand import endpoint
from vitascope.generate.expand import rules as expand

STORY = '[[shots]]\ntext = "a robot waves"\nseconds = 1\n[[shots]]\ntext = "it jumps"\nseconds = 1\n'


@pytest.fixture(autouse=True)
def _no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "MODEL", "KEY"):
        monkeypatch.delenv(f"VITASCOPE_EXPAND_{name}", raising=False)


def test_a_prompt_is_used_as_it_is_unless_asked(pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "a cat"]) == 0
    assert pipeline.requests[0].prompt == "a cat"
    assert "expanded" not in capsys.readouterr().err


def test_the_fuller_prompt_is_used_and_printed(pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cat.png").touch()
    for words, options in (
        (["--seed", "4"], {}),
        (["--image", "cat.png"], {"has_pictures": True}),
        (["--frames", "1"], {"is_image": True}),
    ):
        assert cli.main(["generate", "a cat jumps", "--expand", *words]) == 0
        fuller = expand.expand("a cat jumps", 4 if not options else 0, **options)
        assert fuller != "a cat jumps"
        assert pipeline.requests[-1].prompt == fuller
        captured = capsys.readouterr()
        assert f"expanded: {fuller}\n" in captured.err
        assert captured.out.startswith("a-cat-jumps-")  # files are called what was typed


def test_a_storyboards_shots_are_printed_one_by_one(pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    Path("story.toml").write_text(STORY)
    assert cli.main(["storyboard", "story.toml", "--expand"]) == 0
    shots = pipeline.requests[0].shots
    assert [shot.text.split(" ")[-1] != "jumps" for shot in shots] == [True, True]
    printed = capsys.readouterr().err
    assert [f"expanded, shot {number}: {shot.text}\n" in printed for number, shot in enumerate(shots, 1)] == [True] * 2


def test_the_endpoint_of_the_environment_is_asked(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []
    monkeypatch.setenv("VITASCOPE_EXPAND_URL", "http://localhost:1/v1")
    monkeypatch.setenv("VITASCOPE_EXPAND_MODEL", "small")
    monkeypatch.setenv("VITASCOPE_EXPAND_KEY", "secret")
    monkeypatch.setattr(endpoint, "expand", lambda *words: asked.append(words) or "a very fine cat")
    assert cli.main(["generate", "a cat", "--expand"]) == 0
    assert asked == [(endpoint.Endpoint("http://localhost:1/v1", "small", "secret"), "a cat", 0)]
    assert pipeline.requests[0].prompt == "a very fine cat"
    assert "expanded: a very fine cat\n" in capsys.readouterr().err


def test_an_endpoint_that_fails_is_told_of_before_the_rule_takes_over(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> str:
        raise EndpointError("http://localhost:1 answered 500")

    monkeypatch.setenv("VITASCOPE_EXPAND_URL", "http://localhost:1")
    monkeypatch.setenv("VITASCOPE_EXPAND_MODEL", "small")
    monkeypatch.setattr(endpoint, "expand", fail)
    assert cli.main(["generate", "a cat", "--expand"]) == 0
    by_rule = expand.expand("a cat", 0)
    assert pipeline.requests[0].prompt == by_rule
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "vitascope: http://localhost:1 answered 500; expanded by rules instead",
        f"expanded: {by_rule}",
    ]


def test_an_endpoint_without_a_model_is_a_mistake(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VITASCOPE_EXPAND_URL", "http://localhost:1")
    assert cli.main(["generate", "a cat", "--expand"]) == 2
    assert "needs the name of a model" in capsys.readouterr().err
    assert pipeline.models == []
