"""A model behind `vitascope.load` that only remembers what it was asked."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class FakePipeline:
    """Keeps what it is asked for, and makes two grey frames, one at a time."""

    def __init__(self) -> None:
        self.config = types.SimpleNamespace(fps=8.0)
        self.num_given = 0  # frames
        self.size = (16, 16)
        self.lattice = types.SimpleNamespace(num_given_first=lambda timeline: self.num_given)
        self.models: list[str] = []
        self.loaded_with: list[dict[str, object]] = []
        self.asked: list[dict[str, Any]] = []
        self.failure: BaseException | None = None
        self.fails_after = 0  # frames

    def ability(self, name: str, positional: tuple[str, ...]) -> Callable[..., object]:
        """A stand-in for a function of `generate/abilities.py`."""

        def asked(lattice: object, config: object, *arguments: Any, **options: Any) -> object:
            assert (lattice, config) == (self.lattice, self.config)
            given = dict(zip(positional, arguments, strict=True))
            self.asked.append({"ability": name, **given, **options})
            num_frames = 1 if options.get("num_frames") == 1 else 2
            return types.SimpleNamespace(num_frames=num_frames, height=self.size[0], width=self.size[1], fps=8.0)

        return asked

    def stream(self, timeline: Any, sampling: Any, on_progress: Callable[[int, int], None]) -> Iterator[np.ndarray]:
        self.asked.append(vars(sampling))
        for number in range(timeline.num_frames):
            if self.failure is not None and number == self.fails_after:
                raise self.failure
            on_progress(number, timeline.num_frames)
            yield np.full((1, *self.size, 3), 128, np.uint8)

    def card(self, *, measure: bool = False) -> dict[str, Any]:
        return {"name": "playground", "fps": 8.0, "limits": {"width": 256}, "languages": ["en", "中文"]}
