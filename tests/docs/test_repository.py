"""The repository's face: what hosts, package indexes and citations read."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.docs.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("name", ["LICENSE", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_the_usual_files_are_there(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").split()) > 20


def test_the_package_index_gets_urls_and_versions_of_python() -> None:
    assert {"Repository", "Documentation", "Issues"} <= PROJECT["urls"].keys()
    assert all(url.startswith("https://") for url in PROJECT["urls"].values())
    versions = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r":: Python :: 3\.\d+$", line)]
    assert len(versions) > 1


def test_pictures_of_the_readme_have_urls() -> None:
    """A package index shows README without the repository's files. Fails with relative pictures."""
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)|<img[^>]+src=\"([^\"]+)", (ROOT / "README.md").read_text("utf-8"))
    addresses = [one or other for one, other in pictures]
    assert addresses
    for address in addresses:
        assert address.startswith("https://")
        assert (ROOT / address.partition("/main/")[2]).is_file()


def test_every_system_and_python_is_tested() -> None:
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    for system in ("ubuntu", "macos", "windows"):
        assert f"{system}-latest" in workflow
    tested = re.search(r"python: \[(.*)\]", workflow)
    assert tested is not None
    classified = {line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", line)}
    assert set(re.findall(r"3\.\d+", tested[1])) == classified


def test_the_citation_is_that_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for field in ("cff-version", "message", "title", "authors", "version", "license", "repository-code"):
        assert re.search(rf"^{field}:", citation, re.MULTILINE), field
    package = (ROOT / "vitascope" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "([^"]+)"', package)
    assert version is not None
    assert f"\nversion: {version[1]}\n" in citation
    assert PROJECT["urls"]["Repository"] in citation
