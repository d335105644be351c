"""Growth is told of what a side does in processes of its own: its time a frame and its memory."""

import json
import time

import numpy as np
import pytest

from vitascope.evaluate.speed import Decoding, Growth, SpeedReport
from vitascope.evaluate.speed_growth import measure_growth

MEGABYTE = 1 << 20


def decode_some_or_all(side, num_frames):
    """Ours takes a frame of a megabyte at a time and drops it, the peer keeps them all and slows down."""

    def ours():
        for _ in range(num_frames):
            time.sleep(0.004)
            np.ones(MEGABYTE, np.uint8)

    def peer():
        kept = []
        for number in range(num_frames):
            time.sleep(0.002 * number)
            kept.append(np.ones(MEGABYTE, np.uint8))

    return ours if side == "ours" else peer


def test_growth_in_time_and_memory_is_noticed():
    """Fails when a process's memory includes what it held before, or a short video is timed with its start."""
    seen = []
    ours, peer = measure_growth(decode_some_or_all, (20, 60), 1, on_progress=lambda *done: seen.append(done))
    assert (ours.side, ours.short.num_frames, ours.long.num_frames) == ("ours", 20, 60)
    assert ours.time == pytest.approx(1, abs=0.25)
    assert abs(ours.long.memory - ours.short.memory) < 8 * MEGABYTE
    assert peer.time > 2
    assert peer.memory == pytest.approx(3, abs=0.5)
    assert peer.verdict == "not reached"
    assert seen == [(number, 4) for number in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("long", "verdict"),
    [
        (Decoding(100, 1.09, 21.0), "reached"),
        (Decoding(100, 1.11, 21.0), "not reached"),
        (Decoding(100, 1.0, 23.0), "not reached"),
        (Decoding(100, 1.0, float("nan")), "not reached"),  # not known
    ],
)
def test_a_report_tells_whether_growth_is_within_a_tenth(long, verdict, tmp_path):
    report = SpeedReport([], {}, (Growth("ours", Decoding(10, 0.1, 20.0), long), Growth("peer", long, long)))
    assert report.growths[0].verdict == verdict
    report.write(tmp_path)
    assert json.loads((tmp_path / "speed.json").read_text())["growths"][0]["verdict"] == verdict
    head, _, ours, peer = (tmp_path / "speed.md").read_text().splitlines()
    assert head.startswith("| decoding | ms a frame of 10 | ms a frame of 100 |")
    assert f"1.1 at most, {verdict}" in ours
    assert peer.startswith("| diffusers |")
    assert "at most" not in peer
    assert len(report.lines()) == 2
    assert report.lines()[0].endswith(verdict)
