"""Videos and images written: round trips in every container, whole or not at all."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.pictures import numbered, numbers, psnr, smooth
from vitascope import files
from vitascope.errors import MediaError, SizeError
from vitascope.video import Video, VideoWriter, read_video, write_video

MOVING = [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif"]
LOSSY = [".mp4", ".mov", ".mkv", ".webm", ".avi"]
STILL = [".png", ".jpg", ".jpeg", ".webp"]
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255), (200, 30, 60), (0, 0, 0)]


@pytest.mark.parametrize("suffix", MOVING)
def test_round_trip_keeps_the_count_size_rate_and_order(tmp_path: Path, suffix: str) -> None:
    written = Video(numbered(12, 48, 80), 20.0)
    path = written.save(tmp_path / f"clip{suffix}")
    found = read_video(path)
    assert found.frames.shape == written.frames.shape
    assert found.fps == pytest.approx(20.0)
    assert numbers(found) == list(range(12))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", LOSSY)
def test_smooth_colours_survive(tmp_path: Path, suffix: str) -> None:
    frames = smooth()
    path = write_video(Video(frames, 24.0), tmp_path / f"clip{suffix}", crf=12)
    assert psnr(read_video(path).frames, frames) > 38


@pytest.mark.parametrize("suffix", [*LOSSY, ".gif", ".jpg", ".webp", ".png"])
def test_saturated_colours_do_not_shift(tmp_path: Path, suffix: str) -> None:
    """Fails when the matrix or range written is not the one read: BT.601 for BT.709 moves green by 30 levels."""
    for colour in COLOURS:
        patch = np.full((1, 64, 64, 3), colour, np.uint8)
        found = read_video(Video(patch, 24.0).save(tmp_path / f"patch{suffix}"))
        assert np.abs(found.frames.reshape(-1, 3).mean(0) - colour).max() <= 2


def test_files_say_their_colours_and_start_at_once(tmp_path: Path) -> None:
    path = Video(smooth(), 24.0).save(tmp_path / "clip.mp4")
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.format.name, frame.colorspace, frame.color_range) == ("yuv420p", 1, 1)
        assert container.streams.video[0].codec_context.name == "h264"
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("fps", [23.976023976, 29.97002997, 12.5, 24, 60, 7])
def test_rates_are_kept_exactly(tmp_path: Path, fps: float) -> None:
    found = read_video(Video(numbered(9), fps).save(tmp_path / "clip.mp4"))
    assert found.fps == pytest.approx(fps, rel=1e-9)
    assert numbers(found) == list(range(9))


@pytest.mark.parametrize(
    ("suffix", "size"),
    [(".mp4", (34, 52)), (".mkv", (34, 52)), (".avi", (34, 52)), (".webm", (33, 51)), (".gif", (33, 51))],
)
def test_odd_sizes_are_padded_only_where_the_codec_asks(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    frames = smooth(3, 33, 51)
    found = read_video(write_video(Video(frames, 10.0), tmp_path / f"odd{suffix}", crf=5)).frames
    assert found.shape[1:3] == size
    if suffix != ".gif":
        assert psnr(found[:, :33, :51], frames) > 35
        assert psnr(found[:, -1, :51], frames[:, -1]) > 30


@pytest.mark.parametrize("suffix", STILL)
def test_images_round_trip(tmp_path: Path, suffix: str) -> None:
    frames = smooth(1, 49, 65)
    found = read_video(write_video(Video(frames, 24.0), tmp_path / f"still{suffix.upper()}", crf=6))
    assert found.frames.shape == frames.shape
    assert found.fps == 1.0
    assert psnr(found.frames, frames) > 34
    if suffix == ".png":
        np.testing.assert_array_equal(found.frames, frames)


@pytest.mark.parametrize(
    ("name", "num_frames", "size", "error", "reason"),
    [
        ("clip.mp3", 2, (32, 32), MediaError, r"can't write \.mp3"),
        ("clip", 2, (32, 32), MediaError, "without a suffix"),
        ("none/clip.mp4", 2, (32, 32), MediaError, "create it first"),
        ("none/clip.png", 1, (32, 32), MediaError, "create it first"),
        ("folder.mp4", 2, (32, 32), MediaError, "is a folder"),
        ("clip.png", 2, (32, 32), MediaError, "has 2 frames; save it as"),
        ("clip.mp4", 2, (8, 32), SizeError, "is 32x8; the minimum is 16x16"),
        ("clip.png", 1, (32, 15), SizeError, "is 15x32; the minimum is 16x16"),
        ("x" * 300 + ".mp4", 2, (32, 32), MediaError, "can't be written"),
        ("a\0b.mp4", 2, (32, 32), MediaError, "can't be written"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, num_frames, size, error, reason) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(error, match=reason) as caught:
        Video(np.zeros((num_frames, *size, 3), np.uint8), 10.0).save(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.mp4"]


@pytest.mark.parametrize("crf", [-1, 52])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.png"])
def test_a_quality_that_is_none_is_refused(tmp_path: Path, name: str, crf: int) -> None:
    with pytest.raises(MediaError, match="crf must be"):
        write_video(Video(smooth(1), 10.0), tmp_path / name, crf=crf)


def test_a_gif_faster_than_gifs_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SizeError, match="50 at most"):
        Video(smooth(2), 60.0).save(tmp_path / "clip.gif")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".gif"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, ZeroDivisionError, OSError])
@pytest.mark.parametrize("num_written", [0, 5])
def test_a_broken_off_writer_leaves_the_old_file(tmp_path, suffix, failure, num_written) -> None:
    """Fails when the encoder writes to the final name, or forgets its temporary one."""
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(b"old")

    def write_some() -> None:
        with VideoWriter(path, 10.0, 64, 96) as writer:
            for frame in smooth(5)[:num_written]:
                writer.write(frame)
            raise failure

    with pytest.raises(failure):
        write_some()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"


def test_a_writer_without_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frame was written"), VideoWriter(tmp_path / "a.mp4", 10.0, 64, 96):
        pass
    assert not list(tmp_path.iterdir())


def test_nothing_is_at_the_final_name_until_the_end(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", 10.0, 64, 96) as writer:
        writer.write(smooth())
        assert not (tmp_path / "clip.mp4").exists()
    assert (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.png"])
def test_files_are_synced_before_they_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Fails when the rename comes before the sync, or the folder is not synced after it."""
    seen: list[bool] = []
    monkeypatch.setattr(files.os, "fsync", lambda _: seen.append((tmp_path / name).exists()))
    Video(smooth(1), 10.0).save(tmp_path / name)
    assert seen == [False, True]


def test_a_writer_takes_frames_in_any_portions(tmp_path: Path) -> None:
    frames = numbered(12)
    with VideoWriter(tmp_path / "clip.mp4", Fraction(24000, 1001), 32, 32) as writer:
        writer.write(frames[:5])
        writer.write(frames[5])
        writer.write(frames[6:][:, ::-1])
    found = read_video(tmp_path / "clip.mp4")
    assert numbers(found) == list(range(12))
    assert found.fps == pytest.approx(24000 / 1001)


@pytest.mark.parametrize("shape", [(2, 32, 30, 3), (2, 32, 32, 4), (32, 32)])
def test_a_writer_refuses_other_frames(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(SizeError, match="this file takes"), VideoWriter(tmp_path / "a.mp4", 10.0, 32, 32) as writer:
        writer.write(np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_writer_keeps_no_frames(tmp_path: Path) -> None:
    """Fails when frames are collected until the end: 120 frames would hold 22 MB."""
    frame = smooth(1, 208, 304)[0]
    with VideoWriter(tmp_path / "clip.mp4", 24.0, 208, 304) as writer:
        writer.write(frame)
        tracemalloc.start()
        for _ in range(120):
            writer.write(frame)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3_000_000
