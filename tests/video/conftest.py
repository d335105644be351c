"""Fixtures for tests of video files."""

from __future__ import annotations

import pytest

from vitascope.video import process


@pytest.fixture
def decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding in the process of the test, which changes its parts, as on systems that start no other process."""
    monkeypatch.setattr(process, "can_start", lambda: False)
