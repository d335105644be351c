"""Videos on disk: round trips in every container, timestamps, rotation, bad files, writing whole or not at all."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vitascope import video as video_module
from vitascope.errors import MediaError, SizeError
from vitascope.video import Video, VideoWriter, contact_sheet, read_video, write_video

MOVING = [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif"]
LOSSY = [".mp4", ".mov", ".mkv", ".webm", ".avi"]
STILL = [".png", ".jpg", ".jpeg", ".webp"]
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255), (200, 30, 60), (0, 0, 0)]


def smooth(num_frames: int = 12, height: int = 64, width: int = 96) -> np.ndarray:
    """Colour waves that drift: every frame differs from every other."""
    row, column = np.mgrid[:height, :width] / max(height, width)
    k = np.arange(num_frames)[:, None, None]
    waves = [np.sin(6 * column + k / 3), np.sin(5 * row + k / 4 + 1), np.cos(4 * (row + column) - k / 3)]
    return (127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def numbered(num_frames: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Frame k is flat grey of level 8 k, so that a frame tells its number."""
    levels = 8 * np.arange(num_frames, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()


def numbers(video: Video) -> list[int]:
    """The numbers that `numbered` frames tell."""
    return (video.frames.mean(axis=(1, 2, 3)) / 8).round().astype(int).tolist()


def quadrants(height: int = 48, width: int = 64) -> np.ndarray:
    """Two red frames whose upper left quarter is blue."""
    frames = np.zeros((2, height, width, 3), np.uint8)
    frames[..., 0] = 255
    frames[:, : height // 2, : width // 2] = (0, 0, 255)
    return frames


def blue_corners(frame: np.ndarray) -> str:
    """Which corners are blue, in reading order: 1000 is the upper left one."""
    return "".join(str(int(frame[row, column, 2] > 128)) for row in (4, -4) for column in (4, -4))


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal to noise ratio in dB."""
    return float(10 * np.log10(255**2 / max(np.mean((first.astype(float) - second) ** 2), 1e-9)))


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


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path: Path, height: int, width: int, pixels: np.ndarray | None = None) -> Path:
    """A png made by hand, so that sizes and alpha that we don't write can be read."""
    alpha = pixels is not None and pixels.shape[-1] == 4
    header = struct.pack(">IIBBBBB", width, height, 8, 6 if alpha else 2, 0, 0, 0)
    rows = np.zeros(2000, np.uint8) if pixels is None else np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows.tobytes())) + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


# ---------------------------------------------------------------------------------------------------------- round trips


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


# --------------------------------------------------------------------------------------------- time, size and turning


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


def test_a_late_start_does_not_decode_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when `start` decodes from the beginning: 25 s at key frames of half a second."""
    frames = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), np.uint8).repeat(50, axis=0)
    path = write_at(tmp_path / "long.mkv", frames, [100 * k for k in range(250)])
    decoded: list[object] = []
    original = video_module._decodable
    monkeypatch.setattr(video_module, "_decodable", lambda *a: (decoded.append(f) or f for f in original(*a)))
    assert read_video(path, start=20, max_frames=3).num_frames == 3
    assert len(decoded) < 30


def test_max_frames_and_seconds_both_limit(tmp_path: Path) -> None:
    path = Video(numbered(20), 10.0).save(tmp_path / "clip.mp4")
    assert read_video(path, max_frames=3).num_frames == 3
    assert read_video(path, seconds=0.5).num_frames == 5
    assert read_video(path, seconds=0.5, max_frames=9).num_frames == 5
    assert read_video(path, seconds=0.01).num_frames == 1
    assert read_video(path, seconds=99).num_frames == 20


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


# ----------------------------------------------------------------------------------------------------------- bad input


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
        (lambda folder: write_png(folder / "tiny.png", 7, 7), "is 7x7; the least is 16x16"),
        (lambda folder: write_png(folder / "bomb.png", 30_000, 30_000), "64 million pixels|30000x30000"),
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


def test_more_than_memory_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Video(numbered(9), 10.0).save(tmp_path / "clip.mp4")
    monkeypatch.setattr(video_module, "MAX_CLIP_BYTES", 5 * 32 * 32 * 3)
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


# ------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("name", "num_frames", "size", "error", "reason"),
    [
        ("clip.mp3", 2, (32, 32), MediaError, r"can't write \.mp3"),
        ("clip", 2, (32, 32), MediaError, "without a suffix"),
        ("none/clip.mp4", 2, (32, 32), MediaError, "make it first"),
        ("none/clip.png", 1, (32, 32), MediaError, "make it first"),
        ("folder.mp4", 2, (32, 32), MediaError, "is a folder"),
        ("clip.png", 2, (32, 32), MediaError, "has 2 frames; save it as"),
        ("clip.mp4", 2, (8, 32), SizeError, "is 32x8; the least is 16x16"),
        ("clip.png", 1, (32, 15), SizeError, "is 15x32; the least is 16x16"),
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
    with pytest.raises(MediaError, match="crf is"):
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
    monkeypatch.setattr(video_module.os, "fsync", lambda _: seen.append((tmp_path / name).exists()))
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


# ------------------------------------------------------------------------------------------------------- contact sheet


def test_a_contact_sheet_shows_every_video_in_reading_order() -> None:
    videos = [Video(np.full((3, 32, 32, 3), 40 * k, np.uint8), 10.0) for k in range(5)]
    sheet = contact_sheet(videos, columns=2)
    assert sheet.frames.shape == (1, 3 * (32 + 4) + 4, 2 * (32 + 4) + 4, 3)
    levels = [sheet.frames[0, 4 + 36 * (k // 2) + 16, 4 + 36 * (k % 2) + 16, 0] for k in range(5)]
    assert levels == [0, 40, 80, 120, 160]
    assert sheet.frames[0, -16, -16].tolist() == [255, 255, 255]


def test_a_contact_sheet_spreads_the_frames_of_a_video() -> None:
    sheet = contact_sheet([Video(numbered(9), 10.0)], columns=1, frames_per_video=3, scale=2)
    row = sheet.frames[0, 20]
    assert [row[4 + 32 + 64 * k, 0] // 8 for k in range(3)] == [0, 4, 8]
    assert contact_sheet([Video(numbered(9), 10.0)], columns=1).frames[0, 16, 16, 0] // 8 == 4


def test_labels_are_drawn_beneath() -> None:
    pytest.importorskip("PIL")
    videos = [Video(np.full((1, 32, 96, 3), 255, np.uint8), 10.0)] * 2
    bare = contact_sheet(videos, columns=2)
    short = contact_sheet(videos, columns=2, labels=["one", "two"])
    long = contact_sheet(videos, columns=2, labels=["one", "two " * 20])
    assert bare.height < short.height < long.height
    assert short.frames[0, 4 + 32 :].min() < 64
    assert short.frames[0, : 4 + 32].min() == 255


@pytest.mark.parametrize(
    "arguments",
    [{"columns": 0}, {"columns": 1, "frames_per_video": 0}, {"columns": 1, "scale": 0}, {"columns": 1, "labels": []}],
)
def test_a_contact_sheet_of_nothing_is_refused(arguments: dict) -> None:
    with pytest.raises(SizeError):
        contact_sheet([Video(numbered(2), 10.0)], **arguments)


def test_a_contact_sheet_needs_videos() -> None:
    with pytest.raises(SizeError):
        contact_sheet([], columns=2)
