"""The Python blocks of the documentation: those of the README and the Python page run, all others are checked."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest

import vitascope
from tests.docs.pages import ROOT, blocks, name_of, pages
from tests.docs.test_commands import load_once

EXECUTED = ("README.md", "docs/python.md")
ELSEWHERE = (*EXECUTED, "docs/extending.md")  # test_extending.py
SMALLER = (("height=96, width=128, seconds=3", "height=32, width=48, seconds=1"), ("seconds=2", "seconds=1"))


@pytest.mark.parametrize("name", EXECUTED)
def test_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page are one program, run in an empty folder, with small sizes."""
    original = vitascope.load
    monkeypatch.setitem(vars(vitascope), "load", lambda *a, **options: load_once(original, *a, **options))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(ROOT / name, "python"):
        for shown, small in SMALLER:
            block = block.replace(shown, small)
        exec(compile(block, f"{name}: {block.splitlines()[0]}", "exec"), names)  # our own page
    assert list(tmp_path.glob("ball.mp4"))


@pytest.mark.parametrize(
    "page", [page for page in pages(with_log=False) if name_of(page) not in ELSEWHERE], ids=name_of
)
def test_other_blocks_import_what_exists(page: Path) -> None:
    for block in blocks(page, "python"):
        check(block)


def check(block: str) -> None:
    """Refuse a block that doesn't parse, or imports or calls a name of the package that doesn't exist."""
    tree = ast.parse(block)
    names: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name] = importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = imported(node.module, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            getattr(names[node.value.id], node.attr)


def imported(module: str, name: str) -> Any:
    """The object that `from module import name` gives."""
    parent = importlib.import_module(module)
    return getattr(parent, name) if hasattr(parent, name) else importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("block", ["import vitascope\nvitascope.loed()", "from vitascope.video import Vidio", "x = ("])
def test_a_wrong_block_is_noticed(block: str) -> None:
    with pytest.raises((AttributeError, ImportError, SyntaxError)):
        check(block)
