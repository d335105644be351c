"""3 x 3 convolutions by Winograd's minimal filtering: a quarter of the multiplications, equal up to rounding.

A tile of 4 x 4 outputs depends on 6 x 6 inputs. Fixed matrices transform inputs and kernels; then 36 products per pair
of channels replace 144, as 36 ordinary matrix products. PyTorch never requests this from oneDNN on a CPU.

Source: Lavin and Gray 2015 (arXiv:1509.09308), section 4.3, F(4x4, 3x3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vitascope.kernels.device import CPU

TILE, WINDOW = 4, 6  # rows and columns of a tile's outputs, and of the inputs that they depend on
BAND_BYTES = 4 << 20  # transformed inputs at a time; with their products they fit a core's caches
MIN_CHANNELS, MIN_TILES = 32, 64  # minima: with fewer, the transforms cost more than they save

INPUT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    device=CPU,
)
KERNEL = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], device=CPU) / 24
CONSTANT = WINDOW + 1  # of the 36 products, the one that OUTPUT adds to all outputs with weight 1
OUTPUT = torch.tensor(
    [[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], device=CPU
)


def is_worthwhile(x: Float[Tensor, "b c _t h w"], weight: Float[Tensor, "o c k r s"]) -> bool:
    """True if this is faster than a direct convolution of x: a 3 x 3 kernel, many channels, many tiles."""
    out_channels, in_channels, _, *kernel = weight.shape
    tiles = x.shape[0] * x.shape[2] * -(-x.shape[3] // TILE) * -(-x.shape[4] // TILE)
    return kernel == [3, 3] and min(out_channels, in_channels) >= MIN_CHANNELS and tiles >= MIN_TILES


def framed_room(
    x: Float[Tensor, "b c _t h w"], num_frames: int
) -> tuple[Float[Tensor, "b t2 h2 w2 c"], Float[Tensor, "b c t2 h w"]]:
    """Uninitialised frames of the size of x inside a margin of zeros: (the memory with the margin, the frames)."""
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
    """The convolution of frames in a `framed_room`; channels are last in memory.

    `size` is the result's frames, rows and columns. The result depends on t2 = t + k - 1 frames. Leading zero frames
    may be missing.
    """
    (num_out, height, width), out_channels = size, len(weight)
    rows, columns = -(-height // TILE), -(-width // TILE)
    out = room.new_empty(len(room), num_out, TILE * rows, TILE * columns, out_channels)
    kernels = _transform_kernels(weight)
    for framed, result in zip(room, out, strict=True):
        _convolve_tiles(framed, kernels, bias, rearrange(result, "t (h p) (w q) o -> p q t h w o", p=TILE, q=TILE))
    return rearrange(out[:, :, :height, :width], "b t h w o -> b o t h w")


def _transform_kernels(weight: Float[Tensor, "o c k 3 3"]) -> Float[Tensor, "k 36 c o"]:
    products = torch.kron(KERNEL, KERNEL) @ rearrange(weight, "o c k r s -> (r s) (k c o)")
    return rearrange(products, "n (k c o) -> k n c o", k=weight.shape[2], c=weight.shape[1])


def _convolve_tiles(
    padded: Float[Tensor, "t2 h w c"],
    kernels: Float[Tensor, "k 36 c o"],
    bias: Float[Tensor, " o"],
    tiles: Float[Tensor, "4 4 t rows columns o"],
) -> None:
    """Fill the tiles of the result in bands, each of a few rows of tiles of all frames."""
    num_in, _, _, channels = padded.shape
    _, _, num_out, rows, columns, out_channels = tiles.shape
    # [6,6,t2,rows,columns,c], the inputs of each tile: overlapping views of the same memory
    windows = rearrange(padded.unfold(1, WINDOW, TILE).unfold(2, WINDOW, TILE), "t h w c p q -> p q t h w c")
    band = min(rows, max(1, BAND_BYTES // (4 * WINDOW**2 * num_in * columns * channels)))
    most = WINDOW**2 * band * columns * max(num_in * channels, num_out * out_channels)
    buffer, other = padded.new_empty(2, most)  # used alternately: only the last result is needed
    for top in range(0, rows, band):
        window, tile = windows[:, :, :, top : top + band], tiles[:, :, :, top : top + band]
        num_tiles = tile.shape[3] * columns  # of a frame
        seen = _part(buffer, window.shape).copy_(window)
        _transform(INPUT, seen, scratch=other, into=buffer)
        of_inputs = _part(buffer, (WINDOW**2, num_in, num_tiles, channels))
        products = _part(other, (WINDOW**2, num_out, num_tiles, out_channels))
        torch.bmm(of_inputs[:, num_in - num_out :].flatten(1, 2), kernels[-1], out=products.flatten(1, 2))
        for tap in range(len(kernels) - 1):
            first = (
                tap - (len(kernels) - 1) + num_in - num_out
            )  # input frame of the first output; missing ones are zero
            if -first < num_out:
                of_frames = of_inputs[:, max(0, first) : first + num_out].flatten(1, 2)
                products[:, max(0, -first) :].flatten(1, 2).baddbmm_(of_frames, kernels[tap])
        products[CONSTANT] += bias
        tile.copy_(_transform(OUTPUT, products.view(WINDOW, WINDOW, -1), scratch=buffer, into=other).view(tile.shape))


def _transform(
    matrix: Float[Tensor, "m 6"],
    x: Float[Tensor, "6 6 ..."],
    *,
    scratch: Float[Tensor, " _"],
    into: Float[Tensor, " _"],
) -> Float[Tensor, "m m n"]:
    """matrix @ window @ matrix.T of every window, with a third of the products of a Kronecker product.

    `scratch` must not overlap x or `into`. `into` may overlap x, which is overwritten.
    """
    size = len(matrix)
    half = torch.mm(matrix, x.view(WINDOW, -1), out=_part(scratch, (size, x[0].numel())))
    transformed = _part(into, (size, size, x[0, 0].numel()))
    return torch.bmm(matrix.expand(size, -1, -1), half.view(size, WINDOW, -1), out=transformed)


def _part(buffer: Float[Tensor, " _"], shape: Sequence[int]) -> Tensor:
    """The first numbers of a buffer, in a shape."""
    return buffer[: math.prod(shape)].view(shape)
