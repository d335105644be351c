"""Coding videos of any length and size: chunk by chunk in time, tile by tile in space, with flat memory.

A chunk is what the network sees at once; its `Stream` carries what the layers remember, so the chunks joined equal the
one-shot result. Where there are several, two are coded side by side, the later a layer behind the earlier.
A tile has a stream of its own; neighbouring tiles overlap and are blended linearly.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import chain, cycle, islice, pairwise

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vitascope.codec.cache import Stream
from vitascope.codec.network import Codec
from vitascope.errors import SizeError
from vitascope.kernels.threads import can_run_pairs, split_pool
from vitascope.video import Video

LATENT_FRAMES_PER_CHUNK = 2  # of more, the activations leave the processor's caches
SMALL_CELLS = 8 * 8  # of latent frames so small that one more stays there
MAX_CELLS_AT_ONCE = 32 * 32  # of a tile of which two chunks are coded at once, since that takes twice the memory
MAX_WIDTH_AT_ONCE = 128  # of the codec that does so; wider ones were not measured

Place = tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """Tile edge and overlap in latent cells. A picture no larger than a tile is coded whole."""

    size: int = 64
    overlap: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.overlap < self.size:
            raise SizeError(f"tile overlap {self.overlap} must lie between 0 and the tile size {self.size}")

    def spans(self, length: int) -> list[tuple[int, int]]:
        """(start, stop) of each tile along an axis of `length` cells; all of equal size, the last one flush."""
        if length <= self.size:
            return [(0, length)]
        step = self.size - self.overlap
        starts = [*range(0, length - self.size, step), length - self.size]
        return [(start, start + self.size) for start in starts]


def decode_stream(
    codec: Codec, latents: Iterable[Float[Tensor, "b c _t h w"]], tiling: Tiling = Tiling()
) -> Iterator[Float[Tensor, "b 3 t2 h2 w2"]]:
    """Pixels of each chunk of latents, as it comes; peak memory doesn't depend on the video's length."""
    yield from StreamingDecoder(codec, tiling).decode_all(latents)


def encode_stream(
    codec: Codec, pixels: Iterable[Float[Tensor, "b 3 _t h w"]], tiling: Tiling = Tiling()
) -> Iterator[Float[Tensor, "b c t2 h2 w2"]]:
    """Latents of each chunk of pixels (1 + 4k frames first, then 4k), as it comes."""
    yield from _Tiles(codec, codec.encode, tiling, 1, 1).run_all(pixels, cell=codec.stride.rows)


@torch.inference_mode()
def encode_video(codec: Codec, video: Video, tiling: Tiling = Tiling()) -> Float[Tensor, "c t h w"]:
    """The latent of a whole video; sizes that the stride doesn't divide are padded by repeating the edge."""
    device = codec.latent_mean.device

    def chunks() -> Iterator[Tensor]:
        padded = pad_frames(video.frames, codec)
        for start, stop in chunk_spans(len(padded), codec.stride.time):
            yield to_signal(padded[start:stop]).to(device)

    return torch.cat(list(encode_stream(codec, chunks(), tiling)), dim=2)[0]


@torch.inference_mode()
def decode_frames(
    codec: Codec, latent: Float[Tensor, "c t h w"], height: int, width: int, num_frames: int, tiling: Tiling = Tiling()
) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
    """The frames of a latent, chunk by chunk, with the padding of `encode_video` cropped away."""
    spans = latent_spans(0, latent.shape[1], *latent.shape[2:])
    chunks = (latent[None, :, start:stop] for start, stop in spans)
    written = 0
    # map, not a variable of the loop: that would hold a chunk's pixels while the next is decoded
    for frames in map(lambda pixels: to_frames(pixels[0]), decode_stream(codec, chunks, tiling)):  # noqa: C417
        frames = frames[: num_frames - written, :height, :width]
        written += len(frames)
        if len(frames):
            yield frames


def latent_spans(start: int, stop: int, rows: int, columns: int) -> list[tuple[int, int]]:
    """(start, stop) of the latent frames of each chunk, of those from `start` to `stop` of a video.

    A video's first frame comes alone if it is small: what the layers remember then has its place in memory before any
    large activation has, and doesn't lie between them.
    """
    is_small = rows * columns <= SMALL_CELLS
    step = LATENT_FRAMES_PER_CHUNK + (1 if is_small else 0)
    first = start + (1 if is_small and start == 0 else step)
    return list(pairwise([start, *range(first, stop, step), stop])) if start < stop else []


def decode_video(
    codec: Codec, latent: Float[Tensor, "c t h w"], *, height: int, width: int, num_frames: int, fps: float
) -> Video:
    """The video of a latent, whole in memory."""
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    written = 0
    for chunk in decode_frames(codec, latent, height, width, num_frames):
        frames[written : written + len(chunk)] = chunk
        written += len(chunk)
    return Video(frames, fps)


def reconstruct(codec: Codec, video: Video) -> Video:
    """The video after encoding and decoding: what the codec keeps of it."""
    latent = encode_video(codec, video)
    return decode_video(
        codec, latent, height=video.height, width=video.width, num_frames=video.num_frames, fps=float(video.fps)
    )


def to_signal(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "1 3 t h w"]:
    """Frames as the network's input: [-1, 1], channels first, a batch of one."""
    # by NumPy, whose one thread leaves PyTorch's to what is coded meanwhile
    signal = np.divide(frames, 127.5, dtype=np.float32)
    signal -= 1
    return torch.from_numpy(signal).permute(3, 0, 1, 2)[None]


def to_frames(pixels: Float[Tensor, "3 t h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """The network's output as frames: rounded, clipped to 0..255."""
    if pixels.device.type == "cpu":  # by NumPy, as above
        levels = pixels.detach().float().numpy() + 1
        levels *= 127.5
        np.rint(levels, out=levels)
        return np.clip(levels, 0, 255, out=levels).astype(np.uint8).transpose(1, 2, 3, 0)
    levels = ((pixels.float() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(1, 2, 3, 0).cpu().numpy()


def latent_shape(codec: Codec, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
    """Latent frames, rows and columns that cover a video of this size."""
    stride = codec.stride
    return 1 + -(-(num_frames - 1) // stride.time), -(-height // stride.rows), -(-width // stride.columns)


def pad_frames(frames: UInt8[np.ndarray, "t h w 3"], codec: Codec) -> UInt8[np.ndarray, "t2 h2 w2 3"]:
    """Frames with the last frame, row and column repeated up to a size that the codec takes."""
    num_frames, height, width, _ = frames.shape
    t, h, w = latent_shape(codec, num_frames, height, width)
    stride = codec.stride
    end = (1 + (t - 1) * stride.time - num_frames, h * stride.rows - height, w * stride.columns - width)
    if not any(end):
        return frames
    return np.pad(frames, ((0, end[0]), (0, end[1]), (0, end[2]), (0, 0)), mode="edge")


def chunk_spans(num_frames: int, time_stride: int) -> list[tuple[int, int]]:
    """(start, stop) of the pixel frames of each chunk: 1 + 4k frames first, then 4k."""
    step = LATENT_FRAMES_PER_CHUNK * time_stride
    edges = [0, *range(1 + step - time_stride, num_frames, step), num_frames]
    return list(pairwise(edges))


class StreamingDecoder:
    """Decodes a latent chunk by chunk, for those who make the next chunk of what they saw of the last."""

    def __init__(self, codec: Codec, tiling: Tiling = Tiling()):
        self._tiles = _Tiles(codec, codec.decode, tiling, codec.stride.rows, codec.stride.columns)

    def decode(self, chunk: Float[Tensor, "b c _t h w"]) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """The pixels of the next latent frames."""
        return self._tiles.run(chunk, cell=1)

    def decode_all(self, chunks: Iterable[Float[Tensor, "b c _t h w"]]) -> Iterator[Float[Tensor, "b 3 t2 h2 w2"]]:
        """The pixels of the next chunks, as they come; two chunks are taken before the first is given.

        `decode` may be called again when the last has been given. If they aren't all taken, the decoder is of no more
        use: it may be a chunk ahead.
        """
        return self._tiles.run_all(chunks, cell=1)


class _Tiles:
    """Runs one direction of the codec over a grid of tiles, each with its own stream, and blends the overlaps."""

    def __init__(
        self,
        codec: Codec,
        code: Callable[[Tensor, Stream], Tensor],
        tiling: Tiling,
        out_rows: int,
        out_columns: int,
    ):
        self.codec, self.code, self.tiling = codec, code, tiling
        self.out_rows, self.out_columns = out_rows, out_columns
        self.streams: dict[Place, Stream] = {}

    def run(self, x: Tensor, cell: int) -> Tensor:
        """The coded chunk. `cell` is how many input rows (and columns) one latent cell covers."""
        assert not any(stream.is_under_way for stream in self.streams.values()), "a chunk of `run_all` is under way"
        for place in self._places(x, cell):
            self.streams.setdefault(place, Stream())
        return self._code(x, cell, self.streams)

    def run_all(self, chunks: Iterable[Tensor], cell: int) -> Iterator[Tensor]:
        """The coded chunks. Of several, two at a time are coded side by side, each on half of the threads."""
        chunks = iter(chunks)
        ahead = list(islice(chunks, 2))
        if len(ahead) < 2 or not can_overlap_chunks(self.codec, self._tile_cells(ahead[0], cell), ahead[0].device):
            for x in chain(ahead, chunks):
                yield self.run(x, cell)
            return
        with split_pool() as begin:
            under_way: deque[Future[Tensor]] = deque()
            for half, x in zip(cycle(begin), chain(ahead, chunks), strict=False):
                self.streams = {place: Stream.after(self.streams.get(place)) for place in self._places(x, cell)}
                under_way.append(half(partial(self._code_and_end, x, cell, self.streams)))
                if len(under_way) == 2:
                    yield under_way.popleft().result()
            for future in under_way:
                yield future.result()

    def _code_and_end(self, x: Tensor, cell: int, streams: Mapping[Place, Stream]) -> Tensor:
        """Whatever happens, the chunk behind is told, which else would wait for ever."""
        failed = True
        try:
            y = self._code(x, cell, streams)
            failed = False
        finally:
            for stream in streams.values():
                stream.end(failed=failed)
        return y

    def _places(self, x: Tensor, cell: int) -> list[Place]:
        """The uppermost row and leftmost column of each tile, in latent cells."""
        row_spans, column_spans = self._spans(x, cell)
        return [(top, left) for top, _ in row_spans for left, _ in column_spans]

    def _tile_cells(self, x: Tensor, cell: int) -> int:
        """How many latent cells a tile has."""
        return math.prod(spans[0][1] for spans in self._spans(x, cell))

    def _spans(self, x: Tensor, cell: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return self.tiling.spans(x.shape[3] // cell), self.tiling.spans(x.shape[4] // cell)

    def _code(self, x: Tensor, cell: int, streams: Mapping[Place, Stream]) -> Tensor:
        row_spans, column_spans = self._spans(x, cell)
        if len(row_spans) == len(column_spans) == 1:
            return self.code(x, streams[0, 0])
        rows, columns = row_spans[-1][1] * self.out_rows, column_spans[-1][1] * self.out_columns
        total: Tensor | None = None
        weights: Tensor | None = None
        for top, bottom in row_spans:
            for left, right in column_spans:
                tile = x[:, :, :, top * cell : bottom * cell, left * cell : right * cell]
                y = self.code(tile, streams[top, left])
                if total is None or weights is None:
                    total = y.new_zeros(*y.shape[:3], rows, columns)
                    weights = y.new_zeros(rows, columns)
                weight = torch.outer(
                    _ramp(top, bottom, row_spans[-1][1], self.tiling.overlap, self.out_rows),
                    _ramp(left, right, column_spans[-1][1], self.tiling.overlap, self.out_columns),
                ).to(y)
                where = (
                    slice(top * self.out_rows, bottom * self.out_rows),
                    slice(left * self.out_columns, right * self.out_columns),
                )
                total[(..., *where)] += y * weight
                weights[where] += weight
        assert total is not None
        assert weights is not None
        return total / weights


def can_overlap_chunks(codec: Codec, tile_cells: int, device: torch.device) -> bool:
    """Whether a codec codes two chunks at once, of tiles of so many latent cells: not if that takes much memory."""
    is_narrow = max(codec.config.base_width, codec.config.decoder_base_width or 0) <= MAX_WIDTH_AT_ONCE
    return is_narrow and tile_cells <= MAX_CELLS_AT_ONCE and can_run_pairs(device)


def _ramp(start: int, stop: int, length: int, overlap: int, scale: int) -> Float[Tensor, " n"]:
    """Blending weights along one axis of a tile: linear over each overlap, flat at the picture's border."""
    size, ramp = (stop - start) * scale, overlap * scale
    rise = torch.arange(1, size + 1, dtype=torch.float32) / (ramp + 1)
    weight = torch.ones(size)
    if start > 0:
        weight = torch.minimum(weight, rise)
    if stop < length:
        weight = torch.minimum(weight, rise.flip(0))
    return weight
