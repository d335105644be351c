"""Limits of reading: frames, pixels and seconds are checked before decoding, and memory stays near the result."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.pictures import numbered, smooth
from tests.video.test_reading import write_at
from tests.video.test_shown import encode
from vitascope.errors import MediaError, SizeError
from vitascope.video import Video, clip, conversion, opening, read_video, timing

pytestmark = pytest.mark.usefixtures("decoded_here")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[av.VideoFrame]:
    """Frames that were decoded so far."""
    frames: list[av.VideoFrame] = []
    original = timing._decodable
    monkeypatch.setattr(timing, "_decodable", lambda *a: (frames.append(frame) or frame for frame in original(*a)))
    return frames


def test_a_length_in_the_header_is_checked_before_decoding(tmp_path: Path, decoded: list, monkeypatch) -> None:
    path = Video(numbered(30), 10.0).save(tmp_path / "clip.mp4")
    monkeypatch.setattr(clip, "MAX_CLIP_FRAMES", 20)
    with pytest.raises(SizeError, match="or 20 frames; read a part"):
        read_video(path)
    with pytest.raises(SizeError, match="read a part"):
        read_video(path, fps=20, seconds=2)
    assert decoded == []
    assert read_video(path, seconds=2).num_frames == 20


def test_a_gap_of_hours_is_refused_whole_and_read_in_parts(tmp_path: Path, decoded: list) -> None:
    """Fails when the still of the gap is filled frame by frame: 2 KB gave 270,000 frames."""
    path = write_at(tmp_path / "gap.mkv", numbered(10), [100 * k + (k > 4) * 3 * 3_600_000 for k in range(10)])
    with pytest.raises(SizeError, match=r"read a part"):
        read_video(path, fps=25)
    assert decoded == []
    assert read_video(path, fps=25, max_frames=17).num_frames == 17
    assert read_video(path, fps=5, start=3 * 3600).num_frames == 5


def test_pixels_are_checked_against_bytes_before_decoding(tmp_path: Path, decoded: list, monkeypatch) -> None:
    """Fails when only single frames have a limit: many frames of a tiny file cost as much."""
    path = Video(np.zeros((30, 64, 64, 3), np.uint8), 10.0).save(tmp_path / "clip.mp4")
    monkeypatch.setattr(opening, "_FREE_PIXELS", 0)
    monkeypatch.setattr(opening, "_PIXELS_PER_BYTE", 20 * 64 * 64 // path.stat().st_size)
    with pytest.raises(SizeError, match="bytes for 0 million pixels"):
        read_video(path)
    assert decoded == []
    assert read_video(path, max_frames=10).num_frames == 10


def test_large_frames_need_data(tmp_path: Path, decoded: list, monkeypatch) -> None:
    path = encode(tmp_path / "clip.mp4", np.zeros((6, 128, 128, 3), np.uint8))
    monkeypatch.setattr(opening, "LARGE_PIXELS", 100 * 100)
    monkeypatch.setattr(opening, "_LARGE_PIXELS_PER_BYTE", 2 * 128 * 128 // path.stat().st_size + 1)
    with pytest.raises(SizeError, match="convert it to a smaller size"):
        read_video(path)
    assert decoded == []
    assert read_video(path, max_frames=1).num_frames == 1


def test_decoding_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Video(smooth(12), 10.0).save(tmp_path / "clip.mp4")
    monkeypatch.setattr(opening, "_FREE_SECONDS", -1.0)
    with pytest.raises(SizeError, match="takes too long to decode"):
        read_video(path)


def test_a_result_grows_without_a_second_copy(tmp_path: Path) -> None:
    """Fails when frames are collected and stacked: the array is the only copy, and owns its memory."""
    frames = read_video(Video(numbered(9), 10.0).save(tmp_path / "clip.mp4")).frames
    assert frames.base is None
    assert frames.flags.c_contiguous


@pytest.mark.parametrize("size", [(8000, 8000), (16383, 16383)])
def test_an_image_of_few_bytes_is_refused_at_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\x88\x88\x08" + bytes(6)
    content = b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    (tmp_path / "bomb.webp").write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    with pytest.raises(MediaError, match=r"up to 9 million pixels, the limit for \d\d bytes"):
        read_video(tmp_path / "bomb.webp")


def test_a_large_photo_is_read(tmp_path: Path) -> None:
    """Fails when the limits refuse what cameras make: here 12 million pixels of paper."""
    header = struct.pack(">IIBBBBB", 4000, 3000, 8, 0, 0, 0, 0)
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((3000, 4001)) < 0.05, 0, 250).astype(np.uint8)
    rows[:, 0] = 0
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b"")]
    content = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert read_video(tmp_path / "photo.png", size=(30, 40)).frames.shape == (1, 30, 40, 3)


def test_decoded_frames_are_released_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when a frame's side data is read: PyAV's refers to its frame, and 17 frames of 4K kept 200 MB."""
    frames: list[int] = []
    original = conversion.orientation
    monkeypatch.setattr(conversion, "orientation", lambda frame: frames.append(id(frame)) or original(frame))
    assert read_video(Video(numbered(9), 10.0).save(tmp_path / "clip.mp4")).num_frames == 9
    assert len(frames) == 1
