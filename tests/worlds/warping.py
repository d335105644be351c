"""Check of optical flow: the next frame, sampled where flow points, looks like this one."""

from __future__ import annotations

import numpy as np

from vitascope.worlds.frame import Maps


def warp_error(frames: np.ndarray, maps: Maps) -> tuple[float, float, float]:
    """(error after warping, error without, share of pixels) of visible pixels that move by more than half a pixel.

    Errors are mean absolute differences in levels of 255. A pixel is visible in the next frame if flow points to pixels
    of its own owner there.
    """
    assert maps.masks is not None
    assert maps.flow is not None
    moved, still, shares = [], [], []
    height, width = frames.shape[1:3]
    row, column = np.mgrid[:height, :width] + 0.5
    for now in range(len(frames) - 1):
        right, down = np.moveaxis(maps.flow[now], -1, 0)
        y, x = row + down - 0.5, column + right - 0.5
        moving = np.hypot(right, down) > 0.5
        inside = moving & (y >= 0) & (y < height - 1.01) & (x >= 0) & (x < width - 1.01)
        top, left = np.clip(y, 0, height - 1.01).astype(int), np.clip(x, 0, width - 1.01).astype(int)
        corners = [(top + i, left + j) for i in (0, 1) for j in (0, 1)]
        same = np.all([maps.masks[now + 1][corner] == maps.masks[now] for corner in corners], axis=0)
        seen = inside & same
        share_y, share_x = y - top, x - left
        weights = [(share_y if i else 1 - share_y) * (share_x if j else 1 - share_x) for i in (0, 1) for j in (0, 1)]
        there = sum(w[..., None] * frames[now + 1][corner] for w, corner in zip(weights, corners, strict=True))
        moved.append(np.abs(there - frames[now])[seen].mean())
        still.append(np.abs(frames[now + 1].astype(float) - frames[now])[seen].mean())
        shares.append(seen.sum() / max(1, inside.sum()))
    return float(np.mean(moved)), float(np.mean(still)), float(np.mean(shares))
