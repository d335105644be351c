"""Videos to measure: files, folders of files, and datasets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from vitascope.data.clips import list_clips
from vitascope.errors import MediaError, SizeError
from vitascope.video import Video, probe, read_video
from vitascope.video.formats import MOVING

NamedVideo = tuple[str, Callable[..., Video]]
"""A video's name and its reader, which takes the options of `read_video`."""


def list_media(source: Path) -> list[NamedVideo]:
    """The videos of a file, a folder of video files, or a dataset's folder.

    Raises:
        DatasetError: a folder with neither.
    """
    if not source.is_dir():
        return [(source.name, partial(read_video, source))]
    files = sorted(path for path in source.iterdir() if path.is_file() and _is_moving(path))
    if files:
        return [(path.name, partial(read_video, path)) for path in files]
    return [(clip.member.name if clip.member else clip.path.name, clip.read) for clip in list_clips(source)]


def _is_moving(path: Path) -> bool:
    """True for a video by its suffix, which may be damaged, or by its content."""
    if path.suffix.lower() in MOVING or path.name.startswith("."):
        return not path.name.startswith(".")
    try:
        return probe(path).kind != "image"
    except (MediaError, SizeError):
        return False
