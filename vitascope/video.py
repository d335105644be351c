"""Videos: what one is, and how it is read from and written to real files. The only file that knows about containers,
codecs, colour matrices and timestamps.

Colours: files are written with BT.709 in limited range and say so; a file that does not say is taken for BT.709 from
720 rows upwards and for BT.601 below, as players do. Transparent pixels are laid over white.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import av
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from vitascope.errors import MediaError, SizeError

MIN_SIDE = 16  # pixels; smaller is not a picture that a codec takes
MAX_PIXELS = 64 * 2**20  # a frame; more is refused before it is decoded
MAX_CLIP_BYTES = 8 * 2**30  # of pixels in memory; longer footage is read in parts
MIN_FPS, MAX_FPS = 0.01, 1000.0
IMAGE_FPS = 1.0  # the rate that a still picture is given
SEEK_FROM = Fraction(1)  # seconds; an earlier start is reached by decoding

Number: TypeAlias = int | float | Fraction  # type checks at run time don't take 24 for a float

# Formats that hold pictures. What ffmpeg reads beyond them (playlists that open other files, text art) is refused.
_DEMUXERS = (
    "mov,mp4,matroska,webm,avi,gif,apng,mpeg,mpegts,mpegvideo,m4v,flv,asf,ogg,h264,hevc,av1,obu,ivf,yuv4mpegpipe,nut,"
    "dv,mxf,rm,mjpeg,png_pipe,jpeg_pipe,webp_pipe,webp,webp_anim,bmp_pipe,tiff_pipe,gif_pipe,ppm_pipe,jpegxl_pipe"
)
# swscale is asked for exact sums and full chroma: its fast paths move flat colours by up to 3 levels.
_EXACT = int(Interpolation.BICUBIC) | 0x2000 | 0x4000 | 0x40000  # FULL_CHR_H_INT, FULL_CHR_H_INP, ACCURATE_RND
_EXACT_SHRINKING = int(Interpolation.AREA) | 0x2000 | 0x4000 | 0x40000
# ISO/IEC 23091-2 matrix coefficients -> swscale's number of the matrix (SWS_CS_*; not all have a name in PyAV 15)
_BT709, _BT601 = 1, 5
_MATRICES = {1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9, 10: 9}
_PYAV = int(av.__version__.split(".")[0])


@dataclass(frozen=True, eq=False)
class Video:
    """A clip in memory: `frames` uint8 [t, h, w, 3], RGB, t >= 1; `fps` frames per second, constant.

    Raises:
        SizeError: frames of another shape or type, or a rate that is no rate.
    """

    frames: np.ndarray
    fps: Number

    def __post_init__(self) -> None:
        """Refuse what is no clip."""
        shape, dtype = np.shape(self.frames), getattr(self.frames, "dtype", type(self.frames).__name__)
        if len(shape) != 4 or shape[3] != 3 or 0 in shape or dtype != np.uint8:
            raise SizeError(f"frames are {dtype} {list(shape)}; a video has uint8 [t, h, w, 3] with t, h, w >= 1")
        _exact_fps(self.fps)
        object.__setattr__(self, "fps", float(self.fps))

    @property
    def num_frames(self) -> int:
        """How many frames."""
        return self.frames.shape[0]

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.frames.shape[2]

    @property
    def duration(self) -> float:
        """Seconds, the last frame's own time on screen included."""
        return self.num_frames / float(self.fps)

    def save(self, path: str | Path) -> Path:
        """The path written, as `write_video` does it."""
        return write_video(self, path)


# ------------------------------------------------------------------------------------------------------------- reading


def read_video(
    path: str | Path,
    *,
    fps: Number | None = None,
    size: tuple[int, int] | None = None,
    start: Number = 0.0,
    seconds: Number | None = None,
    max_frames: int | None = None,
) -> Video:
    """The clip in a video, animation or image file, upright, at a constant rate.

    fps: None keeps the file's average rate (an image: 1.0); else each frame is the one on screen at k / fps.
    size: (height, width) of the result, without regard to the aspect ratio; None keeps the stored pixels.
    start, seconds: the part wanted; long files are sought, not decoded through. A file that breaks off gives the
    frames that decode.

    Raises:
        MediaError: nothing there, nothing readable, no picture in it, or `start` past its end.
        SizeError: an absurd argument, pictures below 16x16 or above 64 Mpx, or more than fits in memory.
    """
    path = Path(path)
    _check_request(fps, size, start, seconds, max_frames)
    with _errors_reading(path):
        _check_readable(path)
    begin = Fraction(start).limit_denominator(10**6)
    for seek in (True, False) if begin >= SEEK_FROM else (False,):
        with _errors_reading(path), path.open("rb") as file, _opened(file) as container:
            stream = _video_stream(container, path)
            if _is_image(container):
                rate, count = _exact_fps(fps or IMAGE_FPS), 1
            else:
                rate = _exact_fps(fps) if fps else _average_rate(stream, path)
                count = _num_wanted(rate, seconds, max_frames)
            shown = _shown(_timed_frames(container, stream, begin, seek), begin, rate, count, _slack(stream, fps, rate))
            try:
                return Video(_pixels(shown, size, path), float(rate))
            except _SeekMissed:
                continue
    raise AssertionError("decoding from the beginning never misses")


class _SeekMissed(Exception):
    """The container landed after the instant wanted, or has no timestamps to tell."""


class _Timed(NamedTuple):
    time: Fraction  # seconds from the stream's first frame
    end: Fraction
    frame: av.VideoFrame


def _check_request(
    fps: Number | None, size: tuple[int, int] | None, start: Number, seconds: Number | None, max_frames: int | None
) -> None:
    if fps is not None:
        _exact_fps(fps)
    if size is not None:
        _check_size(*size, what="size")
    if not (math.isfinite(start) and start >= 0):
        raise SizeError(f"start is {start}; it is a number of seconds from 0 upwards")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise SizeError(f"seconds is {seconds}; it is a positive number")
    if max_frames is not None and max_frames < 1:
        raise SizeError(f"max_frames is {max_frames}; it is 1 or more")


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise MediaError(f"{path} is a folder, not a video file")
    if not path.exists():
        raise MediaError(f"no file {path}")
    if not path.is_file():
        raise MediaError(f"{path} is not a regular file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes)")


@contextmanager
def _errors_reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (FFmpegError, OSError, IndexError, ValueError, OverflowError) as error:  # ValueError: Unicode too
        raise MediaError(f"{path} can't be read as a video: {_reason(error)}") from None


class _Nameless:
    """A file's content without its name: ffmpeg gives a%03d.png, concat: and http: meanings of their own."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _opened(file: BinaryIO) -> Any:
    formats, decoder = {"format_whitelist": _DEMUXERS}, {"max_pixels": str(MAX_PIXELS)}
    # Before PyAV 18, options for decoders crash on MPEG streams; until 19, tags that are not UTF-8 are to be allowed.
    if _PYAV >= 19:
        return av.open(_Nameless(file), "r", options=formats | decoder)
    if _PYAV == 18:
        return av.open(_Nameless(file), "r", options=formats | decoder, metadata_errors="replace")
    return av.open(_Nameless(file), "r", container_options=formats, metadata_errors="replace")


def _is_image(container: Any) -> bool:
    return container.format.name.endswith("_pipe") and container.format.name != "yuv4mpegpipe"


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise MediaError(f"{path} has no video stream")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise MediaError(f"{path} holds video of an unknown codec")
    height, width = stream.codec_context.height, stream.codec_context.width
    if height and width:
        _check_size(height, width, what=str(path))
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    if height * width > 512 * 512:
        stream.thread_type = "AUTO"  # below that, starting threads costs more than they give
    return stream


def _average_rate(stream: Any, path: Path) -> Fraction:
    # By truth: what is unknown is None in some versions of PyAV and Fraction(0) in others.
    rate = stream.average_rate or _measured_rate(path)
    if not MIN_FPS <= rate <= MAX_FPS:
        raise MediaError(f"{path} shows {float(rate):g} frames per second; give the rate wanted with fps=")
    return Fraction(rate)


def _measured_rate(path: Path) -> Fraction:
    """Frames per second by counting packets, for a file that does not say; 0 when its timestamps don't either."""
    with path.open("rb") as file, _opened(file) as container:
        stream = container.streams.video[0]
        stamps = [(p.pts, p.duration or 0) for p in container.demux(stream) if p.pts is not None]
        if not stamps:
            return Fraction(stream.guessed_rate or stream.base_rate or 0)
        ticks = max(pts + duration for pts, duration in stamps) - min(pts for pts, _ in stamps)
        return len(stamps) / (ticks * stream.time_base) if ticks * (stream.time_base or 0) > 0 else Fraction(0)


def _num_wanted(rate: Fraction, seconds: Number | None, max_frames: int | None) -> int | None:
    counts = [] if max_frames is None else [max_frames]
    if seconds is not None:
        counts.append(max(1, math.ceil(seconds * float(rate) - 1e-6)))
    return min(counts, default=None)


def _slack(stream: Any, fps: Number | None, rate: Fraction) -> Fraction:
    """How much later than an instant a frame may begin and still count as on screen then.

    At the file's own rate half a frame, so that timestamps that were rounded still give every frame once. At a given
    rate one tick, the most that rounding moves a timestamp.
    """
    half = 1 / rate / 2
    return half if fps is None else min(Fraction(stream.time_base or 0), half)


def _timed_frames(container: Any, stream: Any, begin: Fraction, seek: bool) -> Iterator[_Timed]:
    """Every frame that decodes, from the key frame before `begin` or from the beginning."""
    tick = Fraction(stream.time_base or Fraction(1, 90000))
    usual = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
    origin: Any = None  # a Fraction, once a frame is seen
    if seek:
        first = next(_decodable(container, stream), None)  # stated start times can be a frame off (AVI)
        if first is None or first.pts is None:
            raise _SeekMissed
        origin = first.pts * tick
        try:
            container.seek(int((origin + begin) / tick), stream=stream)
        except (FFmpegError, OSError):
            raise _SeekMissed from None
    begun, last_end = False, Fraction(0)
    for frame in _decodable(container, stream):
        if frame.pts is None and seek:
            raise _SeekMissed
        time = last_end if frame.pts is None else frame.pts * tick
        origin = time if origin is None else origin
        if seek and not begun and time - origin > begin:
            raise _SeekMissed
        begun, last_end = True, time + ((getattr(frame, "duration", 0) or 0) * tick or usual)
        yield _Timed(time - origin, last_end - origin, frame)
    if seek and not begun:
        raise _SeekMissed


def _decodable(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    """Frames in the order shown; packets that don't decode are passed over, a container that breaks off ends it."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError, OSError):
            packet = None
        try:
            frames = stream.codec_context.decode(packet)
        except (FFmpegError, OSError, IndexError, ValueError):
            frames = []
        yield from frames
        if packet is None or (packet.dts is None and packet.size == 0):
            return


def _shown(
    timed: Iterable[_Timed], begin: Fraction, rate: Fraction, count: int | None, slack: Fraction
) -> Iterator[av.VideoFrame]:
    """The frame on screen at begin + k / rate, for k from 0 until `count` or the end."""
    current: av.VideoFrame | None = None
    end, k = Fraction(0), 0
    limit = math.inf if count is None else count
    for time, until, frame in timed:
        while current is not None and k < limit and begin + k / rate + slack <= time:
            yield current
            k += 1
        if k >= limit:
            return
        current, end = frame, max(until, end)
    while current is not None and k < limit and begin + k / rate + slack < end:
        yield current
        k += 1
    if current is not None and k == 0:
        if begin == 0:
            yield current
        else:
            raise MediaError(f"start is {float(begin):g} s, past the end at {float(end):g} s")


def _pixels(shown: Iterator[av.VideoFrame], size: tuple[int, int] | None, path: Path) -> np.ndarray:
    """The frames as one uint8 array [t, h, w, 3], all of the first one's size."""
    pictures: list[np.ndarray] = []
    reformatter, last = VideoReformatter(), None
    for frame in shown:
        if frame is last:
            picture = pictures[-1]
        else:
            _check_size(frame.height, frame.width, what=str(path))
            picture = _upright_pixels(frame, reformatter, size or (pictures[0].shape[:2] if pictures else None))
        last = frame
        pictures.append(picture)
        if len(pictures) * picture.nbytes > MAX_CLIP_BYTES:
            limit = MAX_CLIP_BYTES // 2**30
            raise SizeError(f"{path} takes more than {limit} GiB of memory; read a part with start= and seconds=")
    if not pictures:
        raise MediaError(f"{path} has no frame that can be decoded (of at most {MAX_PIXELS // 2**20} million pixels)")
    return np.stack(pictures)


def _upright_pixels(frame: av.VideoFrame, reformatter: VideoReformatter, size: tuple[int, int] | None) -> np.ndarray:
    """One frame as uint8 [h, w, 3], turned as its display matrix says."""
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


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(swap rows with columns, then flip rows, flip columns) that the display matrix asks for; quarter turns only.

    Source: libavutil/display.h: x' = a x + c y, y' = b x + d y for the nine 32-bit numbers a b u c d v x y w.
    """
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV gives no side data at all beside a kind unknown to it, such as a photo's Exif
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


# ------------------------------------------------------------------------------------------------------------- writing


class _Encoding(NamedTuple):
    container: str
    codec: str
    options: Callable[[int], dict[str, str]]  # of crf


def _x264(crf: int) -> dict[str, str]:
    return {"crf": str(crf), "preset": "medium"}


def _vp9(crf: int) -> dict[str, str]:
    # VP9 counts to 63 where H.264 counts to 51
    return {"crf": str(round(crf * 63 / 51)), "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}


_ENCODINGS = {
    ".mp4": _Encoding("mp4", "libx264", _x264),
    ".m4v": _Encoding("mp4", "libx264", _x264),
    ".mov": _Encoding("mov", "libx264", _x264),
    ".mkv": _Encoding("matroska", "libx264", _x264),
    ".webm": _Encoding("webm", "libvpx-vp9", _vp9),
    ".avi": _Encoding("avi", "libx264", lambda crf: {**_x264(crf), "bf": "0"}),  # AVI can't say that frames reorder
    ".gif": _Encoding("gif", "gif", lambda crf: {}),
}
_IMAGE_CODECS = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".webp": "libwebp"}


def write_video(video: Video, path: str | Path, *, crf: int = 18) -> Path:
    """The path of the finished file, whose kind the suffix says.

    mp4, m4v, mov, mkv, avi: H.264; webm: VP9; gif: 256 colours a frame; png, jpg, webp: one frame. crf: 0 (best) to
    51. H.264 needs even sizes: an odd height or width is padded by repeating its last row or column. The file
    appears whole or not at all.

    Raises:
        MediaError: an unknown suffix, no such folder, a full disk, or several frames for an image.
        SizeError: below 16x16 or above 64 Mpx, or a rate that the file can't hold.
    """
    path = Path(path)
    if path.suffix.lower() in _IMAGE_CODECS:
        return _write_image(video, path, crf)
    with VideoWriter(path, video.fps, video.height, video.width, crf) as writer:
        writer.write(video.frames)
    return path


class VideoWriter:
    """Writes a video frame by frame in flat memory: `with VideoWriter(...) as w: w.write(frames)`.

    The file appears at `path` when the block ends; an error or an interrupt inside it leaves nothing behind.

    Raises:
        MediaError, SizeError: as `write_video`; also a block that ends without a frame.
    """

    def __init__(self, path: str | Path, fps: Number, height: int, width: int, crf: int = 18) -> None:
        self.path = Path(path)
        self.num_frames = 0
        self._fps = _exact_fps(fps)
        self._size = (height, width)
        self._crf = crf
        _check_size(height, width, what=str(path))
        self._encoding = _check_writable(self.path, crf, _ENCODINGS)
        if self._encoding.codec == "gif" and self._fps > 50:
            raise SizeError(f"{path}: {float(fps):g} frames per second; a gif shows 50 at most, read with fps=25 first")
        even = self._encoding.codec == "libx264"
        self._padding = ((0, height % 2 if even else 0), (0, width % 2 if even else 0), (0, 0))

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(_appearing_at(self.path))
            with _errors_writing(self.path):
                options = {"movflags": "+faststart"} if self._encoding.container in ("mp4", "mov") else {}
                self._output = av.open(str(temporary), "w", format=self._encoding.container, options=options)
                stack.callback(self._close_quietly)
                self._stream = self._new_stream()
                self._reformatter = VideoReformatter()
                self._palettes = _palette_graph(*self._size) if self._encoding.codec == "gif" else None
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file and put it in place; after an error, drop it."""
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if not self.num_frames:
                raise MediaError(f"{self.path}: no frame was written")
            with _errors_writing(self.path):
                self._encode(None)
                self._output.close()

    def _close_quietly(self) -> None:
        with suppress(FFmpegError, OSError, ValueError):  # the error that led here is the one to tell
            self._output.close()

    def write(self, frames: np.ndarray) -> None:
        """Append uint8 frames [t, h, w, 3], or one [h, w, 3], of the writer's size."""
        frames = frames[None] if frames.ndim == 3 else frames
        if frames.dtype != np.uint8 or frames.shape[1:] != (*self._size, 3):
            raise SizeError(f"frames are {frames.dtype} {list(frames.shape)}; this file takes uint8 {[*self._size, 3]}")
        with _errors_writing(self.path):
            for rgb in frames:
                self._encode(np.pad(rgb, self._padding, mode="edge"))
                self.num_frames += 1

    def _new_stream(self) -> Any:
        height, width = (side + pad[1] for side, pad in zip(self._size, self._padding, strict=False))
        stream = self._output.add_stream(
            self._encoding.codec, rate=self._fps, options=self._encoding.options(self._crf)
        )
        stream.height, stream.width = height, width
        stream.pix_fmt = "pal8" if self._encoding.codec == "gif" else "yuv420p"
        if self._encoding.codec != "gif":
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709 in ISO/IEC 23091-2
            context.color_range = int(ColorRange.MPEG)
            if height * width <= 512 * 512:
                context.thread_count = 1
        return stream

    def _encode(self, rgb: np.ndarray | None) -> None:
        """Encode one frame, or finish when there is none."""
        self._output.mux(self._stream.encode(None if rgb is None else self._encodable(rgb)))

    def _encodable(self, rgb: np.ndarray) -> Any:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
        if self._palettes is not None:
            self._palettes.push(frame)
            frame = self._palettes.pull()
        else:
            frame = _limited_yuv(frame, self._reformatter)
        frame.pts, frame.time_base = self.num_frames, 1 / self._fps
        return frame


def _limited_yuv(frame: av.VideoFrame, reformatter: VideoReformatter) -> av.VideoFrame:
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


def _palette_graph(height: int, width: int) -> Any:
    """A filter that gives each frame the 256 colours that suit it best; nothing is kept from frame to frame."""
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


def _write_image(video: Video, path: Path, crf: int) -> Path:
    codec = _check_writable(path, crf, _IMAGE_CODECS)
    _check_size(video.height, video.width, what=str(path))
    if video.num_frames > 1:
        raise MediaError(f"{path} is an image and the video has {video.num_frames} frames; save it as .mp4 or .gif")
    with _appearing_at(path) as temporary, _errors_writing(path):
        context = av.CodecContext.create(codec, "w")
        context.height, context.width, context.time_base = video.height, video.width, Fraction(1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(video.frames[0]), "rgb24")
        if codec == "png":
            context.pix_fmt = "rgb24"
        elif codec == "libwebp":
            context.pix_fmt, context.options = "bgra", {"quality": str(100 - crf), "lossless": str(int(crf == 0))}
            frame = frame.reformat(format="bgra")
        else:
            quality = str(max(2, round(crf / 6)))  # mjpeg counts from 1 (best) to 31
            context.pix_fmt, context.options = "yuvj444p", {"qmin": quality, "qmax": quality}
            context.color_range = int(ColorRange.JPEG)
            frame = frame.reformat(
                format="yuvj444p",
                src_color_range=ColorRange.JPEG,
                dst_colorspace=_BT601,
                dst_color_range=ColorRange.JPEG,
                interpolation=_EXACT,
            )
        frame.pts, frame.time_base = 0, Fraction(1)
        temporary.write_bytes(b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)]))
    return path


def _check_writable(path: Path, crf: int, kinds: dict[str, Any]) -> Any:
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        known = " ".join([*_ENCODINGS, *_IMAGE_CODECS] if kinds is _ENCODINGS else kinds)
        raise MediaError(f"{path}: can't write {path.suffix or 'a file without a suffix'}; the kinds are {known}")
    with _errors_writing(path):
        if path.is_dir():
            raise MediaError(f"{path} is a folder; give the name of a file")
        if not path.parent.is_dir():
            raise MediaError(f"{path}: there is no folder {path.parent}; make it first")
    if not 0 <= crf <= 51:
        raise MediaError(f"crf is {crf}; it goes from 0 (best) to 51")
    return kind


@contextmanager
def _appearing_at(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path`, synced to disk, when the block succeeds."""
    temporary = path.absolute().with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with _errors_writing(path):
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            folder = os.open(temporary.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _errors_writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path} can't be written: {_reason(error)}") from None


# ------------------------------------------------------------------------------------------------------- contact sheet


def contact_sheet(
    videos: Sequence[Video],
    *,
    columns: int,
    frames_per_video: int = 1,
    labels: Sequence[str] | None = None,
    scale: int = 1,
) -> Video:
    """An image (a video of one frame) of many videos on white: `columns` a row, in reading order.

    Each video shows `frames_per_video` of its frames side by side, spread evenly from the first to the last (a single
    one: the middle). scale repeats pixels. Labels are drawn beneath by Pillow, wrapped to the width; characters that
    no font at hand has come out as boxes.

    Raises:
        SizeError: no videos, a count below 1, or not one label for each video.
        MediaError: labels without Pillow.
    """
    if not videos or min(columns, frames_per_video, scale) < 1:
        raise SizeError("a contact sheet needs at least one video, and columns, frames_per_video and scale from 1 up")
    if labels is not None and len(labels) != len(videos):
        raise SizeError(f"{len(labels)} labels for {len(videos)} videos; give one for each")
    gap = 4
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


def _strip(video: Video, num_frames: int, scale: int) -> np.ndarray:
    last = video.num_frames - 1
    chosen = np.linspace(0, last, num_frames).round().astype(int) if num_frames > 1 else [last // 2]
    return np.concatenate(list(video.frames[chosen]), axis=1).repeat(scale, axis=0).repeat(scale, axis=1)


def _labels(labels: Sequence[str], width: int) -> list[np.ndarray]:
    """Each label as black text on white, uint8 [its own height, width, 3]."""
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise MediaError("labels on a contact sheet need Pillow: pip install pillow, or leave labels out") from None
    pictures = []
    for label in labels:
        font = _font(label)
        lines = _wrapped(label, width, font.getlength)
        picture = Image.new("RGB", (width, 16 * len(lines) + 4), "white")
        ImageDraw.Draw(picture).multiline_text((0, 0), "\n".join(lines), fill="black", font=font, spacing=4)
        pictures.append(np.asarray(picture))
    return pictures


def _font(label: str) -> Any:
    from PIL import ImageFont

    if not label.isascii():
        for name in ("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc", "PingFang.ttc", "msyh.ttc"):
            try:
                return ImageFont.truetype(name, 12)
            except OSError:
                continue
    return ImageFont.load_default(12)


def _wrapped(label: str, width: int, measure: Callable[[str], float]) -> list[str]:
    """Lines no wider than `width` pixels, broken at spaces where there are any."""
    lines = [""]
    for character in " ".join(label.split()):
        if lines[-1] and measure(lines[-1] + character) > width:
            head, space, tail = lines[-1].rpartition(" ")
            lines[-1:] = [head, tail] if space and character != " " else [lines[-1], ""]
        lines[-1] += character
    return [line.strip() for line in lines]


# --------------------------------------------------------------------------------------------------------------- rules


def _exact_fps(fps: Number) -> Fraction:
    """The rate as a fraction of small terms: 29.97 as a float from a file becomes 30000/1001 again."""
    if not (math.isfinite(fps) and MIN_FPS <= fps <= MAX_FPS):
        raise SizeError(f"fps is {float(fps):g}; it goes from {MIN_FPS:g} to {MAX_FPS:g}")
    return Fraction(fps).limit_denominator(1001)


def _check_size(height: int, width: int, what: str) -> None:
    if height < MIN_SIDE or width < MIN_SIDE:
        raise SizeError(f"{what} is {width}x{height}; the least is {MIN_SIDE}x{MIN_SIDE} pixels")
    if height * width > MAX_PIXELS:
        raise SizeError(f"{what} is {width}x{height}; a frame has {MAX_PIXELS // 2**20} million pixels at most")


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
