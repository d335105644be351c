"""Media read as players show it: stream, length, joins, square pixels, transparency, HDR and interlacing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.video.pictures import numbered, numbers, smooth
from vitascope.errors import MediaError
from vitascope.video import probe, read_duration, read_video


def encode(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    rate: int = 10,
    pix_fmt: str = "yuv420p",
    prepare: Callable[[Any, Any], object] = lambda output, stream: None,
    options: dict[str, str] | None = None,
) -> Path:
    """A file of RGB, RGBA or 10-bit grey frames; `prepare` changes the container and the stream first."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        after = prepare(output, stream)
        for index, pixels in enumerate(frames):
            if pixels.ndim == 2:
                frame = av.VideoFrame(pixels.shape[1], pixels.shape[0], pix_fmt)
                rows = np.zeros((pixels.shape[0], frame.planes[0].line_size // 2), "<u2")
                rows[:, : pixels.shape[1]] = pixels
                frame.planes[0].update(rows.tobytes())
                for plane in frame.planes[1:]:
                    plane.update(np.full(plane.buffer_size // 2, 512, "<u2").tobytes())
            else:
                frame = av.VideoFrame.from_ndarray(pixels, "rgba" if pixels.shape[-1] == 4 else "rgb24")
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if callable(after):
            after()
    return path


def with_cover(output: Any, stream: Any) -> None:
    """Add cover art, larger than the video, before its first frame."""
    cover = output.add_stream("mjpeg", rate=1)
    cover.height = cover.width = 160
    cover.pix_fmt, cover.disposition = "yuvj420p", 0x400
    picture = av.VideoFrame.from_ndarray(np.full((160, 160, 3), 250, np.uint8), "rgb24")
    picture.pts = 0
    packets = cover.encode(picture) + cover.encode(None)
    stream.codec_context.open()  # the header needs it
    output.mux(packets)


def with_sound(seconds: float, codec: str = "aac") -> Callable[[Any, Any], object]:
    """Add silence of a given length after the video."""

    def prepare(output: Any, stream: Any) -> object:
        sound = output.add_stream(codec, rate=48000)

        def mux() -> None:
            for index in range(int(seconds * 48000 / 1024)):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 48000, index * 1024
                output.mux(sound.encode(frame))
            output.mux(sound.encode(None))

        return mux

    return prepare


def put_cover_first(path: Path) -> None:
    """Move the metadata of an mp4, which hold the cover, before its tracks: the cover becomes the first stream."""
    content = path.read_bytes()
    begin = content.index(b"moov") - 4
    end = begin + int.from_bytes(content[begin : begin + 4], "big")
    at, boxes = begin + 8, []
    while at < end:
        size = int.from_bytes(content[at : at + 4], "big")
        boxes.append(content[at : at + size])
        at += size
    boxes.sort(key=lambda box: box[4:8] != b"udta")
    path.write_bytes(content[: begin + 8] + b"".join(boxes) + content[end:])


# Stream


@pytest.mark.parametrize("suffix", [".mp4"])
def test_cover_art_is_not_the_video(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"clip{suffix}", smooth(8), prepare=with_cover)
    put_cover_first(path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].height == 160
    video = read_video(path)
    assert (video.frames.shape, video.fps, read_duration(path)) == ((8, 64, 96, 3), 10, pytest.approx(0.8))
    assert np.abs(video.frames[3].astype(int) - smooth(8)[3]).mean() < 8


def test_a_song_with_a_cover_has_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=48000)
        cover: Any = output.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt, cover.disposition = 160, 160, "yuvj420p", 0x400
        picture = av.VideoFrame.from_ndarray(np.full((160, 160, 3), 250, np.uint8), "rgb24")
        picture.pts = 0
        packets = cover.encode(picture) + cover.encode(None)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        packets += sound.encode(frame) + sound.encode(None)
        for packet in packets:
            output.mux(packet)
    for read in (read_video, read_duration, probe):
        with pytest.raises(MediaError, match="no video stream but cover art"):
            read(path)


def test_of_two_videos_the_larger_one_is_read(tmp_path: Path) -> None:
    """Fails when the first stream is taken: cameras put a preview before the recording."""
    with av.open(str(tmp_path / "clip.mkv"), "w") as output:
        streams: list[Any] = [output.add_stream("libx264", rate=10) for _ in range(2)]
        for stream, (height, width) in zip(streams, ((32, 48), (64, 96)), strict=True):
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index, pixels in enumerate(smooth(4)):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(stream.width, stream.height, "yuv420p")
                frame.pts = index
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
    assert read_video(tmp_path / "clip.mkv").frames.shape == (4, 64, 96, 3)


# Length


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [
        (".mp4", "libx264", "aac"),
        (".mkv", "libx264", "aac"),
        (".webm", "libvpx-vp9", "libopus"),
        (".ts", "libx264", "aac"),
        (".mpg", "mpeg2video", "mp2"),
        (".avi", "mpeg4", "mp2"),
        (".flv", "flv1", "aac"),
        (".nut", "mpeg4", "aac"),
    ],
)
def test_the_length_is_the_pictures_not_the_sounds(tmp_path: Path, suffix: str, codec: str, sound: str) -> None:
    path = encode(tmp_path / f"clip{suffix}", numbered(16), codec, 25, prepare=with_sound(4, sound))
    assert read_duration(path) == pytest.approx(16 / 25, abs=0.001)
    assert probe(path).has_sound
    assert read_video(path).num_frames == 16


# Joined recordings


JOINABLE = [(".ts", "libx264"), (".mpg", "mpeg2video"), (".mkv", "libx264"), (".webm", "libvpx-vp9"), (".avi", "mpeg4")]


@pytest.mark.parametrize(("suffix", "codec"), [*JOINABLE, (".gif", "gif"), (".ogg", "vp8")])
def test_joined_recordings_give_all_frames_in_order(tmp_path: Path, suffix: str, codec: str) -> None:
    codec, pix_fmt = {"gif": ("gif", "gray"), "vp8": ("libvpx", "yuv420p")}.get(codec, (codec, "yuv420p"))
    path = encode(tmp_path / f"a{suffix}", numbered(16), codec, 25, pix_fmt)
    path.write_bytes(path.read_bytes() * 2)
    assert numbers(read_video(path)) == [*range(16)] * 2
    assert read_duration(path) == pytest.approx(32 / 25, abs=0.1)
    if suffix != ".ogg":
        assert numbers(read_video(path, start=1.0, seconds=0.12)) == [9, 10, 11]


def test_a_recording_appended_hours_later_follows_at_once(tmp_path: Path) -> None:
    """Fails when the jump of the timestamps counts as a still of hours."""
    first = encode(tmp_path / "a.ts", numbered(8), rate=25)
    with av.open(str(first)) as source, av.open(str(tmp_path / "b.ts"), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        packets: Any = source.demux(source.streams.video[0])
        for packet in packets:
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts + 90000 * 3600, packet.dts + 90000 * 3600, stream
                output.mux(packet)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + (tmp_path / "b.ts").read_bytes())
    assert numbers(read_video(joined)) == [*range(8)] * 2
    assert read_duration(joined) == pytest.approx(16 / 25, abs=0.01)


# Square pixels


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize(
    ("aspect", "size"), [("2", (64, 192)), ("1/2", (128, 96)), ("16/15", (64, 102)), ("4320/4319", (64, 96))]
)
def test_pixels_come_out_square(tmp_path: Path, suffix: str, aspect: str, size: tuple[int, int]) -> None:
    def prepare(output: Any, stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)

    path = encode(tmp_path / f"clip{suffix}", smooth(2), prepare=prepare, options={"bf": "0"})
    assert read_video(path).frames.shape[1:3] == size
    assert (probe(path).height, probe(path).width) == size
    assert read_video(path, size=(40, 50)).frames.shape[1:3] == (40, 50)


# Transparency


RGBA = np.zeros((3, 32, 64, 4), np.uint8)
RGBA[..., 0], RGBA[:, :, :32, 3], RGBA[:, 16:, 32:, 3] = 255, 255, 128


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        (".webm", "libvpx-vp9", "yuva420p"),
        (".mkv", "libvpx-vp9", "yuva420p"),
        (".mov", "prores_ks", "yuva444p10le"),
        (".mov", "qtrle", "argb"),
        (".mov", "png", "rgba"),
        (".mkv", "ffv1", "yuva420p"),
        (".avi", "utvideo", "gbrap"),
        (".apng", "apng", "rgba"),
    ],
)
def test_transparent_video_is_blended_onto_white(tmp_path: Path, suffix: str, codec: str, pix_fmt: str) -> None:
    """Fails with FFmpeg's own decoder of VP9, which drops the alpha channel: the clear half comes out red."""
    frame = read_video(encode(tmp_path / f"clip{suffix}", RGBA, codec, pix_fmt=pix_fmt)).frames[1].astype(int)
    assert np.abs(frame[8, 8] - (255, 0, 0)).max() <= 2
    assert np.abs(frame[8, 56] - (255, 255, 255)).max() <= 2
    assert np.abs(frame[24, 56] - (255, 127, 127)).max() <= 2


def vp8_packets(levels: list[np.ndarray]) -> list[bytes]:
    """Key frames of grey pictures in VP8."""
    encoder: Any = av.CodecContext.create("libvpx", "w")
    encoder.height, encoder.width = levels[0].shape
    encoder.pix_fmt, encoder.time_base, encoder.bit_rate = "yuv420p", Fraction(1, 10), 2_000_000
    packets = []
    for index, level in enumerate(levels):
        frame = av.VideoFrame.from_ndarray(level, "gray").reformat(
            format="yuv420p", src_color_range=2, dst_color_range=2
        )
        frame.pts, frame.time_base = index, Fraction(1, 10)
        packets += encoder.encode(frame)
    return [bytes(packet) for packet in packets + encoder.encode(None)]


def element(identifier: str, content: bytes) -> bytes:
    """An EBML element with a size of 4 bytes."""
    return bytes.fromhex(identifier) + (0x10000000 | len(content)).to_bytes(4, "big") + content


def test_vp8_with_alpha_is_blended_onto_white(tmp_path: Path) -> None:
    """A file as browsers record it, built by hand: FFmpeg doesn't encode VP8 with alpha."""
    alpha = np.repeat(np.array([[255] * 32 + [0] * 32], np.uint8), 32, axis=0)
    pictures = zip(vp8_packets([np.full((32, 64), 60, np.uint8)] * 3), vp8_packets([alpha] * 3), strict=True)
    video = element("b0", b"\x40") + element("ba", b"\x20") + element("53c0", b"\1")  # width, height, AlphaMode
    track = element("d7", b"\1") + element("73c5", b"\1") + element("83", b"\1") + element("86", b"V_VP8")
    track += element("55ee", b"\1") + element("e0", video)
    groups = b""
    for index, (colour, opacity) in enumerate(pictures):
        more = element("a6", element("ee", b"\1") + element("a5", opacity))
        block = element("a1", b"\x81" + (100 * index).to_bytes(2, "big") + b"\0" + colour)
        groups += element("a0", block + element("75a1", more) + (element("fb", b"\xff") if index else b""))
    segment = element("1549a966", element("2ad7b1", b"\x0f\x42\x40")) + element("1654ae6b", element("ae", track))
    segment += element("1f43b675", element("e7", b"\0") + groups)
    path = tmp_path / "clip.webm"
    path.write_bytes(element("1a45dfa3", element("4282", b"webm")) + element("18538067", segment))
    frame = read_video(path, fps=10).frames[1].astype(int)
    assert np.abs(frame[8, 8] - 60).max() <= 20
    assert np.abs(frame[8, 56] - 255).max() <= 2


# HDR


def hdr_file(path: Path, transfer: int, codes: list[float], primaries: int = 9, codec: str = "ffv1") -> Path:
    """Grey stripes, 16 pixels wide, of 10-bit limited-range codes."""

    def prepare(output: Any, stream: Any) -> None:
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = transfer, primaries, 9, 1

    row = np.repeat([round(64 + 876 * code) for code in codes], 16)
    return encode(path, np.tile(row, (2, 32, 1)), codec, pix_fmt="yuv420p10le", prepare=prepare)


def pq(nits: float) -> float:
    """PQ code of a luminance: SMPTE ST 2084."""
    power = (nits / 10_000) ** (2610 / 16384)
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** (2523 / 32)


def sdr(nits: float) -> float:
    """8-bit BT.1886 code of a luminance where white is 203 nits: BT.2408."""
    return 255 * min(1, nits / 203) ** (1 / 2.4)


@pytest.mark.parametrize("size", [None, (16, 80)])
def test_pq_is_tone_mapped(tmp_path: Path, size: tuple[int, int] | None, caplog: pytest.LogCaptureFixture) -> None:
    levels = [0, 5, 50, 203, 1000]
    path = hdr_file(tmp_path / "clip.mkv", 16, [pq(nits) if nits else 0 for nits in levels])
    with caplog.at_level(logging.WARNING):
        picture = read_video(path, size=size).frames[0]
        read_video(path, max_frames=1)
    found = picture[picture.shape[0] // 2, 8::16].astype(float)
    np.testing.assert_allclose(found, np.repeat([[sdr(nits)] for nits in levels], 3, axis=1), atol=1.5)
    assert [record.message for record in caplog.records] == [f"{path} is HDR (PQ), tone-mapped to SDR"]
    assert probe(path).notes == ("HDR (PQ), tone-mapped to SDR",)


def test_hlg_is_tone_mapped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reference white of HLG is 75 %, half of its signal range is 50 nits: BT.2408, tables 1 and 2."""
    path = hdr_file(tmp_path / "clip.mkv", 18, [0, 0.5, 0.75, 1.0])
    found = read_video(path).frames[0][16, 8::16, 1].astype(float)
    np.testing.assert_allclose(found, [0, sdr(50.7), 255, 255], atol=1.5)
    assert "HDR (HLG)" in caplog.text


def test_wide_gamut_keeps_greys_and_saturates_colours(tmp_path: Path) -> None:
    path = hdr_file(tmp_path / "clip.mkv", 1, [0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(read_video(path).frames[0][16, 8::16, 1], [0, 64, 128, 255], atol=1.5)
    assert "BT.2020" in probe(path).notes[0]


def test_ten_bits_of_sdr_are_not_hdr(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = hdr_file(tmp_path / "clip.mkv", 1, [0, 0.5, 1.0], primaries=1)
    np.testing.assert_allclose(read_video(path).frames[0][16, 8::16, 1], [0, 128, 255], atol=1.5)
    assert (probe(path).notes, caplog.text) == ((), "")


def test_bright_colours_keep_their_hue() -> None:
    """Fails when each channel is clipped alone: bright orange would become yellow."""
    from vitascope.video.hdr import to_sdr

    code = np.array([[[round(65535 * pq(nits)) for nits in (812, 406, 0.001)]]], np.uint16)
    red, green, blue = to_sdr(code, 16, 1, 65535)[0, 0].astype(float)
    assert (red, blue) == (255, pytest.approx(0, abs=1))
    assert green == pytest.approx(sdr(101.5), abs=1)


# Interlacing


def combed(num_frames: int = 8) -> np.ndarray:
    """Frames of two fields each, in which a bar has moved by 4 pixels."""
    fields = np.full((2 * num_frames, 64, 96, 3), 40, np.uint8)
    for index, field in enumerate(fields):
        field[:, 8 + 4 * index : 24 + 4 * index] = 220
    even = (np.arange(64) % 2 == 0)[:, None, None]
    return np.where(even, fields[1::2], fields[::2])


def combing(frame: np.ndarray) -> float:
    """Mean difference of rows from their neighbours' mean."""
    rows = frame.astype(float)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".mpg", "mpeg2video")])
def test_interlaced_frames_are_deinterlaced(
    tmp_path: Path, suffix: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    frames = combed()
    path = encode(tmp_path / f"clip{suffix}", frames, codec, 25, options={"flags": "+ilme+ildct", "b": "4000000"})
    video = read_video(path)
    assert (video.num_frames, video.fps) == (8, 25)
    assert combing(frames[3]) > 10
    assert max(combing(frame) for frame in video.frames) < 1
    assert [record.message for record in caplog.records] == [f"{path} is interlaced, deinterlaced"]
    assert probe(path).notes == ("interlaced, deinterlaced",)
    np.testing.assert_array_equal(read_video(path, start=0.12, max_frames=2).frames, video.frames[3:5])


def test_progressive_frames_are_not_filtered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / "clip.mp4", combed(), rate=25, options={"crf": "8"})
    assert combing(read_video(path).frames[3]) > 10
    assert caplog.text == ""
