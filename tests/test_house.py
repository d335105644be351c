"""The checkout's own promises: the script behind make, the pins, the floors, the README's tree."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vitascope
from scripts import house

ROOT = Path(__file__).parents[1]


class Shell:
    """Stands in for the commands that the script would run, and keeps them."""

    def __init__(self) -> None:
        self.steps: list[list[str]] = []
        self.failing = ""

    def step(self, failure: str, *words: str | Path, quiet: bool = False) -> None:
        self.steps.append([str(word) for word in words])
        if self.failing and self.failing in self.steps[-1]:
            raise house.HouseError(failure)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """A copy of the checkout's two files in a folder of its own, where commands are kept instead of run."""
    fake = Shell()
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(house, "ROOT", tmp_path)
    monkeypatch.setattr(house, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(house, "STAMP", tmp_path / ".venv" / "stamp.json")
    monkeypatch.setattr(house, "step", fake.step)
    monkeypatch.setattr(house, "runs", lambda *words, **variables: True)
    monkeypatch.setattr(house, "make_venv", lambda: house.VENV.mkdir(exist_ok=True))
    return fake


def installed(shell: Shell) -> list[str]:
    """What pip was told to install, in order."""
    return [words[-1] for words in shell.steps if "pip" in words]


def test_the_script_needs_nothing_but_python() -> None:
    tree = ast.parse((ROOT / "scripts" / "house.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= set(sys.stdlib_module_names)


def test_a_second_demo_does_not_touch_pip(shell: Shell) -> None:
    """Fails when the stamp is not written, or not read: the demo would then need the network each time."""
    assert house.main(["demo"]) == 0
    assert house.main(["demo", "a cat"]) == 0
    assert installed(shell) == ["."]
    assert [words[-1] for words in shell.steps if "generate" in words] == [house.PROMPT, "a cat"]


def test_what_is_installed_for_tests_serves_the_demo(shell: Shell) -> None:
    house.install("test")
    house.install("")
    house.install("dev")
    house.install("test")
    assert installed(shell) == [".[test]", ".[dev]"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_installs_again(shell: Shell, tmp_path: Path, name: str) -> None:
    house.install("test")
    with (tmp_path / name).open("a") as file:
        file.write("# changed\n")
    house.install("test")
    assert installed(shell) == [".[test]", ".[test]"]


def test_a_failed_installation_is_not_taken_for_done(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    house.install("")
    shell.failing = "pip"
    assert house.main(["test"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("house: error: pip could not install")
    assert captured.err.count("\n") == 1
    shell.failing = ""
    assert house.main(["demo"]) == 0
    assert installed(shell) == [".", ".[test]", "."]


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"fingerprint": 1}'])
def test_a_damaged_stamp_installs_again(shell: Shell, damage: str) -> None:
    house.install("")
    house.STAMP.write_text(damage)
    house.install("")
    assert installed(shell) == [".", "."]
    assert json.loads(house.STAMP.read_text())["extras"] == ""


def test_a_prompt_is_one_argument_whatever_it_holds(shell: Shell) -> None:
    assert house.main(["demo", "--", "--seed 'x' 猫"]) == 0
    assert shell.steps[-1][-2:] == ["--", "--seed 'x' 猫"]


def test_an_empty_prompt_is_the_default_one(shell: Shell) -> None:
    assert house.main(["demo", "--", ""]) == 0
    assert shell.steps[-1][-1] == house.PROMPT


def test_options_after_test_go_to_pytest(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house, "prepare_rendering", lambda: None)
    assert house.main(["test", "--", "-k", "cli"]) == 0
    assert shell.steps[-1][1:] == ["-m", "pytest", "-k", "cli"]


def test_check_runs_every_tool(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house, "prepare_rendering", lambda: None)
    assert house.main(["check"]) == 0
    tools = [Path(words[0]).stem for words in shell.steps[1:]]
    assert tools == ["ruff", "ruff", "pyright", "lint-imports", "python"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems bring their own OpenGL")
@pytest.mark.parametrize("is_root", [True, False])
def test_a_missing_egl_is_installed_or_named(
    is_root: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(house, "can_render", lambda: False)
    monkeypatch.setattr(house.os, "geteuid", lambda: 0 if is_root else 1000)
    monkeypatch.setattr(house.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(house.subprocess, "run", lambda words, **options: ran.append(words))
    house.prepare_rendering()
    assert [words[1] for words in ran] == (["update", "install"] if is_root else [])
    assert "type: sudo apt-get install" in capsys.readouterr().out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems bring their own OpenGL")
def test_only_rendering_tests_are_skipped_without_opengl(tmp_path: Path) -> None:
    """With a backend that doesn't exist: the marked test is skipped and named, the other one runs."""
    marked = "@pytest.mark.rendering\ndef test_draws():\n    raise OSError\n"
    (tmp_path / "test_two.py").write_text(f"import pytest\n\n{marked}\ndef test_counts():\n    pass\n")
    environment = {**os.environ, "MUJOCO_GL": "nonsense", "PYTHONPATH": str(ROOT)}
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert "1 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert "neither EGL nor OSMesa" in done.stdout


@pytest.mark.skipif(shutil.which("make") is None or os.name == "nt", reason="needs make")
@pytest.mark.parametrize("prompt", ["a cat", 'it\'s "red" $HOME $(x) `id` #1; 猫', ""])
def test_make_passes_the_prompt_as_it_is(prompt: str) -> None:
    python = f"{sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[1:]))'"
    words = ["make", "-s", "demo", f"PYTHON={python}", f"PROMPT={prompt}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert json.loads(done.stdout) == ["scripts/house.py", "demo", "--", prompt]


@pytest.mark.skipif(shutil.which("bash") is None or os.name == "nt", reason="needs bash")
def test_the_integration_script_can_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def project() -> dict[str, object]:
    """The [project] table."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pinned() -> dict[str, str]:
    """Package to version, as constraints.txt has them."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_requirement_is_pinned() -> None:
    extras = project()["optional-dependencies"]
    assert isinstance(extras, dict)
    requirements = [*project()["dependencies"], *(line for extra in extras.values() for line in extra)]  # type: ignore[misc]
    names = {re.split(r"[\[<>=~! ]", line)[0] for line in requirements} - {"vitascope"}
    assert names <= set(pinned())
    assert pinned()["torch"] == "2.13.0"


def test_nothing_that_replaces_torch_is_required() -> None:
    banned = {"torchvision", "lpips", "timm", "open-clip-torch", "pyiqa", "torch-fidelity", "decord", "torchcodec"}
    assert not banned & set(pinned())


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)


def test_lower_floors_never_import_higher_ones() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("config.py", "from vitascope.data import shelf"),
        ("model/upward.py", "from vitascope.generate import shelf"),
        ("codec/sideways.py", "from vitascope.model import shelf"),
        ("homeless.py", "import math"),
    ],
)
def test_the_contract_notices(tmp_path: Path, module: str, line: str) -> None:
    """The twin of the test above: an import upwards, one sideways, or a module without a floor breaks the contract."""
    ignore = shutil.ignore_patterns("__pycache__", "models")
    shutil.copytree(ROOT / "vitascope", tmp_path / "vitascope", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "vitascope" / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert Path(module).stem in done.stdout


def tree_of_the_readme() -> set[str]:
    """The names that the README's tree lists directly below `vitascope/`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```\nvitascope/.*?\n(.*?)^\S", text, re.DOTALL | re.MULTILINE)
    assert block, "the README has no tree that starts with vitascope/"
    return set(re.findall(r"^  (\S+)", block[1], re.MULTILINE))


def test_the_readme_tree_equals_the_files() -> None:
    """Fails when a module or a folder is added, renamed or removed without the README."""
    package = ROOT / "vitascope"
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {f"{path.name}/" for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert tree_of_the_readme() == modules | folders


def test_the_version_is_in_the_changelog() -> None:
    assert f"## [{vitascope.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_installed_command_is_there() -> None:
    module, _, function = project()["scripts"]["vitascope"].partition(":")  # type: ignore[index]
    assert callable(getattr(importlib.import_module(module), function))
