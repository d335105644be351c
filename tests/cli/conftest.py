"""A command line with a fake model, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import vitascope
from tests.cli.fakes import FakePipeline


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakePipeline:
    """A fake model behind `vitascope.load`, in an empty working folder."""
    fake = FakePipeline()

    def load(model: str = "playground", **options: object) -> FakePipeline:
        fake.models.append(model)
        fake.loaded_with.append(options)
        return fake

    monkeypatch.setitem(vars(vitascope), "load", load)
    monkeypatch.chdir(tmp_path)
    return fake
