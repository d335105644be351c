"""Awkward files of phones, cameras, browsers and editors, prepared as a dataset.

    python -m benchmarks.robustness.awkward --out awkward

Writes one file of each kind with a red square at the top left and a white disc that moves to the right, and some files
that show nothing. `vitascope prepare videos` must use every file of the first sort, upright and in its colours, and
count the others by reason. `sheet.png` shows four frames of each file for a look.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from vitascope.data.clips import Clip, list_clips
from vitascope.data.prepare import PrepareConfig, Prepared, prepare_videos
from vitascope.video import Video, contact_sheet, write_video

HEIGHT, WIDTH, NUM_FRAMES, RATE = 96, 128, 20, 10
ATTACHED = 0x400  # disposition of cover art
UNSPECIFIED, PQ, BT2020 = 2, 16, 9  # codes of ITU-T H.273
RED, NOT_RED = 140, 110  # levels that the red square's channels must be above and below
CLEAR = 200  # levels that transparent pixels must be above
HIDDEN = ".DS_Store"

Frames = np.ndarray
Setup = Callable[[Any, Any], Callable[[], None] | None]


def scene(num_frames: int = NUM_FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Frames:
    """Frames uint8 [t, h, w, 3]: a red square at the top left of a blue gradient, a white disc moves to the right."""
    rows, columns = np.mgrid[:height, :width]
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[..., 2] = 60 + 120 * rows // height
    frames[..., 1] = 40
    frames[:, : height * 5 // 12, : width * 5 // 12] = (220, 30, 30)
    for index, frame in enumerate(frames):
        across = width * (0.2 + 0.6 * index / max(1, num_frames - 1))
        frame[np.hypot(rows - 0.72 * height, columns - across) < height / 7] = 255
    return frames


def encode(
    path: Path,
    frames: Frames,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    *,
    container: str | None = None,
    options: dict[str, str] | None = None,
    setup: Setup = lambda output, stream: None,
    times: Sequence[int] | None = None,
    rate: int = RATE,
) -> Path:
    """Write RGB or RGBA frames, at `times` if given. `setup` changes the stream and may return a last step."""
    with av.open(str(path), "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        finish = setup(output, stream)
        layout = {(4, 1): "rgba", (3, 1): "rgb24", (3, 2): "rgb48le"}[frames.shape[-1], frames.itemsize]
        for index, pixels in zip(times or range(len(frames)), frames, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), layout)
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if finish is not None:
            finish()
    return path


def _cover(output: Any, stream: Any) -> None:
    cover = output.add_stream("mjpeg", rate=1)
    cover.height, cover.width, cover.pix_fmt, cover.disposition = 160, 160, "yuvj420p", ATTACHED
    picture = av.VideoFrame.from_ndarray(np.full((160, 160, 3), (30, 220, 30), np.uint8), "rgb24")
    picture.pts = 0
    packets = cover.encode(picture) + cover.encode(None)
    stream.codec_context.open()  # the header needs it
    output.mux(packets)


def _sound(seconds: float, codec: str) -> Setup:
    def setup(output: Any, stream: Any) -> Callable[[], None]:
        sound = output.add_stream(codec, rate=48000)

        def finish() -> None:
            for index in range(int(seconds * 48000 / 960)):
                wave = np.sin(np.arange(index * 960, index * 960 + 960, dtype=np.float32) / 20)[None]
                frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 48000, index * 960
                output.mux(sound.encode(frame))
            output.mux(sound.encode(None))

        return finish

    return setup


def _aspect(output: Any, stream: Any) -> None:
    stream.codec_context.sample_aspect_ratio = 2


def _pq_tags(output: Any, stream: Any) -> None:
    context = stream.codec_context
    context.color_trc, context.color_primaries, context.colorspace, context.color_range = PQ, BT2020, BT2020, 1


def _alpha_tag(output: Any, stream: Any) -> None:
    stream.metadata["alpha_mode"] = "1"


def as_pq(frames: Frames) -> Frames:
    """PQ-coded frames uint16 of BT.709 colours, white at 203 nits: SMPTE ST 2084, BT.2408 and BT.2087."""
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    light = ((frames / 255.0) ** 2.4 @ to_2020.T * 203 / 10_000) ** (2610 / 16384)
    coded = ((0.8359375 + 18.8515625 * light) / (1 + 18.6875 * light)) ** (2523 / 32)
    return (65535 * coded).round().astype(np.uint16)


def turned(path: Path) -> Path:
    """A video that is stored lying and whose display matrix turns it by a quarter clockwise."""
    content = bytearray(encode(path, np.rot90(scene(), 1, (1, 2))).read_bytes())
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def turned_photo(path: Path) -> Path:
    """A photo that is stored lying, with Exif orientation 6."""
    content = write_video(Video(np.rot90(scene(1), 1, (1, 2)).copy(), 1.0), path).read_bytes()
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x112, 3, 1, 6, 0) + b"\0" * 4
    exif = b"Exif\0\0" + tiff
    path.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:])
    return path


def with_edit_list(path: Path) -> Path:
    """A video whose edit list skips the first five frames, which an editor has cut off and turned green."""
    frames = scene()
    frames[:5] = (0, 255, 0)
    content = bytearray(encode(path, frames, options={"bf": "0"}).read_bytes())
    at, scale = content.index(b"elst") + 12, content.index(b"mdhd") + 16
    (timescale,) = struct.unpack(">I", content[scale : scale + 4])
    content[at + 4 : at + 8] = struct.pack(">i", 5 * timescale // RATE)
    path.write_bytes(content)
    return path


def joined(path: Path) -> Path:
    """Two recordings, one after the other in one file."""
    parts = []
    for part in (scene()[:10], scene()[10:]):
        parts.append(encode(path, part, container="mpegts").read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def interlaced() -> Frames:
    """Frames of two fields each."""
    fields = scene(2 * NUM_FRAMES)
    even = (np.arange(HEIGHT) % 2 == 0)[:, None, None]
    return np.where(even, fields[::2], fields[1::2])


def transparent() -> Frames:
    """RGBA frames whose background is clear behind the lower half."""
    frames = np.concatenate([scene(), np.full((NUM_FRAMES, HEIGHT, WIDTH, 1), 255, np.uint8)], axis=-1)
    frames[:, HEIGHT * 7 // 8 :, :, 3] = 0
    return frames


def truncated(path: Path) -> Path:
    """A recording that ended when the battery did."""
    content = encode(path, scene(), options={"g": "5"}).read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


def song(path: Path) -> Path:
    """A song with a cover."""
    with av.open(str(path), "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return path


_QUIET = {"x265-params": "log-level=none"}
_FIELDS = {"flags": "+ilme+ildct", "b": "4000000"}
SHOWN: dict[str, Callable[[Path], object]] = {
    "phone turned.mp4": turned,
    "phone 10 bit.mp4": lambda path: encode(path, scene(), "libx265", "yuv420p10le", options=_QUIET),
    "phone HDR.mov": lambda path: encode(
        path, as_pq(scene()), "libx265", "yuv420p10le", options=_QUIET, setup=_pq_tags
    ),
    "phone variable rate.mp4": lambda path: encode(path, scene(), times=[k + k * k // 8 for k in range(NUM_FRAMES)]),
    "phone photo.JPG": turned_photo,
    "phone.3gp": lambda path: encode(path, scene(height=144, width=176), "h263", container="3gp"),
    "camera interlaced.MTS": lambda path: encode(path, interlaced(), container="mpegts", options=_FIELDS),
    "camera anamorphic.mpg": lambda path: encode(
        path, scene()[:, :, ::2], "mpeg2video", setup=_aspect, options=_FIELDS
    ),
    "camera.m2ts": lambda path: encode(path, scene(), container="mpegts"),
    "camera.vob": lambda path: encode(path, scene(), "mpeg2video", container="vob"),
    "camera.mxf": lambda path: encode(path, scene(50), "mpeg2video", container="mxf", rate=25),
    "camera.avi": lambda path: encode(path, scene(), "mjpeg", "yuvj422p"),
    "camera battery died.mkv": truncated,
    "browser alpha.webm": lambda path: encode(path, transparent(), "libvpx-vp9", "yuva420p", setup=_alpha_tag),
    "browser.gif": lambda path: write_video(Video(scene(), RATE), path),
    "browser still.avif": lambda path: encode(path, scene(1), "libsvtav1", container="avif"),
    "browser animated.png": lambda path: encode(path, scene(), "apng", "rgb24", container="apng"),
    "browser.webp": lambda path: write_video(Video(scene(1), RATE), path),
    "browser download": lambda path: encode(path, scene(), container="mp4"),
    "browser wrong suffix.jpg": lambda path: encode(path, scene(), container="matroska"),
    "editor cover.mp4": lambda path: encode(path, scene(), setup=_cover),
    "editor edit list.mp4": with_edit_list,
    "editor joined.ts": joined,
    "editor long sound.webm": lambda path: encode(path, scene(), "libvpx-vp9", setup=_sound(20, "libopus")),
    "editor ProRes.mov": lambda path: encode(path, scene(), "prores_ks", "yuv422p10le"),
    "editor odd size.mkv": lambda path: encode(path, scene(height=97, width=131), pix_fmt="yuv444p"),
    "editor two frames.mp4": lambda path: encode(path, scene(2)),
    "old.wmv": lambda path: encode(path, scene(), "wmv2", container="asf"),
    "old.flv": lambda path: encode(path, scene(), "flv"),
    "scan.tif": lambda path: encode(path, scene(1), "tiff", "rgb24", container="image2"),
    "screen.bmp": lambda path: encode(path, scene(1), "bmp", "bgr24", container="image2"),
}
OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "song.m4a": (song, "sound only"),
    "notes.pdf": (lambda path: path.write_bytes(b"%PDF-1.7\n" + b"nothing to see\n" * 50), "not a picture or video"),
    "subtitles.srt": (lambda path: path.write_text("1\n00:00:00,000 --> 00:00:01,000\nhm\n"), "not a picture or video"),
    "icon.svg": (lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"), "not a picture or video"),
    "half a download.mp4": (
        lambda path: path.write_bytes(encode(path, scene()).read_bytes()[:600]),
        "not a picture or video",
    ),
    "empty.mov": (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "gone.mp4": (lambda path: path.symlink_to("nowhere.mp4"), "link to nowhere"),
}


def write_files(folder: Path, names: Sequence[str] = tuple(SHOWN)) -> None:
    """Write the named files of `SHOWN` and all of `OTHERS`, a caption and a hidden file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in {**{name: SHOWN[name] for name in names}, **{name: OTHERS[name][0] for name in OTHERS}}.items():
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
    (folder / "PHONE TURNED.TXT").write_text("a disc moves to the right", encoding="utf-8")
    (folder / HIDDEN).write_bytes(b"\0\0\0\1Bud1")


def prepare(folder: Path, out: Path) -> tuple[Prepared, dict[str, list[Clip]]]:
    """The result of preparing a folder, and its clips by file."""
    config = PrepareConfig(sizes=("64x48", "48x64"), num_frames=9, fps=5.0, max_bad_share=1.0)
    prepared, by_file = prepare_videos(folder, out, config), dict[str, list[Clip]]()
    for clip in list_clips(out):
        by_file.setdefault(clip.source, []).append(clip)
    return prepared, by_file


def faults(prepared: Prepared, clips: dict[str, list[Clip]], names: Sequence[str] = tuple(SHOWN)) -> list[str]:
    """Everything that is not as it must be, one line each."""
    found = [f"{name}: not used" for name in names if name not in clips]
    found += [f"{name}: used, but it shows nothing" for name in clips if name not in SHOWN]
    for name, some in clips.items():
        for clip in some:
            red, green, blue = clip.read().frames[:, 6:14, 6:14].mean((0, 1, 2))
            if red < RED or max(green, blue) > NOT_RED:
                found.append(f"{name}: the red square is ({red:.0f}, {green:.0f}, {blue:.0f})")
    for name in [name for name in clips if "alpha" in name]:
        bottom = clips[name][0].read().frames[:, -3:].mean((0, 1, 2))
        if bottom.min() < CLEAR:
            found.append(f"{name}: the clear strip at the bottom is {bottom.round()}, not white")
    expected = Counter(reason for _, reason in OTHERS.values())
    if prepared.problems != expected:
        found.append(f"left out {dict(prepared.problems)}, not {dict(expected)}")
    return found


def sheet(clips: dict[str, list[Clip]]) -> Video:
    """Four frames of the first clip of each file."""
    names = sorted(clips)
    return contact_sheet([clips[name][0].read() for name in names], columns=4, frames_per_video=4, labels=names)


def main() -> int:
    """0, or 1 if a file is not used or doesn't look right."""
    parser = argparse.ArgumentParser(description="Prepare a folder of awkward files, and draw what comes out.")
    parser.add_argument("--out", type=Path, help="keep files, dataset and sheet.png here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        write_files(out / "files")
        prepared, clips = prepare(out / "files", out / "dataset")
        found = faults(prepared, clips)
        if options.out:
            print(sheet(clips).save(out / "sheet.png"))
    print(prepared)
    print("\n".join(found) or "every file that shows something is used", file=sys.stderr)
    used = len(clips.keys() & SHOWN.keys())
    print(f"{used} of {len(SHOWN)} files used, {prepared.problems.total()} of {len(OTHERS)} left out")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
