"""File formats by suffix, and names of files. Imports little, for callers that only check a name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Encoding(NamedTuple):
    """FFmpeg's container and codec of a format; `options(crf)` are encoder options for a quality, 0 (best) to 51.

    `sound` is the encoder of sound, empty if the format holds none; packets of the codecs `sounds_copied` are copied.
    """

    container: str
    codec: str
    options: Callable[[int], dict[str, str]]
    container_options: dict[str, str]
    sound: str = ""
    sounds_copied: frozenset[str] = frozenset()
    sound_delay: int = 0  # frames by which FFmpeg shows the first frame late

    def stored_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in the file: H.264 needs even sizes for its chroma planes."""
        return (height + height % 2, width + width % 2) if self.codec == "libx264" else (height, width)


def _x264(crf: int) -> dict[str, str]:
    # without mbtree=0, libx264 is not deterministic from run to run
    return {"crf": str(crf), "preset": "medium", "x264-params": "mbtree=0"}


def _vp9(crf: int) -> dict[str, str]:
    # VP9 has 0 to 63 where H.264 has 0 to 51
    return {"crf": str(round(crf * 63 / 51)), "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}


_AT_ONCE = {"movflags": "+faststart"}  # index first, so that players start before the download ends

_IN_MP4 = ("aac", frozenset({"aac", "mp3", "mp3float", "ac3", "alac"}))
_IN_MKV = ("aac", frozenset({"opus", "vorbis", "flac"}))
_IN_WEBM = ("libopus", frozenset({"opus", "vorbis"}))

# Videos and animations
MOVING = {
    ".mp4": Encoding("mp4", "libx264", _x264, _AT_ONCE, *_IN_MP4),
    ".m4v": Encoding("mp4", "libx264", _x264, _AT_ONCE, *_IN_MP4),
    ".mov": Encoding("mov", "libx264", _x264, _AT_ONCE, *_IN_MP4),
    ".mkv": Encoding("matroska", "libx264", _x264, {}, *_IN_MKV),
    ".webm": Encoding("webm", "libvpx-vp9", _vp9, {}, *_IN_WEBM),
    ".avi": Encoding(
        "avi", "libx264", lambda crf: {**_x264(crf), "bf": "0"}, {}, "pcm_s16le", sound_delay=1
    ),  # AVI can't store reordered frames
    ".gif": Encoding("gif", "gif", lambda crf: {}, {}),
}
# A fragmented MP4, playable while it grows: one fragment per frame, no frame delay
GROWING = Encoding(
    "mp4",
    "libx264",
    lambda crf: {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"},
    {"movflags": "+frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"},
)
# Images: name of the encoder
STILL = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".webp": "libwebp"}


MAX_NAME_BYTES = 255  # of a file name, in the file systems of Linux, macOS and Windows


def partial_path(path: Path) -> Path:
    """Path of the partial video while `clip.mp4` or `clip.gif` is generated: `clip.partial.mp4` in the same folder.

    The stem of an overlong name is cut.
    """
    stem, suffix = path.stem, ".partial.mp4"
    while len(os.fsencode(stem + suffix)) > MAX_NAME_BYTES:
        stem = stem[:-1]
    return path.with_name(stem + suffix)


def ffmpeg_url(path: Path) -> str:
    """URL of a local file for FFmpeg, which would read the bare names `http:a.mp4` and `concat:a|b` as protocols.

    Every file that FFmpeg opens by name is named by this function; files to read are opened by Python.

    Raises:
        ValueError: a null byte, which would end the name.
    """
    if "\0" in str(path):
        raise ValueError("a null byte in the name")
    return f"file:{path.absolute()}"
