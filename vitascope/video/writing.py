"""Writing of video and image files. A file appears only when it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, VideoReformatter

from vitascope.errors import MediaError, SizeError, reason
from vitascope.files import DISK_FULL, replacing
from vitascope.types import Number
from vitascope.video.clip import Video, check_size, exact_fps
from vitascope.video.formats import GROWING, MOVING, STILL, Encoding, ffmpeg_url, partial_path
from vitascope.video.pixels import full_yuv, limited_yuv, palette_graph

if TYPE_CHECKING:
    from vitascope.video.sound import SoundPart, SoundTrack


def write_video(video: Video, path: str | Path, *, crf: int = 18) -> Path:
    """Write a video or image in the format of the suffix, and return its path.

    mp4, m4v, mov, mkv, avi: H.264; webm: VP9; gif: 256 colours per frame; png, jpg, webp: one frame. `crf` is 0 (best)
    to 51. H.264 needs even sizes, so the last row or column of an odd size is repeated. The file appears only when it
    is complete.

    Raises:
        MediaError: the suffix is unknown, the folder is missing, or an image has several frames.
        OSError: the disk is full.
        SizeError: frames are below 16x16 or above 64 Mpx, or the format doesn't support the rate.
    """
    path = Path(path)
    if path.suffix.lower() in STILL:
        return _write_image(video, path, crf)
    with VideoWriter(path, video.fps, video.height, video.width, crf) as writer:
        writer.write(video.frames)
    return path


class VideoWriter:
    """Writer of a video in constant memory: `with VideoWriter(...) as writer: writer.write(frames)`.

    The file appears at `path` when the block ends; an error or interrupt inside it leaves no file. `comment` is stored
    in the file's metadata, in formats that support it. `sound` lists the sound of given footage to copy; formats
    without sound log that it is left out.

    Raises:
        MediaError, OSError, SizeError: as `write_video`; also when the block ends without a frame.
    """

    def __init__(
        self,
        path: str | Path,
        fps: Number,
        height: int,
        width: int,
        crf: int = 18,
        *,
        comment: str = "",
        sound: Sequence[SoundPart] = (),
    ) -> None:
        self.path = Path(path)
        self.num_frames = 0
        self._comment, self._sound = comment, sound
        self._fps = exact_fps(fps)
        self._size = (height, width)
        self._crf = crf
        check_size(height, width, what=str(path))
        self._encoding = _check_writable(self.path, crf, MOVING)
        if self._encoding.codec == "gif" and self._fps > 50:
            raise SizeError(f"{path}: {float(fps):g} frames per second; a GIF has 50 at most; resample to fps=25 first")

    def __enter__(self) -> VideoWriter:
        with errors_writing(self.path), ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            self._encoder = Encoder(temporary, self._encoding, self._fps, self._size, self._crf, self._comment)
            stack.callback(self._encoder.close_quietly)
            if self._sound:
                self._encoder.add_sound(self._sound, self.path)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file and move it into place; after an error, remove it."""
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with errors_writing(self.path), self._stack:
            if not self.num_frames:
                raise MediaError(f"{self.path}: no frame was written; write at least one")
            self._encoder.finish()

    @property
    def stored_size(self) -> tuple[int, int]:
        """(height, width) in the file; H.264 has even sizes only."""
        return self._encoding.stored_size(*self._size)

    def write(self, frames: np.ndarray) -> None:
        """Append uint8 frames [t, h, w, 3], or one frame [h, w, 3], of the writer's size."""
        frames = frames[None] if frames.ndim == 3 else frames
        if frames.dtype != np.uint8 or frames.shape[1:] != (*self._size, 3):
            raise SizeError(f"frames are {frames.dtype} {list(frames.shape)}; this file takes uint8 {[*self._size, 3]}")
        with errors_writing(self.path):
            for rgb in frames:
                self._encoder.encode(rgb)
                self.num_frames += 1


class GrowingVideo:
    """Writer of the partial file of `path`: `with GrowingVideo(...) as partial: partial.write(frames)`.

    When `write` returns, all frames but the last are on disk as fragments of an MP4, so a killed process leaves a
    playable file. The end of the block removes it, because a live process keeps the frames elsewhere. It differs from
    `path` because fragmented files are larger and fewer programs can seek in them.

    Raises:
        MediaError: the folder is missing.
        OSError: the disk is full.
        SizeError: the rate is out of range.
    """

    def __init__(self, path: Path, fps: Number, height: int, width: int, crf: int = 18) -> None:
        self.path = partial_path(path)
        self._settings = (GROWING, exact_fps(fps), (height, width), crf)

    def __enter__(self) -> GrowingVideo:
        with errors_writing(self.path):
            self._encoder = Encoder(self.path, *self._settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file and remove it."""
        self._encoder.close_quietly()
        self.path.unlink(missing_ok=True)

    def write(self, frames: np.ndarray) -> None:
        """Append uint8 frames [t, h, w, 3]."""
        with errors_writing(self.path):
            for rgb in frames:
                self._encoder.encode(rgb)


class Encoder:
    """Encoder of frames into an open file. Odd sizes are padded to even ones for H.264."""

    def __init__(
        self, file: Path, encoding: Encoding, fps: Fraction, size: tuple[int, int], crf: int, comment: str = ""
    ) -> None:
        self._encoding, self._fps, self._size = encoding, fps, size
        self._num_frames = 0
        stored = encoding.stored_size(*size)
        self._padding = (*((0, wanted - side) for wanted, side in zip(stored, size, strict=True)), (0, 0))
        self._output = av.open(ffmpeg_url(file), "w", format=encoding.container, options=encoding.container_options)
        if comment:
            # bytes of names that aren't UTF-8 are replaced: metadata holds text
            self._output.metadata["comment"] = comment.encode(errors="replace").decode()
        try:
            self._stream = self._new_stream(crf)
        except BaseException:
            self.close_quietly()
            raise
        self._track: SoundTrack | None = None
        self._reformatter = VideoReformatter()
        self._palettes = palette_graph(*size) if encoding.codec == "gif" else None

    def add_sound(self, parts: Sequence[SoundPart], path: Path) -> None:
        """Copy the sound of given footage; call it before the first frame. Logs name the file `path`."""
        from vitascope.video.sound import SoundTrack  # deferred: most videos have no sound

        delay = self._encoding.sound_delay / float(self._fps)
        delayed = [part._replace(at=part.at + delay) for part in parts]
        self._track = SoundTrack(self._output, self._encoding, delayed, str(path))

    def encode(self, rgb: np.ndarray) -> None:
        """Append one uint8 frame [h, w, 3] of the encoder's size."""
        frame = self._encodable(np.pad(rgb, self._padding, mode="edge"))
        frame.pts, frame.time_base = self._num_frames, 1 / self._fps
        self._output.mux(self._stream.encode(frame))
        self._num_frames += 1
        if self._track is not None:
            self._track.write_until(self._seconds)

    @property
    def _seconds(self) -> Fraction:
        """Time at which the last frame ends."""
        return (self._num_frames + self._encoding.sound_delay) / self._fps

    def finish(self) -> None:
        """Flush the encoders and close the file."""
        self._output.mux(self._stream.encode(None))
        if self._track is not None:
            self._track.write_until(self._seconds, is_end=True)
        self._output.close()

    def close_quietly(self) -> None:
        """Close the file, ignoring errors."""
        with suppress(FFmpegError, OSError, ValueError):  # an earlier error is the one to report
            self._output.close()

    def _new_stream(self, crf: int) -> Any:
        height, width = self._encoding.stored_size(*self._size)
        stream: Any = self._output.add_stream(self._encoding.codec, rate=self._fps, options=self._encoding.options(crf))
        stream.height, stream.width = height, width
        stream.pix_fmt = "pal8" if self._encoding.codec == "gif" else "yuv420p"
        if self._encoding.codec != "gif":
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709 in ISO/IEC 23091-2
            context.color_range = int(ColorRange.MPEG)
            if height * width <= 512 * 512:
                context.thread_count = 1
        return stream

    def _encodable(self, rgb: np.ndarray) -> Any:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
        if self._palettes is None:
            return limited_yuv(frame, self._reformatter)
        self._palettes.push(frame)
        return self._palettes.pull()


def _write_image(video: Video, path: Path, crf: int) -> Path:
    codec = _check_writable(path, crf, STILL)
    check_size(video.height, video.width, what=str(path))
    if video.num_frames > 1:
        raise MediaError(f"{path} is an image and the video has {video.num_frames} frames; save it as .mp4 or .gif")
    with errors_writing(path), replacing(path) as temporary:
        context = av.CodecContext.create(codec, "w")
        context.height, context.width, context.time_base = video.height, video.width, Fraction(1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(video.frames[0]), "rgb24")
        if codec == "png":
            context.pix_fmt = "rgb24"
        elif codec == "libwebp":
            context.pix_fmt, context.options = "bgra", {"quality": str(100 - crf), "lossless": str(int(crf == 0))}
            frame = frame.reformat(format="bgra")
        else:
            quality = str(max(2, round(crf / 6)))  # mjpeg has 1 (best) to 31
            context.pix_fmt, context.options = "yuvj444p", {"qmin": quality, "qmax": quality}
            context.color_range = int(ColorRange.JPEG)
            frame = full_yuv(frame)
        frame.pts, frame.time_base = 0, Fraction(1)
        temporary.write_bytes(b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)]))
    return path


def _check_writable(path: Path, crf: int, kinds: Mapping[str, Any]) -> Any:
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        known = " ".join([*MOVING, *STILL] if kinds is MOVING else kinds)
        raise MediaError(f"{path}: can't write {path.suffix or 'a file without a suffix'}; use one of {known}")
    with errors_writing(path):
        if path.is_dir():
            raise MediaError(f"{path} is a folder; give a file name")
        if not path.parent.is_dir():
            raise MediaError(f"{path}: there is no folder {path.parent}; create it first")
    if not 0 <= crf <= 51:
        raise MediaError(f"crf must be 0 (best) to 51, got {crf}")
    return kind


@contextmanager
def errors_writing(path: Path) -> Iterator[None]:
    """Turn errors of a file into a `MediaError` that names it, and those of a full disk into an `OSError`."""
    try:
        yield
    except (FFmpegError, OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        if number in DISK_FULL:
            raise OSError(number, os.strerror(number), str(path)) from None
        raise MediaError(f"{path} can't be written: {reason(error)}") from None
