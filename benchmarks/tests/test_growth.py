"""Growth reports the time per frame and the memory of a backend in processes of its own."""

import json
import os
import time

import numpy as np
import pytest

from benchmarks.growth import Decoding, Growth, measure_growth
from benchmarks.report import BenchmarkReport
from vitascope.errors import ModelError

MEGABYTE = 1 << 20


def decode_some_or_all(backend, num_frames):
    """Ours holds one frame of a megabyte at a time; the peer keeps all of them and slows down."""

    def ours():
        for _ in range(num_frames):
            time.sleep(0.004)
            np.ones(MEGABYTE, np.uint8)

    def peer():
        kept = []
        for number in range(num_frames):
            time.sleep(0.002 * number)
            kept.append(np.ones(MEGABYTE, np.uint8))

    return ours if backend == "ours" else peer


def test_growth_in_time_and_memory_is_noticed():
    """Fails when a process's memory includes what it held before, or a short video is timed with its start."""
    seen = []
    ours, peer = measure_growth(decode_some_or_all, (20, 60), 2, on_progress=lambda *done: seen.append(done))
    assert (ours.backend, ours.short.num_frames, ours.long.num_frames) == ("ours", 20, 60)
    assert ours.time < 1.6
    assert abs(ours.long.memory - ours.short.memory) < 8 * MEGABYTE
    assert peer.time > 2
    assert peer.memory == pytest.approx(3, abs=0.5)
    assert peer.verdict == "not reached"
    assert seen == [(number, 8) for number in range(1, 9)]


@pytest.mark.parametrize(
    ("long", "verdict"),
    [
        (Decoding(100, 1.09, 21.0), "reached"),
        (Decoding(100, 1.11, 21.0), "not reached"),
        (Decoding(100, 1.0, 23.0), "not reached"),
        (Decoding(100, 1.0, float("nan")), "not reached"),  # not known
    ],
)
def test_a_report_says_if_growth_is_within_a_tenth(long, verdict, tmp_path):
    report = BenchmarkReport([], {}, (Growth("ours", Decoding(10, 0.1, 20.0), long), Growth("peer", long, long)))
    assert report.growths[0].verdict == verdict
    report.write(tmp_path)
    own, of_peer = json.loads((tmp_path / "benchmarks.json").read_text(), parse_constant=pytest.fail)["growths"]
    assert (own["verdict"], own["backend"], own["short"]["memory"]) == (verdict, "ours", 20)
    assert (of_peer["backend"], of_peer["time"]) == ("diffusers", 1)
    assert "verdict" not in of_peer
    head, _, ours, peer = (tmp_path / "benchmarks.md").read_text().splitlines()
    assert head.startswith("| decoding | ms per frame of 10 | ms per frame of 100 |")
    assert f"at most 1.1, {verdict}" in ours
    assert peer.startswith("| diffusers |")
    assert "at most" not in peer
    assert len(report.lines()) == 2
    assert report.lines()[0].endswith(verdict)


def end_at_once(backend, num_frames):
    return lambda: os._exit(1)


def test_a_process_that_ends_raises():
    with pytest.raises(ModelError, match="ours: the process decoding 20 frames has ended"):
        measure_growth(end_at_once, (20, 60), 1)
