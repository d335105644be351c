"""Checks of the checkout: scripts/dev.py, the pinned versions and the import contract."""

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
from scripts import dev

ROOT = Path(__file__).parents[1]


class Shell:
    """Records the commands that the script would run."""

    def __init__(self) -> None:
        self.steps: list[list[str]] = []
        self.failing = ""

    def step(self, failure: str, *words: str | Path, quiet: bool = False) -> None:
        self.steps.append([str(word) for word in words])
        if self.failing and self.failing in self.steps[-1]:
            raise dev.StepError(failure)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """Returns a recorder of commands, with copies of the checkout's two files in a temporary folder."""
    fake = Shell()
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(dev, "STAMP", tmp_path / ".venv" / "stamp.json")
    monkeypatch.setattr(dev, "step", fake.step)
    monkeypatch.setattr(dev, "runs", lambda *words, **variables: True)
    monkeypatch.setattr(dev, "make_venv", lambda: dev.VENV.mkdir(exist_ok=True))
    return fake


def installed(shell: Shell) -> list[str]:
    """Returns the targets of all pip installations, in order."""
    return [words[-1] for words in shell.steps if "pip" in words]


def test_the_script_needs_nothing_but_python() -> None:
    tree = ast.parse((ROOT / "scripts" / "dev.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= set(sys.stdlib_module_names)


def test_a_second_demo_does_not_touch_pip(shell: Shell) -> None:
    """Fails when the stamp is not written, or not read: the demo would then need the network each time."""
    assert dev.main(["demo"]) == 0
    assert dev.main(["demo", "a cat"]) == 0
    assert installed(shell) == ["."]
    assert [words[-1] for words in shell.steps if "generate" in words] == [dev.PROMPT, "a cat"]


def test_extras_installed_for_tests_serve_the_demo(shell: Shell) -> None:
    dev.install("test")
    dev.install("")
    dev.install("dev")
    dev.install("test")
    assert installed(shell) == [".[test]", ".[dev]"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_installs_again(shell: Shell, tmp_path: Path, name: str) -> None:
    dev.install("test")
    with (tmp_path / name).open("a") as file:
        file.write("# changed\n")
    dev.install("test")
    assert installed(shell) == [".[test]", ".[test]"]


def test_a_failed_installation_is_not_taken_for_done(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    dev.install("")
    shell.failing = "pip"
    assert dev.main(["test"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("dev: error: pip could not install")
    assert captured.err.count("\n") == 1
    shell.failing = ""
    assert dev.main(["demo"]) == 0
    assert installed(shell) == [".", ".[test]", "."]


def test_the_documentation_has_an_installation_of_its_own(shell: Shell) -> None:
    """Fails if `docs` is taken for a part of `test`, whose environment has no mkdocs."""
    dev.install("test")
    assert dev.main(["docs"]) == 0
    assert installed(shell) == [".[test]", ".[docs]"]
    assert [Path(shell.steps[-1][0]).stem, *shell.steps[-1][1:]] == ["mkdocs", "build", "--strict"]


def test_gpu_tests_are_selected_by_their_mark(shell: Shell) -> None:
    assert dev.main(["test-gpu", "--", "-x"]) == 0
    assert shell.steps[-1][1:] == ["-m", "pytest", "-m", "gpu", "-x"]


def test_words_after_bench_go_to_the_benchmarks(shell: Shell) -> None:
    assert dev.main(["bench", "--", "steps", "--repeats", "3"]) == 0
    assert shell.steps[-1][1:] == ["-m", "benchmarks", "steps", "--repeats", "3"]
    assert dev.main(["bench-test"]) == 0
    assert shell.steps[-1][1:] == ["-m", "pytest", "benchmarks/tests"]


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"fingerprint": 1}'])
def test_a_damaged_stamp_installs_again(shell: Shell, damage: str) -> None:
    dev.install("")
    dev.STAMP.write_text(damage)
    dev.install("")
    assert installed(shell) == [".", "."]
    assert json.loads(dev.STAMP.read_text())["extras"] == ""


def test_a_prompt_is_one_argument_whatever_it_holds(shell: Shell) -> None:
    assert dev.main(["demo", "--", "--seed 'x' 猫"]) == 0
    assert shell.steps[-1][-2:] == ["--", "--seed 'x' 猫"]


def test_an_empty_prompt_is_the_default_one(shell: Shell) -> None:
    assert dev.main(["demo", "--", ""]) == 0
    assert shell.steps[-1][-1] == dev.PROMPT


def test_options_after_test_go_to_pytest(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "prepare_rendering", lambda: None)
    assert dev.main(["test", "--", "-k", "cli"]) == 0
    assert shell.steps[-1][1:] == ["-m", "pytest", *dev.PARALLEL, "-k", "cli"]


def test_check_runs_every_tool(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "prepare_rendering", lambda: None)
    assert dev.main(["check"]) == 0
    tools = [Path(words[0]).stem for words in shell.steps[1:]]
    assert tools == ["ruff", "ruff", "pyright", "lint-imports", *["python"] * len(dev.MOST_FILES), "mkdocs", "python"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems bring their own OpenGL")
@pytest.mark.parametrize("is_root", [True, False])
def test_a_missing_egl_is_installed_or_named(
    is_root: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(dev, "can_render", lambda: False)
    monkeypatch.setattr(dev.os, "geteuid", lambda: 0 if is_root else 1000)
    monkeypatch.setattr(dev.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(dev.subprocess, "run", lambda words, **options: ran.append(words))
    dev.prepare_rendering()
    assert [words[1] for words in ran] == (["update", "install"] if is_root else [])
    assert "run them: sudo apt-get install" in capsys.readouterr().out


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
    assert json.loads(done.stdout) == ["scripts/dev.py", "demo", "--", prompt]


@pytest.mark.skipif(shutil.which("make") is None or os.name == "nt", reason="needs make")
def test_make_passes_the_words_of_bench_one_by_one() -> None:
    python = f"{sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[1:]))'"
    words = ["make", "-s", "bench", f"PYTHON={python}", "BENCH=steps decode-32 --repeats 3"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert json.loads(done.stdout) == ["scripts/dev.py", "bench", "--", "steps", "decode-32", "--repeats", "3"]


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


def test_lower_layers_never_import_higher_ones() -> None:
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
    """Counterpart of the test above: an upward import, a sideways import or an unlisted module breaks the contract."""
    ignore = shutil.ignore_patterns("__pycache__", "models")
    shutil.copytree(ROOT / "vitascope", tmp_path / "vitascope", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "vitascope" / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert Path(module).stem in done.stdout


def test_the_version_is_in_the_changelog() -> None:
    assert f"## [{vitascope.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_installed_command_is_there() -> None:
    module, _, function = project()["scripts"]["vitascope"].partition(":")  # type: ignore[index]
    assert callable(getattr(importlib.import_module(module), function))
