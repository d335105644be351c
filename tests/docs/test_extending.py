"""The examples of docs/extending.md: each diff is applied to a copy of the package, and its program is run there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.pages import FENCE, ROOT

PAGE = ROOT / "docs" / "extending.md"


class Example(NamedTuple):
    """A section of the page: an addition, the existing files it may change, its diff and the program that uses it."""

    title: str
    most_files: int
    diff: str
    program: str

    @property
    def existing_files(self) -> list[str]:
        """The files that the diff changes; those that it adds come from /dev/null."""
        return re.findall(r"^--- a/(\S+)", self.diff, re.MULTILINE)


def examples() -> list[Example]:
    """The examples, with the limits of the table at the top."""
    text = PAGE.read_text(encoding="utf-8")
    limits = dict(re.findall(r"^\| \[([^]]+)\]\(#[\w-]+\) \| (\d+) \|", text, re.MULTILINE))
    sections = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    found = []
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        fences = [(kind, block) for _, kind, block in FENCE.findall(body)]
        diff, program = ("".join(block for kind, block in fences if kind == wanted) for wanted in ("diff", "python"))
        found.append(Example(title, int(limits[title[0].lower() + title[1:]]), diff, program))
    return found


def test_every_kind_of_addition_has_an_example() -> None:
    titles = [example.title.split()[-1] for example in examples()]
    assert titles == ["sampler", "verb", "codec", "encoder", "source", "kernel"]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.title)
def test_few_existing_files_change(example: Example) -> None:
    assert 1 <= len(set(example.existing_files)) <= example.most_files


@pytest.fixture(scope="module")
def with_diffs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The error of each program, run against a copy of the package with all diffs applied; "" is none."""
    folder = tmp_path_factory.mktemp("extended")
    copy_package(folder)
    for example in examples():
        apply(example.diff, folder)
    return run_all(folder, folder)


@pytest.fixture(scope="module")
def without_diffs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The error of each program, run against the package as it is."""
    return run_all(ROOT, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.title)
def test_the_program_runs(example: Example, with_diffs: dict[str, str]) -> None:
    assert with_diffs[example.title] == ""


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.title)
def test_the_program_needs_the_diff(example: Example, without_diffs: dict[str, str]) -> None:
    """Counterpart of the test above: without its diff the program fails, so it does use what the diff adds."""
    assert without_diffs[example.title] != ""


def copy_package(folder: Path) -> None:
    """Copy the package, without weights, which are read where they are."""
    ignore = shutil.ignore_patterns("__pycache__", "models")
    shutil.copytree(ROOT / "vitascope", folder / "vitascope", ignore=ignore)
    try:
        (folder / "vitascope" / "models").symlink_to(ROOT / "vitascope" / "models", target_is_directory=True)
    except OSError:  # Windows without the right to make links
        shutil.copytree(ROOT / "vitascope" / "models", folder / "vitascope" / "models")


def apply(diff: str, folder: Path) -> None:
    """Apply a diff; its line numbers need not be right, its context must be."""
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    words = ["git", "apply", "--recount", "-C1", "-"]
    done = subprocess.run(
        words, cwd=folder, env=environment, input=diff, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr


# Runs each program in a folder of its own, and prints their errors as JSON.
RUNNER = """
import contextlib, io, json, os, sys, traceback
errors = {}
for title, program in json.load(sys.stdin).items():
    os.makedirs(title)
    os.chdir(title)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(program, title, "exec"), {})
        errors[title] = ""
    except BaseException:
        errors[title] = traceback.format_exc()
    os.chdir("..")
print(json.dumps(errors))
"""


def run_all(package: Path, folder: Path) -> dict[str, str]:
    """The error of each program against the package in a folder, all in one process."""
    programs = json.dumps({example.title: example.program for example in examples()})
    environment = {**os.environ, "PYTHONPATH": str(package)}
    words = [sys.executable, "-c", RUNNER]
    done = subprocess.run(
        words, cwd=folder, env=environment, input=programs, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    return json.loads(done.stdout)
