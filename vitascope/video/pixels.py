"""Conversion between stored pixels and RGB: matrices, ranges, palettes, transparency and rotation.

Files are written in BT.709, limited range, and tagged so. Untagged files are read as BT.709 from 720 rows upwards and
as BT.601 below, as players do. Transparent pixels are blended onto white.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from jaxtyping import UInt8

# Accurate rounding and full chroma: swscale's fast paths shift flat colours by up to 3 levels.
_EXACT = int(Interpolation.BICUBIC) | 0x2000 | 0x4000 | 0x40000  # FULL_CHR_H_INT, FULL_CHR_H_INP, ACCURATE_RND
_EXACT_SHRINKING = int(Interpolation.AREA) | 0x2000 | 0x4000 | 0x40000
# ISO/IEC 23091-2 matrix coefficients -> swscale's matrix (SWS_CS_*; PyAV 15 doesn't name all)
_BT709, _BT601 = 1, 5
_ONE_THREAD: Any = {"threads": 1} if int(av.__version__.split(".")[0]) >= 18 else {}
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics
_WIDE = {9: "BT.2020", 12: "Display P3"}  # colour primaries
_WHITE_16 = {ColorRange.MPEG: 65283, ColorRange.JPEG: 65473}  # swscale's white in 16 bits, from 10-bit YUV
_BAND = 2**18  # pixels of numbers of 16 bits that are held at once
BAND_PIXELS = 2**21  # of larger frames, bands of this size are converted
_MARGIN = 16  # rows around a band that the filters of chroma see
_MATRICES = {1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9, 10: 9}


class Orientation(NamedTuple):
    """Swap rows and columns, then flip rows, then columns."""

    swap: bool
    flip_rows: bool
    flip_columns: bool


UPRIGHT = Orientation(swap=False, flip_rows=False, flip_columns=False)


def displayed_size(frame: av.VideoFrame, aspect: Fraction, turned: Orientation) -> tuple[int, int]:
    """(height, width) of a frame with square pixels, upright. `aspect` is a stored pixel's width by its height.

    The shorter side of a pixel grows, so that no detail is lost.
    """
    height, width = frame.height, frame.width
    if aspect > 1:
        width = round(width * aspect)
    else:
        height = round(height / aspect)
    return (width, height) if turned.swap else (height, width)


def upright_pixels(
    frame: av.VideoFrame, reformatter: VideoReformatter, size: tuple[int, int], turned: Orientation = UPRIGHT
) -> np.ndarray:
    """One frame as SDR, uint8 RGB [h, w, 3] of (height, width) `size`, which holds after the turn."""
    height, width = size[::-1] if turned.swap else size
    colours = transfer, primaries = _light(frame)
    to_sdr = transfer in _HDR or primaries in _WIDE
    if frame.format.has_palette or any(part.is_alpha for part in frame.format.components):
        frame, to_sdr = _over_white(frame, reformatter, colours if to_sdr else None), False
    shrinking = height * width < frame.height * frame.width
    alone = _ONE_THREAD if frame.height * frame.width <= 512 * 512 else {}  # threads cost more than they gain
    converted = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb48le" if to_sdr else "rgb24",
        src_colorspace=_matrix(frame),
        src_color_range=_range(frame),
        dst_color_range=ColorRange.JPEG,
        interpolation=_EXACT_SHRINKING if shrinking else _EXACT,
        **alone,
    )
    rgb = _sdr(_plane(converted, 3), frame, colours) if to_sdr else _plane(converted, 3)
    return _turned(rgb, turned)


class BandConverter:
    """Conversion of frames to RGB as by `upright_pixels`, large ones in bands of rows: their memory is a band's."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._crops: dict[tuple[Any, ...], Any] = {}

    def blocks(
        self, frame: av.VideoFrame, size: tuple[int, int], turned: Orientation
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the blocks of a frame in (height, width) `size`: top, left and uint8 RGB [rows, columns, 3]."""
        height, width = frame.height, frame.width
        shown = (width, height) if turned.swap else (height, width)
        if height * width <= BAND_PIXELS or size != shown or _has_odd_chroma(frame):
            yield 0, 0, upright_pixels(frame, self._reformatter, size, turned)
            return
        rows = max(1, BAND_PIXELS // width // _MARGIN) * _MARGIN
        for top in range(0, height, rows):
            bottom = min(height, top + rows)
            band = self._cropped(frame, max(0, top - _MARGIN), min(height, bottom + _MARGIN))
            rgb = upright_pixels(band, self._reformatter, (band.height, band.width))
            above = min(top, _MARGIN)
            rgb = rgb[above : above + bottom - top]
            if turned.swap:
                first = height - bottom if turned.flip_columns else top
                yield 0, first, _turned(rgb, turned)
            else:
                yield (height - bottom if turned.flip_rows else top), 0, _turned(rgb, turned)

    def _cropped(self, frame: av.VideoFrame, top: int, bottom: int) -> Any:
        """Rows of a frame, without a copy."""
        height, width, name = frame.height, frame.width, frame.format.name
        key = (height, width, name, top, bottom)
        if key not in self._crops:
            graph: Any = Graph()
            source = graph.add_buffer(width=width, height=height, format=name, time_base=Fraction(1, 1000))
            crop = graph.add("crop", f"w={width}:h={bottom - top}:x=0:y={top}:exact=1")
            sink = graph.add("buffersink")
            source.link_to(crop)
            crop.link_to(sink)
            graph.configure()
            self._crops[key] = graph
        self._crops[key].push(frame)
        band: Any = self._crops[key].pull()
        band.colorspace = _colorspace(frame)
        return band


def _has_odd_chroma(frame: av.VideoFrame) -> bool:
    """True if the height isn't a multiple of a chroma sample's: swscale then stretches chroma over all rows."""
    return frame.height * frame.format.chroma_height(4) % 4 != 0


def _turned(rgb: np.ndarray, turned: Orientation) -> np.ndarray:
    if turned.swap:
        rgb = rgb.swapaxes(0, 1)
    return rgb[:: -1 if turned.flip_rows else 1, :: -1 if turned.flip_columns else 1]


def colour_note(frame: av.VideoFrame) -> str:
    """Description of the colour conversion that `upright_pixels` makes beyond the matrix; empty for SDR in BT.709."""
    transfer, primaries = _light(frame)
    if transfer in _HDR:
        return f"HDR ({_HDR[transfer]}), tone-mapped to SDR"
    return f"in {_WIDE[primaries]} colours, converted to BT.709" if primaries in _WIDE else ""


def resized(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Frames, uint8 RGB [t, h, w, 3], resized without keeping the aspect ratio."""
    if frames.shape[1:3] == (height, width):
        return frames
    reformatter = VideoReformatter()
    pictures = [av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24") for rgb in frames]
    return np.stack([upright_pixels(picture, reformatter, (height, width)) for picture in pictures])


def _plane(frame: av.VideoFrame, channels: int) -> np.ndarray:
    """View of a packed frame's pixels, [h, w, channels], without its padding."""
    dtype = np.dtype("<u2") if "48" in frame.format.name or "64" in frame.format.name else np.dtype(np.uint8)
    plane: Any = frame.planes[0]
    if plane.line_size < 0:  # stored from bottom to top
        return frame.to_ndarray()
    rows = np.frombuffer(plane, dtype).reshape(frame.height, plane.line_size // dtype.itemsize)
    return rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels)


def _light(frame: av.VideoFrame) -> tuple[int, int]:
    """Transfer and primaries of a frame by the numbers of ISO/IEC 23091-2."""
    return int(getattr(frame, "color_trc", 2)), int(getattr(frame, "color_primaries", 2))


def _sdr(rgb: np.ndarray, frame: av.VideoFrame, colours: tuple[int, int]) -> np.ndarray:
    from vitascope.video.hdr import to_sdr  # deferred: few files are HDR

    return to_sdr(rgb, *colours, white=_WHITE_16[_range(frame)])


def orientation(frame: av.VideoFrame) -> Orientation:
    """Orientation by a frame's display matrix, to the nearest quarter turn.

    Source: libavutil/display.h: x' = a x + c y, y' = b x + d y for the nine 32-bit numbers a b u c d v x y w.
    """
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV fails on all side data if one kind is unknown to it, such as Exif
        angle = math.radians(frame.rotation)
        a, b, c, d = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    else:
        if matrix is None or len(bytes(matrix)) < 36:
            return UPRIGHT
        a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), "=i4", 9).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(swap=False, flip_rows=d < 0, flip_columns=a < 0)
    return Orientation(swap=True, flip_rows=b < 0, flip_columns=c < 0)


def _matrix(frame: av.VideoFrame) -> int:
    return _MATRICES[_colorspace(frame)]


def _colorspace(frame: av.VideoFrame) -> int:
    """Matrix coefficients by the numbers of ISO/IEC 23091-2."""
    stated = int(frame.colorspace)
    return stated if stated in _MATRICES else _BT709 if frame.height >= 720 else _BT601


def _range(frame: av.VideoFrame) -> ColorRange:
    stated = int(frame.color_range)
    full = frame.format.name.startswith("yuvj") or (frame.format.name.startswith("gray") and stated != 1)
    return ColorRange.JPEG if full or frame.format.is_rgb or stated == 2 else ColorRange.MPEG


def _over_white(frame: av.VideoFrame, reformatter: VideoReformatter, colours: tuple[int, int] | None) -> av.VideoFrame:
    """The frame blended onto white, as RGB; `colours` is given if it needs conversion to SDR."""
    rgba = _plane(
        reformatter.reformat(
            frame,
            format="rgba64le" if colours else "rgba",
            src_colorspace=_matrix(frame),
            src_color_range=_range(frame),
            interpolation=_EXACT,
        ),
        4,
    )
    blended = np.empty((frame.height, frame.width, 3), np.uint8)
    rows = max(1, _BAND // frame.width)
    for top in range(0, frame.height, rows):  # in bands, which bounds the memory of intermediate results
        band = rgba[top : top + rows]
        colour, alpha = band[..., :3], band[..., 3:]
        if colours:
            colour, alpha = _sdr(colour, frame, colours), (alpha >> 8).astype(np.uint8)
        blended[top : top + rows] = over_white(colour, alpha)
    return av.VideoFrame.from_ndarray(blended, "rgb24")


def over_white(colour: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w 1"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colours blended onto white by their opacity."""
    if (alpha == 255).all():
        return colour
    colour16, alpha16 = colour.astype(np.uint16), alpha.astype(np.uint16)
    return ((colour16 * alpha16 + 255 * (255 - alpha16) + 127) // 255).astype(np.uint8)


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
