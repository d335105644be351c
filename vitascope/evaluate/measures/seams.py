"""Seams of tiled and chunked coding: steps at edges, absent when the whole clip is coded at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitascope.codec.streaming import (
    LATENT_FRAMES_PER_CHUNK,
    Tiling,
    chunk_spans,
    decode_stream,
    encode_stream,
    pad_frames,
    to_signal,
)
from vitascope.codec.video_codec import VideoCodec
from vitascope.kernels.device import device_of
from vitascope.video import Video

SIDE, NUM_FRAMES = 128, 9  # size of the coded crop: two chunks, and the smallest useful tiles
COLUMNS, ROWS, TIME = 4, 3, 2  # axes of pixels

Pixels = Float[Tensor, "1 3 t h w"]


class Seams(NamedTuple):
    """Mean absolute step across edges of tiles and of chunks, in levels of 255; NaN if there is no edge."""

    tiles: float
    chunks: float


@torch.inference_mode()
def measure_seams(codec: VideoCodec, video: Video) -> Seams:
    """Seams in the centre of a video's first frames, coded in tiles, in chunks, and at once.

    The difference of two results has a step at each visible edge, and is smooth elsewhere. Tiles are two thirds of the
    crop's shorter side and overlap by half; in large videos they overlap by less but are larger.
    """
    pixels = to_signal(pad_frames(_centre(video), codec)).to(device_of(codec))
    latent = codec.encode(pixels)
    whole = codec.decode(latent)
    return Seams(_tile_seam(codec, pixels, whole), _chunk_seam(codec, pixels, whole))


def _centre(video: Video) -> np.ndarray:
    top, left = (max(0, length - SIDE) // 2 for length in (video.height, video.width))
    return video.frames[:NUM_FRAMES, top : top + SIDE, left : left + SIDE]


def _tile_seam(codec: VideoCodec, pixels: Pixels, whole: Pixels) -> float:
    cells = min(pixels.shape[ROWS], pixels.shape[COLUMNS]) // codec.stride.rows
    if cells < 3:
        return float("nan")
    tiling = Tiling(size=-(-2 * cells // 3), overlap=cells // 3)
    (latent,) = encode_stream(codec, [pixels], tiling)
    (tiled,) = decode_stream(codec, [latent], tiling)
    steps = [
        _steps(tiled - whole, axis, _edges(tiling.spans(pixels.shape[axis] // stride), stride))
        for axis, stride in ((ROWS, codec.stride.rows), (COLUMNS, codec.stride.columns))
    ]
    return float(torch.cat(steps).mean())


def _chunk_seam(codec: VideoCodec, pixels: Pixels, whole: Pixels) -> float:
    spans = chunk_spans(pixels.shape[TIME], codec.stride.time)
    if len(spans) == 1:
        return float("nan")
    latent = torch.cat(list(encode_stream(codec, [pixels[:, :, start:stop] for start, stop in spans])), dim=TIME)
    chunked = torch.cat(list(decode_stream(codec, latent.split(LATENT_FRAMES_PER_CHUNK, dim=TIME))), dim=TIME)
    return float(_steps(chunked - whole, TIME, [start for start, _ in spans[1:]]).mean())


def _edges(spans: Sequence[tuple[int, int]], stride: int) -> list[int]:
    """The first pixels after each edge inside the picture."""
    return sorted({stride * edge for span in spans for edge in span} - {0, stride * spans[-1][1]})


def _steps(difference: Pixels, axis: int, edges: Sequence[int]) -> Float[Tensor, " n"]:
    """Absolute steps across each edge, in levels of 255."""
    at = torch.tensor(edges, device=difference.device)
    steps = difference.index_select(axis, at) - difference.index_select(axis, at - 1)
    return 127.5 * steps.abs().flatten()
