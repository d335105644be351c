"""Large frames are converted in bands of rows: equal to the conversion of the whole, in less memory."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from vitascope.video import pixels
from vitascope.video.pixels import UPRIGHT, BandConverter, Orientation, displayed_size, upright_pixels


def noise(pix_fmt: str, height: int, width: int) -> av.VideoFrame:
    """A frame of random bytes, or of random samples of the format's depth."""
    frame, rng = av.VideoFrame(width, height, pix_fmt), np.random.default_rng(0)
    for plane in frame.planes:
        if "10le" in pix_fmt:
            samples = rng.integers(0, 1024, plane.buffer_size // 2).astype("<u2").tobytes()
        else:
            samples = rng.integers(0, 256, plane.buffer_size, dtype=np.uint8).tobytes()
        plane.update(samples)
    return frame


def assert_equal(frame: av.VideoFrame, turned: Orientation, num_blocks: int) -> None:
    size = displayed_size(frame, Fraction(1), turned)
    blocks = list(BandConverter().blocks(frame, size, turned))
    found = np.zeros((*size, 3), np.uint8)
    for top, left, rgb in blocks:
        found[top : top + rgb.shape[0], left : left + rgb.shape[1]] = rgb
    assert len(blocks) == num_blocks
    assert np.array_equal(found, upright_pixels(frame, VideoReformatter(), size, turned))


@pytest.fixture(autouse=True)
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of 64 rows of 66 pixels."""
    monkeypatch.setattr(pixels, "BAND_PIXELS", 66 * 64)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv422p10le", "yuv410p", "nv12", "rgb24", "yuva420p"])
@pytest.mark.parametrize("height", [252, 732])  # untagged colours are BT.709 from 720 rows upwards
def test_bands_equal_the_whole(pix_fmt: str, height: int) -> None:
    """Fails without rows around a band: the chroma of its first and last rows has other neighbours."""
    assert_equal(noise(pix_fmt, height, 66), UPRIGHT, -(-height // 64))


@pytest.mark.parametrize("bits", list(itertools.product((False, True), repeat=3)))
def test_turned_bands_equal_the_whole(bits: tuple[bool, bool, bool]) -> None:
    assert_equal(noise("yuv420p", 252, 66), Orientation(*bits), 4)


def test_hdr_bands_equal_the_whole() -> None:
    frame = noise("yuv420p10le", 252, 66)
    frame.color_trc, frame.color_primaries, frame.colorspace = 16, 9, 9
    assert_equal(frame, UPRIGHT, 4)


@pytest.mark.parametrize(("pix_fmt", "num_blocks"), [("yuv420p", 1), ("yuv422p", 4)])
def test_odd_heights_of_chroma_are_converted_whole(pix_fmt: str, num_blocks: int) -> None:
    """swscale stretches the chroma of an odd height, so that bands would differ by a level."""
    assert_equal(noise(pix_fmt, 251, 66), UPRIGHT, num_blocks)
