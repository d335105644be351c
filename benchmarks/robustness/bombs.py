"""Media bombs: small files that declare much. Each must be refused within a second, in little memory.

python -m benchmarks.robustness.bombs
"""

from __future__ import annotations

import argparse
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

from benchmarks.robustness.watched import Trial, WatchedReader
from vitascope.progress import progress

SECONDS = 1.0  # to refuse one


def write_bombs(folder: Path, names: list[str] | None = None) -> Iterator[Path]:
    """Yield the bombs, written to a folder; `names` selects some."""
    for name, make in BOMBS.items():
        if names is None or name in names:
            make(folder / name)
            yield folder / name


def check_bombs(names: list[str] | None = None, *, apart: bool = True) -> dict[str, Trial]:
    """Trials of the bombs by name: a read at full size."""
    with TemporaryDirectory() as folder, WatchedReader(apart=apart) as reader:
        paths = list(write_bombs(Path(folder), names))
        trials: dict[str, Trial] = {}
        with progress("bombs") as step:
            for path in paths:
                trials[path.name] = reader.read(path)
                step(len(trials), len(paths))
        return trials


def is_refused(trial: Trial) -> bool:
    """True if a bomb was refused in time and in little memory."""
    return trial.outcome == "refused" and not trial.failed and trial.seconds <= SECONDS


def main() -> int:
    """Print each trial and the number of bombs refused; the exit code is 1 if any wasn't."""
    parser = argparse.ArgumentParser(description="Check that media bombs are refused.")
    parser.add_argument("--here", action="store_true", help="Decode in the process that reads, for comparison.")
    trials = check_bombs(apart=not parser.parse_args().here)
    for name, trial in trials.items():
        print(
            f"{'ok  ' if is_refused(trial) else 'FAIL'} {name:24} {trial.outcome:8} {trial.seconds:6.3f} s "
            f"{trial.overhead / 2**20:6.1f} MiB, decoding {trial.decoding / 2**20:6.1f} MiB  {trial.message[-90:]}"
        )
    refused = sum(map(is_refused, trials.values()))
    print(f"{refused} of {len(trials)} bombs refused within {SECONDS:g} s and 64 MiB")
    return int(refused < len(trials))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(path: Path, height: int, width: int, rows: int) -> None:
    """A picture of zeros with data for some of its rows."""
    header, packer = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    data = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b""))


def _apng(path: Path, height: int, width: int, num_frames: int) -> None:
    """An animation whose frames change one pixel each."""
    header, packer = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(1 + 3 * width)) for _ in range(height)) + packer.flush()
    parts = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header), _chunk(b"acTL", struct.pack(">II", num_frames, 0))]
    pixel, number = zlib.compress(bytes(4)), 0
    for frame in range(num_frames):
        size = (width, height) if frame == 0 else (1, 1)
        control = struct.pack(">IIIIIHHBB", number, *size, 0, 0, 1, 10, 0, 0)
        parts.append(_chunk(b"fcTL", control))
        number += 1
        if frame == 0:
            parts.append(_chunk(b"IDAT", data))
        else:
            parts.append(_chunk(b"fdAT", struct.pack(">I", number) + pixel))
            number += 1
    path.write_bytes(b"".join([*parts, _chunk(b"IEND", b"")]))


def _gif(path: Path, height: int, width: int, num_frames: int, delay: int = 4) -> None:
    """Frames of one pixel on a large canvas: each is decoded into a whole canvas."""
    frame = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 4, delay, 0, 0) + struct.pack("<BHHHHB", 0x2C, 0, 0, 1, 1, 0)
    frame += b"\x02\x02\x44\x01\x00"
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(3) + b"\xff\xff\xff"
    path.write_bytes(b"GIF89a" + screen + frame * num_frames + b";")


def _webp(path: Path, height: int, width: int, kind: str) -> None:
    if kind == "VP8L":  # one colour in a few bytes
        body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\x88\x88\x08" + bytes(6)
    elif kind == "VP8 ":
        body = struct.pack("<I", 0x10 | 200 << 5)[:3] + b"\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(200)
    else:
        body = b"\x10\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body += bytes(len(body) % 2)
    content = b"WEBP" + kind.encode() + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)


def _jpeg(path: Path, height: int, width: int) -> None:
    """A small photo whose header declares another size."""
    from vitascope.video import Video

    content = bytearray(Video(np.zeros((1, 64, 64, 3), np.uint8), 1.0).save(path).read_bytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    path.write_bytes(content)


def _bmp(path: Path, height: int, width: int, compression: int) -> None:
    data = b"\0\1" if compression else bytes(64)
    bits, palette = (8, bytes(1024)) if compression else (24, b"")
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    start = 14 + len(header) + len(palette)
    path.write_bytes(b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data)


def _tiff(path: Path, height: int, width: int) -> None:
    row = zlib.compress(bytes(3 * width * 16))
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 2), (273, 4, 200), (277, 3, 3)]
    entries += [(278, 4, height), (279, 4, len(row))]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, kind, 1, v) for tag, kind, v in entries)
    path.write_bytes((b"II*\0" + struct.pack("<I", 8) + body + bytes(4)).ljust(200, b"\0") + row)


def _text(header: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(header.encode() + bytes(4000))

    return make


def _flat(
    codec: str, height: int, width: int, num_frames: int, options: dict[str, str] | None = None
) -> Callable[[Path], None]:
    """Black frames of a size; the third one's packet stands for all that follow."""

    def make(path: Path) -> None:
        with av.open(str(path), "w") as output:
            stream: Any = output.add_stream(codec, rate=25, options=options or {})
            stream.height, stream.width = height, width
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            frame = av.VideoFrame(width, height, stream.pix_fmt)
            for plane, level in zip(frame.planes, (16, 128, 128), strict=True):
                plane.update(bytes([level]) * plane.buffer_size)
            packets = []
            for index in range(min(3, num_frames)):
                frame.pts = index
                packets += stream.encode(frame)
            packets += stream.encode(None)
            content = bytes(packets[-1])
            output.mux(packets)
            for index in range(3, num_frames):
                packet = av.Packet(content)
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 25)
                output.mux(packet)

    return make


_FAST = {"preset": "ultrafast", "g": "999", "threads": "1", "tune": "zerolatency"}


def _gap(path: Path, hours: float, rate: int = 25) -> None:
    """Two seconds of video, the second one hours later."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=rate)
        stream.height = stream.width = 64
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        frame = av.VideoFrame(64, 64, "yuv420p")
        for index in range(2 * rate):
            frame.pts = 1000 * index // rate + (index >= rate) * round(hours * 3_600_000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _patched(codec: str, find: bytes, offset: int, value: bytes) -> Callable[[Path], None]:
    """A small clip with some bytes replaced, counted from each occurrence of others."""

    def make(path: Path) -> None:
        _flat(codec, 64, 64, 50)(path)
        content = bytearray(path.read_bytes())
        at = content.find(find)
        while at >= 0:
            content[at + offset : at + offset + len(value)] = value
            at = content.find(find, at + 1)
        path.write_bytes(content)

    return make


BOMBS: dict[str, Callable[[Path], None]] = {
    "header.png": lambda path: _png(path, 30_000, 30_000, 0),
    "zeros.png": lambda path: _png(path, 8000, 8000, 8000),
    "long.png": lambda path: _png(path, 64, 16_000_000, 0),
    "frames.apng": lambda path: _apng(path, 3000, 3000, 1500),
    "large.apng": lambda path: _apng(path, 6000, 6000, 20),
    "colour.webp": lambda path: _webp(path, 8000, 8000, "VP8L"),
    "largest.webp": lambda path: _webp(path, 16_383, 16_383, "VP8L"),
    "lossy.webp": lambda path: _webp(path, 16_383, 16_383, "VP8 "),
    "canvas.webp": lambda path: _webp(path, 2**24, 2**24, "VP8X"),
    "header.jpg": lambda path: _jpeg(path, 65_500, 65_500),
    "medium.jpg": lambda path: _jpeg(path, 8000, 8000),
    "header.bmp": lambda path: _bmp(path, 30_000, 30_000, 0),
    "runs.bmp": lambda path: _bmp(path, 8000, 8000, 1),
    "header.tif": lambda path: _tiff(path, 60_000, 60_000),
    "rows.tif": lambda path: _tiff(path, 8000, 8000),
    "header.ppm": _text("P6\n60000 60000\n255\n"),
    "medium.ppm": _text("P6\n8000 8000\n255\n"),
    "canvas.gif": lambda path: _gif(path, 65_535, 65_535, 1),
    "frames.gif": lambda path: _gif(path, 8000, 8000, 1500),
    "medium.gif": lambda path: _gif(path, 3000, 3000, 1500),
    "slow.gif": lambda path: _gif(path, 64, 64, 1500, 65_535),
    "header.y4m": _text("YUV4MPEG2 W60000 H60000 F25:1 C420jpeg\nFRAME\n"),
    "medium.y4m": _text("YUV4MPEG2 W8000 H8000 F25:1 C420jpeg\nFRAME\n"),
    "flat.mp4": _flat("libx264", 4096, 4096, 60, _FAST),
    "long.mp4": _flat("libx264", 2160, 3840, 400, _FAST),
    "flat.mkv": _flat("libx264", 4096, 4096, 60, _FAST),
    "flat.ts": _flat("libx264", 4096, 4096, 30, _FAST),
    "gap.mkv": lambda path: _gap(path, 3),
    "days.mkv": lambda path: _gap(path, 100),
    "gap.mp4": lambda path: _gap(path, 3),
    "picture.avi": _patched("mjpeg", b"\xff\xc0", 5, struct.pack(">HH", 16_000, 16_000)),
}

if __name__ == "__main__":
    sys.exit(main())
