"""Augmentation of training clips."""

from __future__ import annotations

import torch

from vitascope.judge.augment import MIN_SHARE, WHOLE, Window, draw_window, framed


def test_the_whole_window_changes_nothing():
    clip = torch.rand((3, 2, 8, 12), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(framed(clip, WHOLE), clip)


def test_a_window_shows_its_part_at_the_size_of_the_whole():
    """Fails when rows are taken for columns, or the window lies elsewhere."""
    clip = torch.zeros(3, 2, 16, 16)
    clip[:, :, 8:, :4] = 1  # below on the left
    assert framed(clip, Window(0.6, 0.05, 0.1)).min() > 0.99
    assert framed(clip, Window(0.0, 0.0, 0.4)).abs().max() < 0.01
    assert framed(clip, Window(0.5, 0.3, 0.5)).abs().max() < 0.01


def test_windows_are_inside_and_differ():
    generator = torch.Generator().manual_seed(1)
    windows = [draw_window(generator) for _ in range(200)]
    assert len(set(windows)) == 200
    for top, left, share in windows:
        assert MIN_SHARE <= share <= 1
        assert min(top, left) >= 0
        assert max(top, left) + share <= 1 + 1e-6
