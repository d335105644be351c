"""The shell commands of the documentation: all are parsed, and those that generate are run with the bundled model."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

import vitascope
from scripts import dev
from scripts.verbs import generates, steps, use_steps
from tests.docs.pages import ROOT, commands, name_of, pages
from vitascope import cli
from vitascope.config import load_config

# Programs that aren't ours, whose use is not checked.
OTHERS = {"cat", "cd", "cp", "ffprobe", "for", "do", "done", "git", "mkdir", "npm", "sudo", "tar", "tensorboard"}


@pytest.mark.parametrize("page", pages(with_log=False), ids=name_of)
def test_commands_parse(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails for a verb, an option, a setting, an extra or a make target that doesn't exist."""
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        program, *arguments = words
        try:
            check(program, arguments)
        except (Exception, SystemExit) as error:  # argparse exits
            pytest.fail(f"{' '.join(words)}: {type(error).__name__} {error}")


def check(program: str, arguments: list[str]) -> None:
    """Refuse a command that could not work."""
    if program == "vitascope":
        check_verb(arguments)
    elif program == "make":
        targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert targets, "the Makefile lists no targets"
        assert arguments[0] in targets[1].split(), "no such target"
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for extras in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), "no such extra"
    elif program == "python":
        script, *options = arguments
        assert script in ("-", "-c", "-m") or (ROOT / script).is_file(), "no such script"
        if script == "scripts/dev.py":
            dev.parse(options)
    else:
        assert program in OTHERS, "an unknown program"


def check_verb(arguments: list[str]) -> None:
    """Parse a verb's arguments; for `train` also the settings that it changes."""
    verb, *rest = arguments
    if verb == "--version":
        return
    action = cli._VERBS[verb]
    group = action
    if not isinstance(action, typer.Typer):
        group = typer.Typer(add_completion=False)
        group.command()(action)
    command: Any = get_command(group)  # type: ignore[arg-type]
    if isinstance(action, typer.Typer) and len(action.registered_commands) > 1:
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(verb, list(rest))
    if verb == "train":
        load_config(context.params["config"], _run_config(command.name), context.params["overrides"] or [])


def _run_config(network: str) -> type:
    from vitascope.judge.train import JudgeTrainConfig
    from vitascope.train.codec import CodecTrainConfig
    from vitascope.train.transformer import TransformerTrainConfig

    return {"codec": CodecTrainConfig, "transformer": TransformerTrainConfig, "judge": JudgeTrainConfig}[network]


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("vitascope", ["generate", "a cat", "--secondz", "2"]),
        ("vitascope", ["generat", "a cat"]),
        ("vitascope", ["train", "codec", "tiny-codec", "stepz=3"]),
        ("make", ["tea"]),
        ("pip", ["install", ".[wurld]"]),
        ("python", ["scripts/house.py", "demo"]),
        ("python", ["scripts/dev.py", "tea"]),
        ("curl", ["https://example.org"]),
    ],
)
def test_a_wrong_command_is_noticed(program: str, arguments: list[str]) -> None:
    """Counterpart of the test above."""
    with pytest.raises((Exception, SystemExit)):
        check(program, arguments)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One model for all commands, with small defaults: one sampling step, 9 frames of 32 x 32."""
    monkeypatch.setitem(vars(vitascope), "load", functools.partial(load_once, vitascope.load))


_LOADED: dict[bool, Any] = {}


def load_once(load: Any, model: object = "playground", *, weights: bool = True, **options: object) -> Any:
    """The bundled model in float32 on the CPU, with small defaults; other arguments are ignored."""
    if weights not in _LOADED:
        pipeline = load("playground", device="cpu", dtype="float32", weights=weights)
        quick = {"num_steps": 1, "guidance": 1.0, "height": 32, "width": 32, "num_frames": 9}
        pipeline.config = pipeline.config.model_copy(update=quick)
        _LOADED[weights] = pipeline
    return _LOADED[weights]


SMALLER = {("--size", "128x96"): "48x32", ("--seconds", "60"): "3", ("--seconds", "3"): "1", ("--seconds", "2"): "1"}


def small(words: list[str]) -> list[str]:
    """A command with smaller sizes and durations; a minute becomes three seconds, which still take several windows."""
    return [SMALLER.get((before, word), word) for before, word in zip(["", *words], words, strict=False)]


@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
@pytest.mark.parametrize("name", ["README.md", "docs/use.md"])
def test_the_commands_of_a_page_run_from_top_to_bottom_in_an_empty_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands that generate run in order; a file that no command has made ends the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    text = (ROOT / name).read_text(encoding="utf-8")
    todo = [step for step in (use_steps(text) if name == "README.md" else steps(text)) if "VITASCOPE_" not in step]
    written: list[str] = []
    for step in todo:
        if step.startswith("vitascope "):
            if not generates(step) and not step.startswith("vitascope run "):
                assert all(Path(file).exists() for file in re.findall(r"\S+\.(?:mp4|png|toml)\b", step)), step
                continue
            line, _, target = step.partition(" > ")
            assert cli.main(small(shlex.split(line)[1:])) == 0, f"{step}: {capsys.readouterr().err}"
            printed = capsys.readouterr().out
            if target:
                Path(target).write_text(printed, encoding="utf-8")
            else:
                written += printed.splitlines()
        else:
            subprocess.run(["sh", "-euc", step], check=True)
    generating = [step for step in todo if generates(step) and ">" not in step]
    assert len(generating) >= 14
    assert len(written) >= len(generating) + 1  # -n 2
    assert all((tmp_path / path).stat().st_size > 0 for path in written)


@pytest.mark.parametrize("name", ["README.md", "docs/use.md", "docs/footage.md"])
def test_datasets_and_runs_are_made_by_earlier_commands(name: str) -> None:
    made: set[str] = set()
    for step in steps((ROOT / name).read_text(encoding="utf-8")):
        for path in re.findall(r"(?:\bdata=|\binit=|--model |--real |prepare shards )((?:data|runs)/\S+)", step):
            assert any(path == each or path.startswith(f"{each}/") for each in made), step
        made |= set(re.findall(r"(?:--out|-o) (\S+)", step))
        made |= {f"runs/{stem}" for stem in re.findall(r"train \w+ (?:\S*/)?([\w-]+)", step)}


def test_steps_keep_here_documents_and_continued_lines_whole() -> None:
    page = "```sh\na b  # c\ncat > x << END\n[a]  # kept\nEND\nd \\\n    e\n# only a comment\n```\n"
    assert steps(page) == ["a b", "cat > x << END\n[a]  # kept\nEND", "d e"]


@pytest.mark.usefixtures("quick")
def test_a_request_is_dumped_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of docs/use.md under "Requests": one dumps, one runs the file, one runs the video's own request."""
    monkeypatch.chdir(tmp_path)
    lines = list(commands(ROOT / "docs" / "use.md"))
    (dump,) = (words for words in lines if "--dump-request" in words)
    run, again = (words for words in lines if words[1:2] == ["run"])
    assert cli.main(dump[1:]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["verb"] == "generate"
    (tmp_path / "request.json").write_text(text, encoding="utf-8")
    for words in (run, again):
        assert cli.main(words[1:]) == 0, capsys.readouterr().err
        assert (tmp_path / words[words.index("-o") + 1]).is_file()


@pytest.mark.usefixtures("quick")
def test_info_prints_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "playground"


def test_the_storyboards_load(tmp_path: Path) -> None:
    from vitascope.generate.requests import load_storyboard

    for page in (ROOT / "README.md", ROOT / "docs" / "use.md"):
        (step,) = (step for step in steps(page.read_text(encoding="utf-8")) if step.startswith("cat > robot.toml"))
        (tmp_path / "story.toml").write_text("\n".join(step.splitlines()[1:-1]), encoding="utf-8")
        assert len(load_storyboard(tmp_path / "story.toml").shots) == 3


@pytest.mark.skipif(shutil.which("mkdocs") is None, reason="needs the extra docs")
def test_the_site_builds(tmp_path: Path) -> None:
    words = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "site").glob("*.html")}
    assert {"index.html", "use.html", "architecture.html"} <= set(pages)
    outside = {url for text in pages.values() for url in re.findall(r'(?:src|<link[^>]*href)="(https?://[^"]+)"', text)}
    assert not outside, "the site loads something from elsewhere"
