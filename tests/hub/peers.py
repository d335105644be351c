"""Libraries that our networks are compared with, imported when a test first needs them: that takes seconds."""

from __future__ import annotations

from typing import Any

import pytest


class Peer:
    """A module that is imported with the first attribute read. Without it, the test is skipped."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(pytest.importorskip(self._name), attribute)


diffusers = Peer("diffusers")
single_file = Peer("diffusers.loaders.single_file_utils")
transformers = Peer("transformers")
