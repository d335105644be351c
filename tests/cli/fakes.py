"""A model behind `vitascope.load` that only remembers what it was asked."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any


class FakeVideo:
    """As much of a video as the command line touches."""

    def save(self, path: Path) -> Path:
        path.write_text("video")
        return path


class FakePipeline:
    """Keeps what it is asked for."""

    def __init__(self) -> None:
        self.config = types.SimpleNamespace(fps=8.0)
        self.models: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.failure: BaseException | None = None

    def generate(self, prompt: str, **options: Any) -> FakeVideo:
        if self.failure is not None:
            raise self.failure
        options.pop("on_progress")(1, 2)
        self.asked.append({"prompt": prompt, **options})
        return FakeVideo()

    def card(self, *, measure: bool = False) -> dict[str, Any]:
        return {"name": "playground", "fps": 8.0, "limits": {"width": 256}, "languages": ["en", "中文"]}
