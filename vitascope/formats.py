"""The kinds of file that are written: what each suffix stands for. Light, for those who only check a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Encoding(NamedTuple):
    """How ffmpeg is told to write a video; `options` are the encoder's at a quality (crf, 0 best to 51)."""

    container: str
    codec: str
    options: Callable[[int], dict[str, str]]


def _x264(crf: int) -> dict[str, str]:
    # without mbtree=0, libx264 makes other bytes of the same frames from run to run
    return {"crf": str(crf), "preset": "medium", "x264-params": "mbtree=0"}


def _vp9(crf: int) -> dict[str, str]:
    # VP9 counts to 63 where H.264 counts to 51
    return {"crf": str(round(crf * 63 / 51)), "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}


# Videos and animations
MOVING = {
    ".mp4": Encoding("mp4", "libx264", _x264),
    ".m4v": Encoding("mp4", "libx264", _x264),
    ".mov": Encoding("mov", "libx264", _x264),
    ".mkv": Encoding("matroska", "libx264", _x264),
    ".webm": Encoding("webm", "libvpx-vp9", _vp9),
    ".avi": Encoding("avi", "libx264", lambda crf: {**_x264(crf), "bf": "0"}),  # AVI can't say that frames reorder
    ".gif": Encoding("gif", "gif", lambda crf: {}),
}
# Images: the encoder's name
STILL = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".webp": "libwebp"}
