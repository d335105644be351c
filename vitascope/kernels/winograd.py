"""Convolutions by Winograd's minimal filtering: a quarter of the multiplications of a 3 x 3 kernel, the same result.

A tile of 4 x 4 outputs sees 6 x 6 inputs. Led through fixed matrices, inputs and kernel meet in 36 products per pair of
channels instead of 144, and those are 36 ordinary matrix products. PyTorch never asks oneDNN for this on a CPU.

Source: Lavin and Gray 2015 (arXiv:1509.09308), section 4.3, F(4x4, 3x3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

TILE, WINDOW = 4, 6  # rows and columns of a tile's outputs, and of the inputs that they see
BAND_BYTES = 4 << 20  # of led-through inputs at a time; with their products about what a core's caches keep
MIN_CHANNELS, MIN_TILES = 32, 64  # with fewer, leading inputs or kernel through costs more than it saves

INPUT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
ALL_ALIKE = WINDOW + 1  # of the 36 products, the one that OUTPUT gives to all outputs alike
OUTPUT = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def is_worthwhile(x: Float[Tensor, "b c _t h w"], weight: Float[Tensor, "o c k r s"]) -> bool:
    """Whether this beats a direct convolution with as many frames as x: a 3 x 3 kernel, many channels, many tiles."""
    out_channels, in_channels, _, *kernel = weight.shape
    tiles = x.shape[0] * x.shape[2] * -(-x.shape[3] // TILE) * -(-x.shape[4] // TILE)
    return kernel == [3, 3] and min(out_channels, in_channels) >= MIN_CHANNELS and tiles >= MIN_TILES


def framed_room(
    x: Float[Tensor, "b c _t h w"], num_frames: int
) -> tuple[Float[Tensor, "b t2 h2 w2 c"], Float[Tensor, "b c t2 h w"]]:
    """Memory for frames of the size of x amid the zeros that tiles see beyond them, and the frames' place in it."""
    batch, channels, _, height, width = x.shape
    rows, columns = -(-height // TILE), -(-width // TILE)
    room = x.new_empty(batch, num_frames, TILE * rows + 2, TILE * columns + 2, channels)
    room[:, :, 0] = room[:, :, 1 + height :] = 0
    room[:, :, :, 0] = room[:, :, :, 1 + width :] = 0
    return room, room[:, :, 1 : 1 + height, 1 : 1 + width].movedim(-1, 1)


def convolve_framed(
    room: Float[Tensor, "b t2 h2 w2 c"],
    size: Sequence[int],
    weight: Float[Tensor, "o c k 3 3"],
    bias: Float[Tensor, " o"],
) -> Float[Tensor, "b o t h w"]:
    """The convolution of the frames in a `framed_room`, `size` frames, rows and columns; channels are last in memory.

    Of the t2 = t + k - 1 frames that the result depends on, first ones that are zeros may be missing.
    """
    (num_out, height, width), out_channels = size, len(weight)
    rows, columns = -(-height // TILE), -(-width // TILE)
    out = room.new_empty(len(room), num_out, TILE * rows, TILE * columns, out_channels)
    kernels = _led_through(weight)
    for framed, result in zip(room, out, strict=True):
        _convolve_tiles(framed, kernels, bias, rearrange(result, "t (h p) (w q) o -> p q t h w o", p=TILE, q=TILE))
    return rearrange(out[:, :, :height, :width], "b t h w o -> b o t h w")


def _led_through(weight: Float[Tensor, "o c k 3 3"]) -> Float[Tensor, "k 36 c o"]:
    products = torch.kron(KERNEL, KERNEL) @ rearrange(weight, "o c k r s -> (r s) (k c o)")
    return rearrange(products, "n (k c o) -> k n c o", k=weight.shape[2], c=weight.shape[1])


def _convolve_tiles(
    padded: Float[Tensor, "t2 h w c"],
    kernels: Float[Tensor, "k 36 c o"],
    bias: Float[Tensor, " o"],
    tiles: Float[Tensor, "4 4 t rows columns o"],
) -> None:
    """Fill the tiles of the result band by band, each a few rows of tiles of all frames."""
    num_in, _, _, channels = padded.shape
    _, _, num_out, rows, columns, out_channels = tiles.shape
    # [6,6,t2,rows,columns,c], the inputs that each tile sees: overlapping views of the same memory
    windows = rearrange(padded.unfold(1, WINDOW, TILE).unfold(2, WINDOW, TILE), "t h w c p q -> p q t h w c")
    band = min(rows, max(1, BAND_BYTES // (4 * WINDOW**2 * num_in * columns * channels)))
    most = WINDOW**2 * band * columns * max(num_in * channels, num_out * out_channels)
    buffer, other = padded.new_empty(2, most)  # used in turns: of what was in one only the last is needed
    for top in range(0, rows, band):
        window, tile = windows[:, :, :, top : top + band], tiles[:, :, :, top : top + band]
        num_tiles = tile.shape[3] * columns  # of a frame
        seen = _part(buffer, window.shape).copy_(window)
        _lead(INPUT, seen, scratch=other, into=buffer)
        of_inputs = _part(buffer, (WINDOW**2, num_in, num_tiles, channels))
        products = _part(other, (WINDOW**2, num_out, num_tiles, out_channels))
        torch.bmm(of_inputs[:, num_in - num_out :].flatten(1, 2), kernels[-1], out=products.flatten(1, 2))
        for tap in range(len(kernels) - 1):
            first = tap - (len(kernels) - 1) + num_in - num_out  # the first result's frame; missing ones give nothing
            if -first < num_out:
                of_frames = of_inputs[:, max(0, first) : first + num_out].flatten(1, 2)
                products[:, max(0, -first) :].flatten(1, 2).baddbmm_(of_frames, kernels[tap])
        products[ALL_ALIKE] += bias
        tile.copy_(_lead(OUTPUT, products.view(WINDOW, WINDOW, -1), scratch=buffer, into=other).view(tile.shape))


def _lead(
    matrix: Float[Tensor, "m 6"],
    x: Float[Tensor, "6 6 ..."],
    *,
    scratch: Float[Tensor, " _"],
    into: Float[Tensor, " _"],
) -> Float[Tensor, "m m n"]:
    """matrix @ window @ matrix.T of every window; a third of the products that the Kronecker product of both takes.

    `scratch` must overlap neither x nor `into`; `into` may overlap x, which is spent by then.
    """
    size = len(matrix)
    half = torch.mm(matrix, x.view(WINDOW, -1), out=_part(scratch, (size, x[0].numel())))
    led = _part(into, (size, size, x[0, 0].numel()))
    return torch.bmm(matrix.expand(size, -1, -1), half.view(size, WINDOW, -1), out=led)


def _part(place: Float[Tensor, " _"], shape: Sequence[int]) -> Tensor:
    """The beginning of a place in memory, in a shape."""
    return place[: math.prod(shape)].view(shape)
