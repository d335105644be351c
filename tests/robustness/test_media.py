"""Hostile media: a few bombs and mutations. `python -m benchmarks.robustness.bombs` and `.mutations` run many."""

from __future__ import annotations

import sys

import pytest

from benchmarks.robustness import bombs, mutations, watched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured through /proc")


def test_small_files_that_declare_much_are_refused() -> None:
    """Fails without limits before decoding: an 8000x8000 picture in 34 bytes took 1.8 GB."""
    names = ["zeros.png", "colour.webp", "medium.jpg", "frames.gif", "slow.gif", "medium.y4m", "gap.mkv", "picture.avi"]
    trials = bombs.check_bombs(names)
    assert sorted(trials) == sorted(names)
    for name, trial in trials.items():
        assert trial.outcome == "refused", (name, trial)
        assert trial.seconds < 10 * bombs.SECONDS, (name, trial)  # other tests run at the same time
        assert trial.overhead < watched.OVERHEAD, (name, trial)


def test_mutated_media_never_crash_hang_or_raise_untyped_errors() -> None:
    found = mutations.run_trials(3 * len(mutations.KINDS), seed=1)
    assert [(kind, mutation, trial) for kind, mutation, trial in found if trial.failed] == []
    assert {trial.outcome for *_, trial in found} == {"read", "refused"}


def test_a_crash_a_hang_and_memory_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch itself: a trial with each fault fails, and a typed error doesn't."""
    monkeypatch.setattr(watched, "_serve", _misbehave)
    monkeypatch.setattr(watched, "SECONDS_TO_ANSWER", 2.0)
    with watched.WatchedReader() as reader:
        outcomes = [reader.read(name) for name in ("crash", "hang", "large", "untyped", "refused")]  # type: ignore[arg-type]
    assert [trial.outcome for trial in outcomes] == ["crashed", "hung", "read", "untyped", "refused"]
    assert [trial.failed for trial in outcomes] == [True, True, True, True, False]


def _misbehave(connection, apart: bool) -> None:
    import os
    import time

    import numpy as np

    from vitascope.errors import MediaError
    from vitascope.video import process

    process.can_start = lambda: False

    def call() -> int:
        if name == "crash":
            os.abort()
        if name == "hang":
            time.sleep(60)
        if name == "large":
            return np.ones(100 * 2**20, np.uint8)[:1].nbytes
        raise MediaError("refused") if name == "refused" else KeyError(name)

    connection.send("ready")
    while True:
        name, *_ = connection.recv()
        connection.send(watched._measured(call))
