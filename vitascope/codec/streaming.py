"""Encoding and decoding of videos of any length and size, in chunks of time and tiles of space, in constant memory.

A `CausalCache` carries the layers' past frames from chunk to chunk, so joined chunks equal the one-shot result. On a
CPU two chunks are coded at once, the later one layer behind the earlier. Frames are coded whole if memory allows, and
in tiles otherwise. Each tile has its own cache; neighbouring tiles overlap and are blended linearly. Results are on the
codec's device, wherever the input is.
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
from torch import Tensor, nn

from vitascope.codec.layers import CausalCache
from vitascope.codec.video_codec import VideoCodec
from vitascope.errors import SizeError
from vitascope.kernels.device import CPU, META, device_of, free_memory, is_cpu
from vitascope.kernels.threads import can_run_pairs, split_pool
from vitascope.video import Video

LATENT_FRAMES_PER_CHUNK = 2  # activations of longer chunks don't fit a CPU's caches
SMALL_CELLS = 8 * 8  # chunks may be one frame longer if latent frames have at most this many cells
LIVE_MAPS = 9  # memory of a chunk in units of its largest feature map; fitted to the bundled codec, see docs/interop.md
MEMORY_SHARE = 0.7  # of the free memory, for the frames of one chunk
SMALL_TILE = 64  # cells; smaller frames are coded whole, whatever memory is free
MAX_CELLS_TO_OVERLAP = 32 * 32  # of a tile, for two chunks in parallel, which take twice the memory

Corner = tuple[int, int]  # the first row and column of a tile, in latent cells


@dataclass(frozen=True)
class Tiling:
    """Tile edge and overlap in latent cells. Frames no larger than a tile are coded whole."""

    size: int = SMALL_TILE
    overlap: int = SMALL_TILE // 4

    def __post_init__(self) -> None:
        if not 0 < self.overlap < self.size:
            raise SizeError(f"tile overlap is {self.overlap}; must be above 0 and below the tile size, {self.size}")

    def spans(self, length: int) -> list[tuple[int, int]]:
        """(start, stop) of each tile on an axis of `length` cells: equal in size, the last one flush with the end."""
        if length <= self.size:
            return [(0, length)]
        step = self.size - self.overlap
        starts = [*range(0, length - self.size, step), length - self.size]
        return [(start, start + self.size) for start in starts]


def fitting_tiling(codec: VideoCodec, rows: int, columns: int, device: torch.device) -> Tiling:
    """The tiling of frames with this many latent cells: one tile if memory allows, else the largest tiles that fit.

    Tiles differ from the whole, by about a tenth of the signal's range next to their edges: the codec's attention sees
    all cells of a tile. Overlaps of a third keep the difference smooth.
    """
    longest = max(rows, columns)
    free = free_memory(device) if longest > SMALL_TILE else None
    if free is None:
        return Tiling(max(longest, 2), 1)
    most = int(MEMORY_SHARE * free / (LIVE_MAPS * largest_map_bytes(codec, LATENT_FRAMES_PER_CHUNK, 8, 8) / 64))
    if rows * columns <= most:
        return Tiling(longest, 1)
    size = max(SMALL_TILE, most // min(rows, columns), math.isqrt(most))
    return Tiling(size, size // 3)


def largest_map_bytes(codec: VideoCodec, num_frames: int, rows: int, columns: int) -> int:
    """Bytes of the largest feature map while latents of this size are decoded, found on the meta device."""
    empty = meta_copy(codec)
    largest = 0

    def notice(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * 4)

    for module in empty.modules():
        module.register_forward_hook(notice)
    with torch.no_grad():
        empty.decode(torch.empty(1, codec.latent_channels, num_frames, rows, columns, device=META))
    return largest


def meta_copy(codec: VideoCodec) -> VideoCodec:
    """The codec's architecture on the meta device, for counting without computing."""
    with META:
        empty = type(codec)(codec.config).eval()
    return empty.to(META)  # also buffers with numbers


def decode_stream(
    codec: VideoCodec, latents: Iterable[Float[Tensor, "b c _t h w"]], tiling: Tiling | None = None
) -> Iterator[Float[Tensor, "b 3 t2 h2 w2"]]:
    """Pixels of each chunk of latents; peak memory doesn't depend on the video's length.

    Here and below, the default tiling is `fitting_tiling`.
    """
    yield from StreamingDecoder(codec, tiling).decode_all(latents)


def encode_stream(
    codec: VideoCodec, pixels: Iterable[Float[Tensor, "b 3 _t h w"]], tiling: Tiling | None = None
) -> Iterator[Float[Tensor, "b c t2 h2 w2"]]:
    """Latents of each chunk of pixels: 1 + 4k frames first, then 4k."""
    yield from _Tiles(codec, codec.encode, tiling, 1, 1).run_all(pixels, cell=codec.stride.rows)


@torch.inference_mode()
def encode_video(codec: VideoCodec, video: Video, tiling: Tiling | None = None) -> Float[Tensor, "c t h w"]:
    """The latent of a whole video; sizes that the stride doesn't divide are padded by repeating the edge."""

    def chunks() -> Iterator[Tensor]:
        padded = pad_frames(video.frames, codec)
        for start, stop in chunk_spans(len(padded), codec.stride.time):
            yield to_signal(padded[start:stop])

    return torch.cat(list(encode_stream(codec, chunks(), tiling)), dim=2)[0]


@torch.inference_mode()
def decode_frames(
    codec: VideoCodec,
    latent: Float[Tensor, "c t h w"],
    height: int,
    width: int,
    num_frames: int,
    tiling: Tiling | None = None,
) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
    """The frames of a latent in chunks, without the padding of `encode_video`."""
    spans = latent_spans(0, latent.shape[1], *latent.shape[2:])
    chunks = (latent[None, :, start:stop] for start, stop in spans)
    written = 0
    # map: a loop variable would keep a chunk's pixels while the next is decoded
    for frames in map(lambda pixels: to_frames(pixels[0]), decode_stream(codec, chunks, tiling)):  # noqa: C417
        frames = frames[: num_frames - written, :height, :width]
        written += len(frames)
        if len(frames):
            yield frames


def latent_spans(start: int, stop: int, rows: int, columns: int) -> list[tuple[int, int]]:
    """(start, stop) of the latent frames of each chunk between two frames of a video.

    A small video's first frame is a separate chunk. Its cache is then allocated before large activations and doesn't
    fragment the heap.
    """
    is_small = rows * columns <= SMALL_CELLS
    step = LATENT_FRAMES_PER_CHUNK + (1 if is_small else 0)
    first = start + (1 if is_small and start == 0 else step)
    return list(pairwise([start, *range(first, stop, step), stop])) if start < stop else []


def decode_video(
    codec: VideoCodec, latent: Float[Tensor, "c t h w"], *, height: int, width: int, num_frames: int, fps: float
) -> Video:
    """The decoded video of a latent, whole in memory."""
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    written = 0
    for chunk in decode_frames(codec, latent, height, width, num_frames):
        frames[written : written + len(chunk)] = chunk
        written += len(chunk)
    return Video(frames, fps)


def reconstruct(codec: VideoCodec, video: Video) -> Video:
    """The video after encoding and decoding."""
    latent = encode_video(codec, video)
    return decode_video(
        codec, latent, height=video.height, width=video.width, num_frames=video.num_frames, fps=float(video.fps)
    )


def to_signal(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "1 3 t h w"]:
    """Frames as the network's input, on the CPU: [-1, 1], channels first, a batch of one."""
    # NumPy uses one thread and leaves PyTorch's to the chunk that is coded meanwhile
    signal = np.divide(frames, 127.5, dtype=np.float32)
    signal -= 1
    return torch.from_numpy(signal).permute(3, 0, 1, 2)[None]


def to_frames(pixels: Float[Tensor, "3 t h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """The network's output as frames: rounded, clipped to 0..255."""
    if is_cpu(pixels.device):  # NumPy for the same reason
        levels = pixels.detach().float().numpy() + 1
        levels *= 127.5
        np.rint(levels, out=levels)
        return np.clip(levels, 0, 255, out=levels).astype(np.uint8).transpose(1, 2, 3, 0)
    levels = ((pixels.float() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(1, 2, 3, 0).to(CPU).numpy()


def latent_shape(codec: VideoCodec, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
    """Latent frames, rows and columns that cover a video of a given size."""
    stride = codec.stride
    return 1 + -(-(num_frames - 1) // stride.time), -(-height // stride.rows), -(-width // stride.columns)


def pad_frames(frames: UInt8[np.ndarray, "t h w 3"], codec: VideoCodec) -> UInt8[np.ndarray, "t2 h2 w2 3"]:
    """Frames with the last frame, row and column repeated, up to a size that the stride divides."""
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
    """Decodes a latent chunk by chunk, for callers whose next chunk depends on the last decoded one."""

    def __init__(self, codec: VideoCodec, tiling: Tiling | None = None):
        self._tiles = _Tiles(codec, codec.decode, tiling, codec.stride.rows, codec.stride.columns)

    def decode(self, chunk: Float[Tensor, "b c _t h w"]) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """The pixels of the next latent frames."""
        return self._tiles.run(chunk, cell=1)

    def decode_all(self, chunks: Iterable[Float[Tensor, "b c _t h w"]]) -> Iterator[Float[Tensor, "b 3 t2 h2 w2"]]:
        """The pixels of the next chunks; two chunks are read before the first pixels are returned.

        Exhaust the iterator before calling `decode` again. After an abandoned iteration, discard the decoder too: it
        may be one chunk ahead.
        """
        return self._tiles.run_all(chunks, cell=1)


class _Tiles:
    """Runs one direction of the codec over a grid of tiles, each with its own cache, and blends the overlaps."""

    def __init__(
        self,
        codec: VideoCodec,
        code: Callable[[Tensor, CausalCache], Tensor],
        tiling: Tiling | None,
        out_rows: int,
        out_columns: int,
    ):
        self.codec, self.code, self.tiling = codec, code, tiling
        self.out_rows, self.out_columns = out_rows, out_columns
        self.caches: dict[Corner, CausalCache] = {}

    @property
    def device(self) -> torch.device:
        """Device of the codec now: with offloading it changes between chunks."""
        return device_of(self.codec)

    def run(self, x: Tensor, cell: int) -> Tensor:
        """The coded chunk. `cell` is the number of input rows (and columns) per latent cell."""
        assert not any(cache.is_running for cache in self.caches.values()), "a chunk of `run_all` is running"
        for corner in self._corners(x, cell):
            self.caches.setdefault(corner, CausalCache())
        return self._code(x.to(self.device), cell, self.caches)

    def run_all(self, chunks: Iterable[Tensor], cell: int) -> Iterator[Tensor]:
        """The coded chunks, two at a time where `overlaps_chunks`, each on half of the threads."""
        chunks = iter(chunks)
        ahead = list(islice(chunks, 2))
        if len(ahead) < 2 or not overlaps_chunks(self.codec, self._tile_cells(ahead[0], cell), self.device):
            for x in chain(ahead, chunks):
                yield self.run(x, cell)
            return
        with split_pool() as halves:
            running: deque[Future[Tensor]] = deque()
            for submit, x in zip(cycle(halves), chain(ahead, chunks), strict=False):
                self.caches = {corner: CausalCache.after(self.caches.get(corner)) for corner in self._corners(x, cell)}
                running.append(submit(partial(self._code_and_end, x.to(self.device), cell, self.caches)))
                if len(running) == 2:
                    yield running.popleft().result()
            for future in running:
                yield future.result()

    def _code_and_end(self, x: Tensor, cell: int, caches: Mapping[Corner, CausalCache]) -> Tensor:
        """The coded chunk. Its caches are ended even after an error, because the next chunk would wait forever."""
        failed = True
        try:
            y = self._code(x, cell, caches)
            failed = False
        finally:
            for cache in caches.values():
                cache.end(failed=failed)
        return y

    def _corners(self, x: Tensor, cell: int) -> list[Corner]:
        """The upper left corner of each tile."""
        row_spans, column_spans = self._spans(x, cell)
        return [(top, left) for top, _ in row_spans for left, _ in column_spans]

    def _tile_cells(self, x: Tensor, cell: int) -> int:
        """The number of latent cells of a tile."""
        return math.prod(spans[0][1] for spans in self._spans(x, cell))

    def _spans(self, x: Tensor, cell: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        rows, columns = x.shape[3] // cell, x.shape[4] // cell
        if self.tiling is None:  # the first chunk decides: the caches belong to its tiles
            self.tiling = fitting_tiling(self.codec, rows, columns, self.device)
        return self.tiling.spans(rows), self.tiling.spans(columns)

    def _code(self, x: Tensor, cell: int, caches: Mapping[Corner, CausalCache]) -> Tensor:
        row_spans, column_spans = self._spans(x, cell)
        assert self.tiling is not None
        if len(row_spans) == len(column_spans) == 1:
            return self.code(x, caches[0, 0])
        rows, columns = row_spans[-1][1] * self.out_rows, column_spans[-1][1] * self.out_columns
        total: Tensor | None = None
        weights: Tensor | None = None
        for top, bottom in row_spans:
            for left, right in column_spans:
                tile = x[:, :, :, top * cell : bottom * cell, left * cell : right * cell]
                y = self.code(tile, caches[top, left])
                if total is None or weights is None:
                    total = y.new_zeros(*y.shape[:3], rows, columns)
                    weights = y.new_zeros(rows, columns)
                weight = torch.outer(
                    _ramp(top, bottom, row_spans[-1][1], self.tiling.overlap, self.out_rows, y.device),
                    _ramp(left, right, column_spans[-1][1], self.tiling.overlap, self.out_columns, y.device),
                ).to(y)
                area = (
                    slice(top * self.out_rows, bottom * self.out_rows),
                    slice(left * self.out_columns, right * self.out_columns),
                )
                total[(..., *area)] += y * weight
                weights[area] += weight
        assert total is not None
        assert weights is not None
        return total / weights


def overlaps_chunks(codec: VideoCodec, tile_cells: int, device: torch.device) -> bool:
    """True if two chunks with tiles of `tile_cells` latent cells are coded at once, given the memory that it takes."""
    return codec.can_overlap_chunks and tile_cells <= MAX_CELLS_TO_OVERLAP and can_run_pairs(device)


def _ramp(start: int, stop: int, length: int, overlap: int, scale: int, device: torch.device) -> Float[Tensor, " n"]:
    """Blending weights along one axis of a tile: linear over each overlap, 1 up to the frame's border."""
    size, ramp = (stop - start) * scale, overlap * scale
    rise = torch.arange(1, size + 1, dtype=torch.float32, device=device) / (ramp + 1)
    weight = torch.ones(size, device=device)
    if start > 0:
        weight = torch.minimum(weight, rise)
    if stop < length:
        weight = torch.minimum(weight, rise.flip(0))
    return weight
