"""The kinds of file that are written: what each suffix stands for. Light, for those who only check a name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Encoding(NamedTuple):
    """How ffmpeg is told to write a video; `options` are the encoder's at a quality (crf, 0 best to 51)."""

    container: str
    codec: str
    options: Callable[[int], dict[str, str]]
    container_options: dict[str, str]

    def stored_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in the file: even in H.264, whose colours have half the rows and columns."""
        return (height + height % 2, width + width % 2) if self.codec == "libx264" else (height, width)


def _x264(crf: int) -> dict[str, str]:
    # without mbtree=0, libx264 makes other bytes of the same frames from run to run
    return {"crf": str(crf), "preset": "medium", "x264-params": "mbtree=0"}


def _vp9(crf: int) -> dict[str, str]:
    # VP9 counts to 63 where H.264 counts to 51
    return {"crf": str(round(crf * 63 / 51)), "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}


_AT_ONCE = {"movflags": "+faststart"}  # plays before all of it has arrived

# Videos and animations
MOVING = {
    ".mp4": Encoding("mp4", "libx264", _x264, _AT_ONCE),
    ".m4v": Encoding("mp4", "libx264", _x264, _AT_ONCE),
    ".mov": Encoding("mov", "libx264", _x264, _AT_ONCE),
    ".mkv": Encoding("matroska", "libx264", _x264, {}),
    ".webm": Encoding("webm", "libvpx-vp9", _vp9, {}),
    ".avi": Encoding("avi", "libx264", lambda crf: {**_x264(crf), "bf": "0"}, {}),  # AVI can't say that frames reorder
    ".gif": Encoding("gif", "gif", lambda crf: {}, {}),
}
# What plays however far it has got: each frame is a fragment, and none is held back
GROWING = Encoding(
    "mp4",
    "libx264",
    lambda crf: {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"},
    {"movflags": "+frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"},
)
# Images: the encoder's name
STILL = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".webp": "libwebp"}


def partial_path(path: Path) -> Path:
    """Where a video grows until it is finished: `clip.partial.mp4` beside `clip.mp4`, or beside `clip.gif`."""
    return path.with_name(f"{path.stem}.partial.mp4")
