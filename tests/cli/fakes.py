"""A model behind `vitascope.load` that only remembers what it was asked."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vitascope.generate.requests import Generate, Request, Sampling


class FakePipeline:
    """Keeps the requests it is given, and yields two grey frames, one at a time."""

    def __init__(self) -> None:
        self.config = types.SimpleNamespace(fps=8.0)
        self.codec = types.SimpleNamespace(stride=types.SimpleNamespace(time=4))
        self.num_given = 0  # frames
        self.size = (16, 16)
        self.grid = types.SimpleNamespace(num_given_first=lambda timeline: self.num_given)
        self.models: list[str] = []
        self.loaded_with: list[dict[str, object]] = []
        self.requests: list[Request] = []
        self.samplings: list[Sampling] = []
        self.failure: BaseException | None = None
        self.fails_after = 0  # frames

    def plan(self, request: Request) -> Any:
        self.requests.append(request)
        is_image = isinstance(request, Generate) and request.num_frames == 1
        height, width = self.size
        return types.SimpleNamespace(num_frames=1 if is_image else 2, height=height, width=width, fps=8.0, sound=())

    def stream(
        self, timeline: Any, sampling: Sampling, on_progress: Callable[[int, int], None] | None = None
    ) -> Iterator[np.ndarray]:
        self.samplings.append(sampling)
        for number in range(timeline.num_frames):
            if self.failure is not None and number == self.fails_after:
                raise self.failure
            if on_progress is not None:
                on_progress(number, timeline.num_frames)
            yield np.full((1, *self.size, 3), 128, np.uint8)

    def card(self) -> dict[str, Any]:
        return {"name": "playground", "fps": 8.0, "limits": {"width": 256}, "languages": ["en", "中文"]}
