"""Videos in memory, and reading and writing of video files.

Only this package handles containers, codecs, colour matrices and timestamps. Names are imported at first use, so
importing the package loads no NumPy and no FFmpeg.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitascope.video.clip import IMAGE_FPS as IMAGE_FPS
    from vitascope.video.clip import MAX_CLIP_BYTES as MAX_CLIP_BYTES
    from vitascope.video.clip import MAX_FPS as MAX_FPS
    from vitascope.video.clip import MAX_PIXELS as MAX_PIXELS
    from vitascope.video.clip import MIN_FPS as MIN_FPS
    from vitascope.video.clip import MIN_SIDE as MIN_SIDE
    from vitascope.video.clip import Video as Video
    from vitascope.video.decoding import SEEK_FROM as SEEK_FROM
    from vitascope.video.probing import Probe as Probe
    from vitascope.video.probing import probe as probe
    from vitascope.video.probing import read_comment as read_comment
    from vitascope.video.probing import read_duration as read_duration
    from vitascope.video.reading import read_video as read_video
    from vitascope.video.sheet import contact_sheet as contact_sheet
    from vitascope.video.sound import SoundPart as SoundPart
    from vitascope.video.writing import GrowingVideo as GrowingVideo
    from vitascope.video.writing import VideoWriter as VideoWriter
    from vitascope.video.writing import write_video as write_video

_MODULES = {
    "clip": ("IMAGE_FPS", "MAX_CLIP_BYTES", "MAX_FPS", "MAX_PIXELS", "MIN_FPS", "MIN_SIDE", "Video"),
    "probing": ("Probe", "probe", "read_comment", "read_duration"),
    "decoding": ("SEEK_FROM",),
    "reading": ("read_video",),
    "sheet": ("contact_sheet",),
    "sound": ("SoundPart",),
    "writing": ("GrowingVideo", "VideoWriter", "write_video"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
