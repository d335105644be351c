"""Detection of cuts in drawn clips."""

from __future__ import annotations

import numpy as np
import pytest

from vitascope.video.cuts import find_cuts, strongest_cuts


def shots(*lengths: int, grey: int = 0) -> np.ndarray:
    """Still pictures of noise, one after the other, or levels of grey that differ by so much."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in lengths]
    if grey:
        pictures = [np.full((32, 32, 3), 60 + grey * k, np.uint8) * [1, k % 2, 1] for k in range(len(lengths))]
    return np.concatenate([np.repeat(p[None], n, axis=0) for p, n in zip(pictures, lengths, strict=True)]).astype("u1")


@pytest.mark.parametrize("lengths", [(5, 4, 7), (8, 9), (12,)])
def test_as_many_cuts_are_found_as_there_are(lengths):
    starts = np.cumsum(lengths)[:-1].tolist()
    assert strongest_cuts(shots(*lengths), len(starts)) == starts


def test_the_strongest_come_first_and_faint_ones_when_asked_for():
    frames = shots(6, 6, 6)
    faint = frames[6:12].astype(int) * 0.1 + frames[:6] * 0.9
    frames = np.concatenate([frames[:6], faint.astype(np.uint8), frames[12:]])
    assert find_cuts(frames, 5.0) == [12]
    assert strongest_cuts(frames, 1) == [12]
    assert strongest_cuts(frames, 2) == [6, 12]


def test_no_shot_is_a_single_frame_and_short_videos_have_few():
    noise = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    found = strongest_cuts(noise, 9)
    assert found
    assert min(np.diff([0, *found, 6])) > 1
    assert strongest_cuts(noise[:1], 2) == []
    assert strongest_cuts(noise, 0) == []
    assert strongest_cuts(np.repeat(noise[:1], 9, axis=0), 2) == []  # a still has no cut, however many are asked for
