"""The documentation as the tests read it: pages, links, anchors, code blocks and shell commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import groupby, takewhile
from pathlib import Path

from scripts.verbs import steps

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def pages(*, with_log: bool = True) -> list[Path]:
    """Every page: the README, its neighbours and docs/. The log keeps the names of its day."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    found += sorted((ROOT / "docs").rglob("*.md"))
    return [page for page in found if with_log or page.parent.name != "log"]


def name_of(page: Path) -> str:
    """A page's path from the checkout's root, which names its tests."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language, in order."""
    text = page.read_text(encoding="utf-8")
    return [body for _, kind, body in FENCE.findall(text) if kind == language]


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as mkdocs and GitHub derive them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower() for title in titles)
    return {re.sub(r"[\s]+", "-", title) for title in plain}


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each shell command of a page; comments, line breaks, here-documents and redirections removed."""
    for step in steps(page.read_text(encoding="utf-8")):
        lexer = shlex.shlex(step.partition(" << ")[0], posix=True, punctuation_chars=";&>")
        lexer.whitespace_split, lexer.commenters = True, ""
        for ends, words in groupby(lexer, lambda word: word in (";", "&&")):
            if not ends:
                yield list(takewhile(lambda word: word != ">", words))
