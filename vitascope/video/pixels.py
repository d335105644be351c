"""Conversion between stored pixels and RGB: matrices, ranges, palettes, transparency and rotation.

Files are written in BT.709, limited range, and tagged so. Untagged files are read as BT.709 from 720 rows upwards and
as BT.601 below, as players do. Transparent pixels are blended onto white.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

# Accurate rounding and full chroma: swscale's fast paths shift flat colours by up to 3 levels.
_EXACT = int(Interpolation.BICUBIC) | 0x2000 | 0x4000 | 0x40000  # FULL_CHR_H_INT, FULL_CHR_H_INP, ACCURATE_RND
_EXACT_SHRINKING = int(Interpolation.AREA) | 0x2000 | 0x4000 | 0x40000
# ISO/IEC 23091-2 matrix coefficients -> swscale's matrix (SWS_CS_*; PyAV 15 doesn't name all)
_BT709, _BT601 = 1, 5
_MATRICES = {1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9, 10: 9}


def upright_pixels(frame: av.VideoFrame, reformatter: VideoReformatter, size: tuple[int, int] | None) -> np.ndarray:
    """One frame as uint8 RGB [h, w, 3], rotated by its display matrix."""
    swap, flip_rows, flip_columns = _orientation(frame)
    height, width = size or ((frame.width, frame.height) if swap else (frame.height, frame.width))
    height, width = (width, height) if swap else (height, width)
    if frame.format.has_palette or any(part.is_alpha for part in frame.format.components):
        frame = _over_white(frame, reformatter)
    shrinking = height * width < frame.height * frame.width
    rgb = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=_matrix(frame),
        src_color_range=_range(frame),
        dst_color_range=ColorRange.JPEG,
        interpolation=_EXACT_SHRINKING if shrinking else _EXACT,
    ).to_ndarray()
    if swap:
        rgb = rgb.swapaxes(0, 1)
    return np.ascontiguousarray(rgb[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def resized(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Frames, uint8 RGB [t, h, w, 3], resized without keeping the aspect ratio."""
    if frames.shape[1:3] == (height, width):
        return frames
    reformatter = VideoReformatter()
    pictures = [av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24") for rgb in frames]
    return np.stack([upright_pixels(picture, reformatter, (height, width)) for picture in pictures])


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(swap rows and columns, then flip rows, flip columns) of a display matrix that rotates by quarter turns.

    Source: libavutil/display.h: x' = a x + c y, y' = b x + d y for the nine 32-bit numbers a b u c d v x y w.
    """
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV fails on all side data if one kind is unknown to it, such as Exif
        angle = math.radians(frame.rotation)
        a, b, c, d = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    else:
        if matrix is None or len(bytes(matrix)) < 36:
            return False, False, False
        a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), "=i4", 9).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, d < 0, a < 0
    return True, b < 0, c < 0


def _matrix(frame: av.VideoFrame) -> int:
    return _MATRICES.get(int(frame.colorspace), _BT709 if frame.height >= 720 else _BT601)


def _range(frame: av.VideoFrame) -> ColorRange:
    stated = int(frame.color_range)
    full = frame.format.name.startswith("yuvj") or (frame.format.name.startswith("gray") and stated != 1)
    return ColorRange.JPEG if full or frame.format.is_rgb or stated == 2 else ColorRange.MPEG


def _over_white(frame: av.VideoFrame, reformatter: VideoReformatter) -> av.VideoFrame:
    rgba = reformatter.reformat(
        frame, format="rgba", src_colorspace=_matrix(frame), src_color_range=_range(frame), interpolation=_EXACT
    ).to_ndarray()
    colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    return av.VideoFrame.from_ndarray(((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8), "rgb24")


def limited_yuv(frame: av.VideoFrame, reformatter: VideoReformatter) -> av.VideoFrame:
    """An RGB frame as video files store it: 4:2:0, BT.709, limited range."""
    yuv = reformatter.reformat(
        frame,
        format="yuv420p",
        src_color_range=ColorRange.JPEG,
        dst_colorspace=_BT709,
        dst_color_range=ColorRange.MPEG,
        interpolation=_EXACT,
    )
    yuv.colorspace, yuv.color_range = 1, int(ColorRange.MPEG)
    return yuv


def full_yuv(frame: av.VideoFrame) -> av.VideoFrame:
    """An RGB frame as JPEG files store it: 4:4:4, BT.601, full range."""
    return frame.reformat(
        format="yuvj444p",
        src_color_range=ColorRange.JPEG,
        dst_colorspace=_BT601,
        dst_color_range=ColorRange.JPEG,
        interpolation=_EXACT,
    )


def palette_graph(height: int, width: int) -> Any:
    """Filter graph that reduces each frame to its own optimal palette of 256 colours."""
    graph: Any = Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, 100))
    split, colours = graph.add("split"), graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use, sink = graph.add("paletteuse", "new=1:dither=sierra2_4a"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(colours, 1, 0)
    colours.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph
