"""A command line with a fake model, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import vitascope
from tests.cli.fakes import FakePipeline

ABILITIES = {
    "generate": ("prompt",),
    "extend": ("video", "prompt"),
    "fill": ("video", "missing", "prompt"),
    "connect": ("before", "after", "prompt"),
    "loop": ("video", "prompt"),
    "edit": ("video", "prompt"),
}


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakePipeline:
    """A fake model behind `vitascope.load`, in an empty working folder."""
    from vitascope.generate import planning as abilities
    from vitascope.generate import storyboard

    fake = FakePipeline()

    def load(model: str = "playground", **options: object) -> FakePipeline:
        fake.models.append(model)
        fake.loaded_with.append(options)
        return fake

    monkeypatch.setitem(vars(vitascope), "load", load)
    for name, positional in ABILITIES.items():
        monkeypatch.setattr(abilities, name, fake.ability(name, positional))
    monkeypatch.setattr(storyboard, "lay_out", fake.ability("storyboard", ("storyboard",)))
    monkeypatch.chdir(tmp_path)
    return fake
