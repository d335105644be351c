"""Contact sheets, several videos in one image, and videos in notebooks."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vitascope.errors import MediaError, SizeError
from vitascope.video.clip import IMAGE_FPS, MIN_SIDE, Video
from vitascope.video.pixels import resized
from vitascope.video.writing import write_video

MAX_NOTEBOOK_BYTES = 16 * 2**20  # of a video in a notebook's file
MAX_NOTEBOOK_PIXELS = 2**30  # values of frames; encoding more takes minutes
MAX_ENLARGED, ENLARGED_ROWS = 3, 288  # of small videos on a contact sheet
LETTERS = (12, 20)  # least and greatest height of a label's letters in pixels
LABEL_WIDTH = 40  # width of a label in heights of its letters
NOTEBOOK_FRAMES, NOTEBOOK_SIDE = 8, 256  # of the image that stands for larger videos


def contact_sheet(
    videos: Sequence[Video],
    *,
    columns: int,
    frames_per_video: int = 1,
    labels: Sequence[str] | None = None,
    scale: int | None = None,
) -> Video:
    """One-frame video that shows several videos on white, with `columns` per row.

    Each video is a strip of `frames_per_video` evenly spaced frames; a single one is the middle frame. `scale` repeats
    pixels; by default, small videos are enlarged up to three times. Pillow draws the labels below, wrapped to the
    width; boxes replace characters that no installed font has.

    Raises:
        SizeError: no videos, a count below 1, or the number of labels differs from that of videos.
        MediaError: labels are given but Pillow is missing.
    """
    if not videos or min(columns, frames_per_video, 1 if scale is None else scale) < 1:
        raise SizeError(
            "a contact sheet needs at least one video, and columns, frames_per_video and scale of 1 or more"
        )
    if labels is not None and len(labels) != len(videos):
        raise SizeError(f"{len(labels)} labels for {len(videos)} videos; give one per video")
    gap, scale = 4, enlargement(videos) if scale is None else scale
    strips = [_strip(video, frames_per_video, scale) for video in videos]
    width = max(strip.shape[1] for strip in strips)
    notes = [np.full((0, width, 3), 255, np.uint8)] * len(strips) if labels is None else _labels(labels, width)
    rows = []
    for first in range(0, len(strips), columns):
        some, beneath = strips[first : first + columns], notes[first : first + columns]
        height, note_height = max(s.shape[0] for s in some), max(n.shape[0] for n in beneath)
        row = np.full((height + note_height + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
        for column, (strip, note) in enumerate(zip(some, beneath, strict=True)):
            left = gap + column * (width + gap)
            row[: strip.shape[0], left : left + strip.shape[1]] = strip
            row[height : height + note.shape[0], left : left + width] = note
        rows.append(row)
    margin = np.full((gap, rows[0].shape[1], 3), 255, np.uint8)
    return Video(np.concatenate([margin, *rows])[None], IMAGE_FPS)


def enlargement(videos: Sequence[Video]) -> int:
    """The factor, 1 to 3, by which a contact sheet enlarges the largest of these videos to at most 288 rows."""
    return min(MAX_ENLARGED, max(1, ENLARGED_ROWS // max(video.height for video in videos)))


def notebook_html(video: Video) -> str:
    """The video as an HTML element that plays it without other files; one frame as an image.

    Videos that are too large for a notebook become an image of some of their frames.
    """
    small = -(-MIN_SIDE // min(video.height, video.width))
    if small > 1:  # codecs refuse smaller frames
        video = Video(video.frames.repeat(small, axis=1).repeat(small, axis=2), video.fps)
    height, width = video.height, video.width
    if video.num_frames > 1 and video.frames.size <= MAX_NOTEBOOK_PIXELS:
        content = _stored(video, ".mp4")
        if len(content) <= MAX_NOTEBOOK_BYTES:
            source = f"data:video/mp4;base64,{base64.b64encode(content).decode()}"
            options = f'width="{width}" height="{height}" controls loop autoplay muted playsinline'
            return f'<video src="{source}" {options}></video>'
    num_frames = min(video.num_frames, NOTEBOOK_FRAMES)
    scale = min(1.0, NOTEBOOK_SIDE / max(height, width)) if num_frames > 1 else 1.0
    rows, columns = max(MIN_SIDE, round(height * scale)), max(MIN_SIDE, round(width * scale))
    chosen = np.linspace(0, video.num_frames - 1, num_frames).round().astype(int)
    frames = resized(video.frames[chosen], rows, columns)
    image = Video(np.concatenate(list(frames), axis=1)[None], IMAGE_FPS)
    return f'<img src="data:image/png;base64,{base64.b64encode(_stored(image, ".png")).decode()}" alt="{video!r}">'


def _stored(video: Video, suffix: str) -> bytes:
    with TemporaryDirectory() as folder:
        return write_video(video, Path(folder) / f"video{suffix}").read_bytes()


def _strip(video: Video, num_frames: int, scale: int) -> np.ndarray:
    last = video.num_frames - 1
    chosen = np.linspace(0, last, num_frames).round().astype(int) if num_frames > 1 else [last // 2]
    return np.concatenate(list(video.frames[chosen]), axis=1).repeat(scale, axis=0).repeat(scale, axis=1)


def _labels(labels: Sequence[str], width: int) -> list[np.ndarray]:
    """Labels as black text on white, each uint8 [its height, width, 3]."""
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise MediaError("labels on a contact sheet need Pillow: pip install pillow, or leave labels out") from None
    size = min(LETTERS[1], max(LETTERS[0], width // LABEL_WIDTH))
    pictures = []
    for label in labels:
        font = _font(label, size)
        lines = _wrapped(label, width, font.getlength)
        picture = Image.new("RGB", (width, (size + 4) * len(lines) + 4), "white")
        ImageDraw.Draw(picture).multiline_text((0, 0), "\n".join(lines), fill="black", font=font, spacing=4)
        pictures.append(np.asarray(picture))
    return pictures


def _font(label: str, size: int) -> Any:
    from PIL import ImageFont

    if not label.isascii():
        for name in ("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc", "PingFang.ttc", "msyh.ttc"):
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)


def _wrapped(label: str, width: int, measure: Callable[[str], float]) -> list[str]:
    """Lines of at most `width` pixels, broken at spaces where possible."""
    lines = [""]
    for character in " ".join(label.split()):
        if lines[-1] and measure(lines[-1] + character) > width:
            head, space, tail = lines[-1].rpartition(" ")
            lines[-1:] = [head, tail] if space and character != " " else [lines[-1], ""]
        lines[-1] += character
    return [line.strip() for line in lines]
