"""Every link, path, file, function, option and setting that the documentation names exists."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from tests.docs.pages import ROOT, anchors, blocks, name_of, pages, prose
from vitascope import cli
from vitascope.config import Config

FOLDERS = ("vitascope", "tests", "scripts", "docs", "benchmarks", ".github")
OTHER_PROGRAMS = {"--extra-index-url", "--logdir", "--strict"}  # options of pip, TensorBoard and mkdocs


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", pages(with_log=False), ids=name_of)
def test_named_files_exist(page: Path) -> None:
    pattern = rf"`((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*)`"
    assert not [name for name in re.findall(pattern, prose(page)) if not (ROOT / name).exists()]


def test_files_named_in_the_code_exist() -> None:
    """Docstrings and messages refer to pages; a renamed page must not leave them behind."""
    files = [path for folder in ("vitascope", "scripts") for path in (ROOT / folder).rglob("*")]
    sources = [path for path in files if path.suffix in (".py", ".pyi", ".toml")]
    named = {name for path in sources for name in re.findall(r"docs/[\w/.-]+\.md", path.read_text(encoding="utf-8"))}
    assert named, "no page is named in the code; is the pattern still right?"
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def steps() -> Iterator[tuple[str, str]]:
    """(module, name) of each row of the architecture page's tables."""
    rows = re.findall(r"^\|[^|]+\| `vitascope/([\w/]+)\.py` \| `(\w+)` \|", _architecture(), re.MULTILINE)
    return ((f"vitascope.{path.replace('/', '.')}", name) for path, name in rows)


def test_the_steps_of_the_architecture_page_exist() -> None:
    found = list(steps())
    assert len(found) > 20
    assert not [step for step in found if not hasattr(importlib.import_module(step[0]), step[1])]


def test_the_package_tree_equals_the_files() -> None:
    """Fails if a module or a folder is added, renamed or removed without the page."""
    block = re.search(r"^```\nvitascope/\n(.*?)^```", _architecture(), re.DOTALL | re.MULTILINE)
    assert block, "docs/architecture.md has no tree that starts with vitascope/"
    package = ROOT / "vitascope"
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {f"{path.name}/" for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(re.findall(r"^  (\S+)", block[1], re.MULTILINE)) == modules | folders


def test_the_layers_equal_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    shown = next(block for block in blocks(ROOT / "docs" / "architecture.md", "") if "__main__" in block)
    assert [set(re.findall(r"\w+", line)) for line in shown.strip().splitlines()] == [
        set(re.findall(r"\w+", layer)) for layer in layers
    ]


@pytest.mark.parametrize("page", pages(with_log=False), ids=name_of)
def test_options_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"`(--[a-z][a-z-]+)", prose(page)))
    assert not named - known_options(capsys) - OTHER_PROGRAMS


def known_options(capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The options of every verb, as its help prints them."""
    if not _OPTIONS:
        for verb in ([], *([name] for name in verbs()), *([group, name] for group, name in groups())):
            cli.main([*verb, "--help"])
            _OPTIONS.update(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    return _OPTIONS


_OPTIONS: set[str] = set()


def verbs() -> list[str]:
    """The verbs that `vitascope --help` lists."""
    return list(cli._VERBS)


def groups() -> Iterator[tuple[str, str]]:
    """(group, verb) of verbs such as `train codec`."""
    for group, action in cli._VERBS.items():
        if isinstance(action, typer.Typer):
            for command in action.registered_commands:
                assert command.name is not None
                yield group, command.name


def test_every_verb_is_documented() -> None:
    text = (ROOT / "docs" / "use.md").read_text(encoding="utf-8") + (ROOT / "docs" / "train.md").read_text(
        encoding="utf-8"
    )
    missing = [verb for verb in verbs() if f"vitascope {verb}" not in text]
    missing += [f"{group} {verb}" for group, verb in groups() if f"{group} {verb}" not in text]
    assert not missing


def test_settings_exist() -> None:
    """Every key in the tables of settings is a field of a run's config."""
    from vitascope.judge.train import JudgeTrainConfig
    from vitascope.train.codec import CodecTrainConfig
    from vitascope.train.transformer import TransformerTrainConfig

    keys = table_keys("train.md", "Settings")
    fields = setting_names(TransformerTrainConfig) | setting_names(CodecTrainConfig)
    assert len(keys) > 20
    assert "loss.squared" in keys
    assert not {key.removesuffix(".*") for key in keys} - fields
    assert not table_keys("judge.md", "Train, evaluate and bundle a judge") - setting_names(JudgeTrainConfig)


def setting_names(config: type[Config]) -> set[str]:
    """Names of a config's fields, and `table.field` of those in its tables."""
    names = set(config.model_fields)
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            names |= {f"{name}.{inner}" for inner in field.annotation.model_fields}
    return names


def table_keys(page: str, heading: str) -> set[str]:
    """The keys in the first column of the tables under a heading."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`([\w.*]+)`", cell)}


def test_every_page_is_in_the_navigation() -> None:
    tree = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    shown = set(_leaves(tree["nav"]))
    assert shown == {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}


def _leaves(tree: object) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _leaves(child)


def test_the_site_works_offline() -> None:
    """No font service, no script from elsewhere: fails if a page or a setting names one."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["theme"]["font"] is False
    assert "extra_javascript" not in text
    assert not [
        name_of(page) for page in pages() if "<script" in prose(page) or "```mermaid" in page.read_text("utf-8")
    ]


def _architecture() -> str:
    return (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
