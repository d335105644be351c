"""Emoji of tiny packages, and clips rendered from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.worlds.emoji.packages import NAMES, animate, config
from vitascope.data.emoji_packages import find_characters
from vitascope.data.render_emoji import prepare_emoji
from vitascope.worlds.emoji.scene import (
    Character,
)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages as `npm pack` and `tar` leave them, with a skin tone, a still and a thing without a name among them."""
    Image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("packages")
    for code in NAMES:
        animate(folder / "package" / "assets" / f"{code.lower()}.webp")
    animate(folder / "package" / "assets" / "1f9d1-1f3fb-200d-1f680.webp")
    Image.new("RGBA", (64, 64), (255, 0, 0, 255)).save(folder / "package" / "assets" / "1f41f.webp")
    for index, language in enumerate(("en", "zh")):
        entries = [{"hexcode": code, "label": names[index], "subgroup": names[2]} for code, names in NAMES.items()]
        entries += [
            {"hexcode": "1F41F", "label": ("fish", "鱼")[index], "subgroup": 38},
            {"hexcode": "1F9D1-1F3FB-200D-1F680", "label": ("astronaut", "宇航员")[index], "subgroup": 25},
        ]
        path = folder / "package" / language / "data.json"
        path.parent.mkdir()
        path.write_text(json.dumps(entries), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def characters(source: Path) -> tuple[Character, ...]:
    return find_characters(source)


@pytest.fixture(scope="session")
def reference(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_emoji(source, tmp_path_factory.mktemp("emoji"), config(), num_workers=1)
