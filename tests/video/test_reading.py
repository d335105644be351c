"""Videos read: timestamps, parts, sizes, turning, transparency and bad files."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, features

from tests.video.pictures import blue_corners, numbered, numbers, quadrants, smooth, write_png
from vitascope.errors import MediaError, SizeError
from vitascope.video import Video, clip, read_duration, read_video, timing, write_video

STILL = [".png", ".jpg", ".jpeg", ".webp"]


def write_at(path: Path, frames: np.ndarray, ticks: Sequence[int], time_base: Fraction = Fraction(1, 1000)) -> Path:
    """A matroska file whose frame k is shown from ticks[k]: a variable frame rate."""
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "10", "g": "5"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.time_base = time_base
        for rgb, tick in zip(frames, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame.pts, frame.time_base = tick, time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def test_an_image_is_one_frame_at_any_rate(tmp_path: Path) -> None:
    path = Video(smooth(1), 24.0).save(tmp_path / "still.png")
    assert read_video(path, fps=24, seconds=2).frames.shape[0] == 1


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[:, :16] = (255, 0, 0, 255)
    rgba[:, 16:] = (0, 0, 0, 0)
    rgba[:16, 16:, 3] = 128
    frame = read_video(write_png(tmp_path / "clear.png", 32, 32, rgba)).frames[0]
    assert frame[8, 8].tolist() == [255, 0, 0]
    assert frame[24, 24].tolist() == [255, 255, 255]
    assert frame[8, 24].tolist() == [127, 127, 127]


def test_variable_rate_is_resampled_by_timestamps(tmp_path: Path) -> None:
    """Fails when frames are counted instead of timed."""
    path = write_at(tmp_path / "vfr.mkv", numbered(6), [0, 100, 600, 700, 800, 1500])
    expected = [0, 1, 1, 1, 1, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4]
    assert numbers(read_video(path, fps=10))[:15] == expected
    assert numbers(read_video(path, fps=5))[:8] == [0, 1, 1, 2, 4, 4, 4, 4]


def test_a_given_rate_repeats_or_drops(tmp_path: Path) -> None:
    path = Video(numbered(12), 12.0).save(tmp_path / "clip.mp4")
    assert numbers(read_video(path, fps=24)) == [k // 2 for k in range(24)]
    assert numbers(read_video(path, fps=4)) == [0, 3, 6, 9]
    assert numbers(read_video(path, fps=12)) == list(range(12))


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".gif"])
def test_rounded_timestamps_lose_no_frame(tmp_path: Path, suffix: str) -> None:
    """Fails without slack: at 24 frames/s matroska's milliseconds put frame 2 at 0.083, before 2 / 24."""
    rate = 25.0 if suffix == ".gif" else 24.0
    path = Video(numbered(30), rate).save(tmp_path / f"clip{suffix}")
    assert numbers(read_video(path)) == list(range(30))
    assert numbers(read_video(path, fps=rate)) == list(range(30))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".gif"])
@pytest.mark.parametrize("start", [0.5, 1.0, 2.1])
def test_a_part_is_the_same_part_whether_sought_or_decoded(tmp_path: Path, suffix: str, start: float) -> None:
    """Fails when a seek lands on a key frame and that frame is taken for the start."""
    path = Video(numbered(30), 10.0).save(tmp_path / f"clip{suffix}")
    part = read_video(path, start=start, seconds=0.7)
    first = round(start * 10)
    assert numbers(part) == list(range(first, first + 7))


@pytest.mark.usefixtures("decoded_here")
def test_a_late_start_does_not_decode_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when `start` decodes from the beginning: 25 s at key frames of half a second."""
    frames = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), np.uint8).repeat(50, axis=0)
    path = write_at(tmp_path / "long.mkv", frames, [100 * k for k in range(250)])
    decoded: list[object] = []
    original = timing._decodable
    monkeypatch.setattr(timing, "_decodable", lambda *a: (decoded.append(f) or f for f in original(*a)))
    assert read_video(path, start=20, max_frames=3).num_frames == 3
    assert len(decoded) < 30


def test_max_frames_and_seconds_both_limit(tmp_path: Path) -> None:
    path = Video(numbered(20), 10.0).save(tmp_path / "clip.mp4")
    assert read_video(path, max_frames=3).num_frames == 3
    assert read_video(path, seconds=0.5).num_frames == 5
    assert read_video(path, seconds=0.5, max_frames=9).num_frames == 5
    assert read_video(path, seconds=0.01).num_frames == 1
    assert read_video(path, seconds=99).num_frames == 20


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".gif"])
def test_the_length_is_known_without_decoding(tmp_path: Path, suffix: str) -> None:
    path = Video(np.zeros((25, 16, 16, 3), np.uint8), 10.0).save(tmp_path / f"clip{suffix}")
    assert read_duration(path) == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize(("container", "options"), [("h264", {}), ("matroska", {"live": "1"})])
def test_the_length_of_a_file_that_does_not_say_is_counted(
    tmp_path: Path, container: str, options: dict[str, str]
) -> None:
    """Fails when it counts as no length: then of a long video its beginning is taken, not its end."""
    path = tmp_path / "clip"
    with av.open(str(path), "w", format=container, options=options) as output:
        stream = output.add_stream("libx264", rate=5)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for index, pixels in enumerate(numbered(15)):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with av.open(str(path)) as stored:
        assert stored.duration is None
    assert read_duration(path) == pytest.approx(3)
    assert read_duration(path) == pytest.approx(read_video(path).duration)


def test_an_image_has_no_length(tmp_path: Path) -> None:
    assert read_duration(Video(np.zeros((1, 16, 16, 3), np.uint8), 1.0).save(tmp_path / "picture.png")) == 0
    with pytest.raises(MediaError, match="no file"):
        read_duration(tmp_path / "missing.mp4")


@pytest.mark.parametrize("start", [0.95, 2.0, 50.0])
def test_a_start_past_the_end_is_an_error(tmp_path: Path, start: float) -> None:
    path = Video(numbered(9), 10.0).save(tmp_path / "clip.mp4")
    with pytest.raises(MediaError, match=r"past the end at 0\.9 s"):
        read_video(path, start=start)


@pytest.mark.parametrize("size", [(32, 48), (100, 130), (17, 33)])
def test_size_resamples(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_video(Video(smooth(), 10.0), tmp_path / "clip.mp4", crf=12)
    found = read_video(path, size=size)
    assert found.frames.shape[1:3] == size
    np.testing.assert_allclose(found.frames.mean((0, 1, 2)), smooth().mean((0, 1, 2)), atol=3)


@pytest.mark.parametrize(
    ("matrix", "size", "corners"),
    [
        ((1, 0, 0, 1), (48, 64), "1000"),
        ((0, 1, -1, 0), (64, 48), "0100"),
        ((-1, 0, 0, -1), (48, 64), "0001"),
        ((0, -1, 1, 0), (64, 48), "0010"),
        ((-1, 0, 0, 1), (48, 64), "0100"),
        ((0, 1, 1, 0), (64, 48), "1000"),
    ],
)
def test_turned_files_come_out_upright(tmp_path: Path, matrix: tuple, size: tuple[int, int], corners: str) -> None:
    """A phone's files: quarter turns clockwise and mirrors. Fails when the display matrix is ignored or transposed."""
    content = bytearray(Video(quadrants(), 10.0).save(tmp_path / "clip.mp4").read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(content)
    found = read_video(tmp_path / "turned.mp4")
    assert found.frames.shape[1:3] == size
    assert blue_corners(found.frames[0]) == corners
    resized = read_video(tmp_path / "turned.mp4", size=(80, 40)).frames
    assert resized.shape[1:3] == (80, 40)
    assert blue_corners(resized[0]) == corners


def test_a_turned_photo_comes_out_upright(tmp_path: Path) -> None:
    """Exif orientation 6, a quarter turn clockwise, put into a jpeg by hand."""
    content = Video(quadrants()[:1], 1.0).save(tmp_path / "photo.jpg").read_bytes()
    entry = struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + b"\0" * 4
    exif = b"Exif\0\0" + tiff
    (tmp_path / "turned.jpg").write_bytes(
        content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    )
    found = read_video(tmp_path / "turned.jpg").frames
    assert found.shape == (1, 64, 48, 3)
    assert blue_corners(found[0]) == "0100"


def sound_only(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def named(folder: Path, name: str, content: str | bytes) -> Path:
    """A file of that content."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "none.mp4", "no file"),
        (lambda folder: folder, "is a folder"),
        (lambda folder: folder / ("x" * 300 + ".mp4"), "can't be read as a video"),
        (lambda folder: folder / "a\0b.mp4", "no file"),
        (lambda folder: named(folder, "empty.mp4", ""), r"empty \(0 bytes\)"),
        (lambda folder: named(folder, "text.mp4", "hello\n" * 99), "can't be read as a video"),
        (lambda folder: named(folder, "text.txt", "hello\n" * 99), "can't be read as a video"),
        (lambda folder: named(folder, "noise.mkv", bytes(range(256)) * 9), "can't be read as a video"),
        (lambda folder: sound_only(folder / "sound.m4a"), "no video stream"),
        (lambda folder: write_png(folder / "tiny.png", 7, 7), "is 7x7; the minimum is 16x16"),
        (lambda folder: write_png(folder / "bomb.png", 30_000, 30_000), "million pixels|30000x30000"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, make, reason: str) -> None:
    with pytest.raises((MediaError, SizeError), match=reason) as caught:
        read_video(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_playlist_does_not_open_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails without the list of formats: ffmpeg would read the file that the playlist names."""
    monkeypatch.chdir(tmp_path)
    clip = Video(numbered(9), 10.0).save(tmp_path / "clip.mp4")
    for name, text in [
        ("list.ffconcat", f"ffconcat version 1.0\nfile {clip.name}\n"),
        ("list.mp4", f"ffconcat version 1.0\nfile {clip.name}\n"),
        ("list.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n"),
    ]:
        with pytest.raises(MediaError, match="can't be read as a video"):
            read_video(named(tmp_path, name, text))


def test_names_have_no_meaning(tmp_path: Path) -> None:
    for name in ("shot%03d.png", "a b'c.png", "球.png", "http:x.png"):
        path = Video(smooth(1), 1.0).save(tmp_path / name)
        assert read_video(path).num_frames == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm", ".gif"])
def test_a_file_that_breaks_off_gives_what_decodes(tmp_path: Path, suffix: str) -> None:
    path = Video(np.concatenate([smooth(30)]), 10.0).save(tmp_path / f"clip{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    assert 3 <= read_video(path).num_frames <= 30
    path.write_bytes(content[:60])
    with pytest.raises(MediaError):
        read_video(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".gif", ".png", ".jpg"])
def test_mutated_files_read_or_fail_with_our_errors(tmp_path: Path, suffix: str) -> None:
    num_frames = 1 if suffix in STILL else 6
    content = np.frombuffer(Video(smooth(num_frames), 10.0).save(tmp_path / f"clip{suffix}").read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(25):
        mutated = content.copy()
        at = rng.integers(0, min(len(content), 1200), size=rng.integers(1, 10))
        mutated[at] = rng.integers(0, 256, size=len(at))
        (tmp_path / f"bad{suffix}").write_bytes(mutated.tobytes())
        with suppress(MediaError, SizeError):
            read_video(tmp_path / f"bad{suffix}", max_frames=20)


@pytest.mark.usefixtures("decoded_here")
def test_more_than_memory_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Video(numbered(9), 10.0).save(tmp_path / "clip.mp4")
    monkeypatch.setattr(clip, "MAX_CLIP_BYTES", 5 * 32 * 32 * 3)
    with pytest.raises(SizeError, match="read a part"):
        read_video(path)
    assert read_video(path, seconds=0.5).num_frames == 5


@pytest.mark.parametrize(
    "arguments",
    [
        {"fps": 0.0},
        {"fps": -1},
        {"fps": float("inf")},
        {"fps": 1e9},
        {"size": (8, 64)},
        {"size": (-1, 64)},
        {"size": (10**5, 10**5)},
        {"start": -0.1},
        {"start": float("nan")},
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"max_frames": 0},
    ],
)
def test_silly_arguments_are_refused(tmp_path: Path, arguments: dict) -> None:
    path = Video(numbered(3), 10.0).save(tmp_path / "clip.mp4")
    with pytest.raises(SizeError):
        read_video(path, **arguments)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow writes no AVIF")
@pytest.mark.parametrize("size", [None, (128, 192)])
def test_the_transparency_of_an_avif_is_white(tmp_path: Path, size: tuple[int, int] | None) -> None:
    """Fails when the image's alpha, a stream of its own, is ignored: clear parts showed hidden colours."""
    image = np.full((64, 96, 4), (220, 30, 30, 255), np.uint8)
    image[32:, :, 3] = 0
    Image.fromarray(image).save(tmp_path / "still.avif")
    found = read_video(tmp_path / "still.avif", size=size).frames[0]
    upper, lower = found[: len(found) // 2 - 4], found[len(found) // 2 + 4 :]
    assert np.abs(upper.astype(int) - (220, 30, 30)).max() < 12
    assert lower.min() > 250
