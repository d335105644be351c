"""Self-identifying clips for tests of video files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from vitascope.video import Video


def smooth(num_frames: int = 12, height: int = 64, width: int = 96) -> np.ndarray:
    """Colour waves that drift: every frame differs from every other."""
    row, column = np.mgrid[:height, :width] / max(height, width)
    k = np.arange(num_frames)[:, None, None]
    waves = [np.sin(6 * column + k / 3), np.sin(5 * row + k / 4 + 1), np.cos(4 * (row + column) - k / 3)]
    return (127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def numbered(num_frames: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Frame k is flat grey of level 8 k, so that its number is readable."""
    levels = 8 * np.arange(num_frames, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()


def numbers(video: Video) -> list[int]:
    """Frame numbers of `numbered` frames."""
    return (video.frames.mean(axis=(1, 2, 3)) / 8).round().astype(int).tolist()


def quadrants(height: int = 48, width: int = 64) -> np.ndarray:
    """Two red frames whose upper left quarter is blue."""
    frames = np.zeros((2, height, width, 3), np.uint8)
    frames[..., 0] = 255
    frames[:, : height // 2, : width // 2] = (0, 0, 255)
    return frames


def blue_corners(frame: np.ndarray) -> str:
    """Blue corners in reading order: 1000 is the upper left one."""
    return "".join(str(int(frame[row, column, 2] > 128)) for row in (4, -4) for column in (4, -4))


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal to noise ratio in dB."""
    return float(10 * np.log10(255**2 / max(np.mean((first.astype(float) - second) ** 2), 1e-9)))


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
