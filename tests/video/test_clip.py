"""Videos in memory: valid and invalid ones."""

from __future__ import annotations

import numpy as np
import pytest

from tests.video.pictures import numbered, smooth
from vitascope.errors import SizeError
from vitascope.video import Video


def test_a_video_knows_its_measures() -> None:
    video = Video(smooth(12, 64, 96), 24.0)
    assert (video.num_frames, video.height, video.width, video.duration) == (12, 64, 96, 0.5)


@pytest.mark.parametrize(
    ("frames", "fps"),
    [
        (np.zeros((2, 32, 32), np.uint8), 24.0),
        (np.zeros((2, 32, 32, 4), np.uint8), 24.0),
        (np.zeros((2, 32, 32, 3), np.float32), 24.0),
        (np.zeros((0, 32, 32, 3), np.uint8), 24.0),
        (np.zeros((2, 32, 32, 3), np.uint8), 0.0),
        (np.zeros((2, 32, 32, 3), np.uint8), float("nan")),
        (np.zeros((2, 32, 32, 3), np.uint8), 1e6),
    ],
)
def test_what_is_no_video_is_refused(frames: np.ndarray, fps: float) -> None:
    with pytest.raises(SizeError):
        Video(frames, fps)


def test_fit_crops_around_the_centre_before_it_resizes() -> None:
    """Fails when the picture is squeezed instead: the red margins would stay."""
    frames = np.zeros((2, 32, 96, 3), np.uint8)
    frames[..., 0] = 255
    frames[:, :, 32:64] = (0, 0, 255)
    fitted = Video(frames, 8.0).fit(48, 48)
    assert (fitted.frames.shape, fitted.fps) == ((2, 48, 48, 3), 8.0)
    assert np.abs(fitted.frames[:, :, 4:-4].astype(int) - (0, 0, 255)).max() <= 3
    tall = Video(frames.transpose(0, 2, 1, 3), 8.0).fit(16, 64)
    assert tall.frames.shape == (2, 16, 64, 3)
    assert np.abs(tall.frames.astype(int) - (0, 0, 255)).max() <= 3


def test_fit_to_its_own_size_changes_nothing() -> None:
    video = Video(smooth(3, 33, 50), 8.0)
    np.testing.assert_array_equal(video.fit(33, 50).frames, video.frames)


@pytest.mark.parametrize("size", [(8, 64), (64, -1), (10**5, 10**5)])
def test_fit_refuses_silly_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(SizeError, match="the size to fit"):
        Video(numbered(2), 8.0).fit(*size)
