"""Sound of given footage in the videos made from it: at its time, in every format that holds sound."""

from __future__ import annotations

import logging
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.pictures import numbered
from tests.video.tones import FPS, sounding, write_tone
from vitascope.video import SoundPart, VideoWriter, read_video

SOURCES = [("mp4", "aac"), ("mov", "pcm_s16le"), ("matroska", "libopus"), ("webm", "libopus"), ("mpegts", "ac3")]
SUFFIXES = [".mp4", ".mov", ".mkv", ".webm", ".avi"]


def write(path: Path, parts: list[SoundPart], num_frames: int = 24) -> Path:
    with VideoWriter(path, FPS, 32, 32, sound=parts) as writer:
        for frame in numbered(num_frames):
            writer.write(frame)
    return path


def assert_near(found: list[tuple[float, float]], expected: list[tuple[float, float]]) -> None:
    assert np.shape(found) == np.shape(expected)
    assert np.abs(np.subtract(found, expected)).max() < 0.03, found


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("container", "codec"), SOURCES)
def test_sound_is_kept_at_its_time(tmp_path: Path, container: str, codec: str, suffix: str) -> None:
    """Copied where the format stores the codec, else encoded; the frames are those of a file without sound."""
    source = write_tone(tmp_path / "given", (0.5, 1.0), container=container, codec=codec)
    path = write(tmp_path / f"made{suffix}", [SoundPart(source, 0.0, 2.0, 0.0)])
    assert_near(sounding(path), [(0.5, 1.0)])
    silent = read_video(write(tmp_path / f"silent{suffix}", []))
    assert np.array_equal(read_video(path).frames, silent.frames)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("rate", "layout"), [(44100, "mono"), (48000, "stereo")])
def test_sounds_of_parts_are_placed_and_cut(tmp_path: Path, suffix: str, rate: int, layout: str) -> None:
    """A part from the middle of a file at 0, silence, and another file at 2 seconds, cut at the video's end."""
    first = write_tone(tmp_path / "a.mp4", (3.0, 3.25), num_frames=40, rate=rate, layout=layout)
    second = write_tone(tmp_path / "b.mp4", (0.5, 9.0), num_frames=80)
    parts = [SoundPart(first, 2.75, 1.0, 0.0), SoundPart(second, 0.0, 10.0, 2.0)]
    assert_near(sounding(write(tmp_path / f"made{suffix}", parts)), [(0.25, 0.5), (2.5, 3.0)])


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_times_count_from_the_first_frame(tmp_path: Path, suffix: str) -> None:
    """Fails if the file's clock is taken for the video's: its first frame is at 0.5 seconds."""
    source = write_tone(tmp_path / "late.mkv", (0.5, 1.0), container="matroska", codec="aac", delay=0.5)
    assert_near(sounding(write(tmp_path / f"made{suffix}", [SoundPart(source, 0.0, 2.0, 0.0)])), [(0.5, 1.0)])


def test_copied_sound_has_the_same_packets(tmp_path: Path) -> None:
    source = write_tone(tmp_path / "given.mp4", (0.0, 2.0))
    path = write(tmp_path / "made.mp4", [SoundPart(source, 0.0, 2.0, 0.0)], num_frames=12)

    def packets(file: Path) -> list[bytes]:
        with av.open(str(file)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    assert 60 < len(packets(path)) < len(packets(source))  # cut at 1.5 of 2 seconds
    assert packets(source)[: len(packets(path))] == packets(path)


def test_a_format_without_sound_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_tone(tmp_path / "given.mp4", (0.5, 1.0))
    write(tmp_path / "made.gif", [SoundPart(source, 0.0, 2.0, 0.0)])
    assert "made.gif: a gif holds no sound; that of" in caplog.text


@pytest.mark.parametrize("damage", ["truncated", "garbled"])
def test_damaged_sound_never_costs_the_video(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    source = write_tone(tmp_path / "given.mkv", (0.0, 2.0), container="matroska", codec="aac")
    content = bytearray(source.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2 :: 7] = b"\xff" * len(content[len(content) // 2 :: 7])
    source.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        for suffix in (".mp4", ".webm"):
            found = read_video(write(tmp_path / f"made{suffix}", [SoundPart(source, 0.0, 2.0, 0.0)]))
            assert found.num_frames == 24
