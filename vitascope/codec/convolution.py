"""The codec's convolutions: causal in time, and by the fastest exact way where nothing is to be learned."""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.codec.cache import Stream
from vitascope.codec.norm import ChannelNorm, Frames
from vitascope.kernels import winograd
from vitascope.kernels.int8 import EightBitConvolution
from vitascope.kernels.linear import has_onednn


class Conv3d(nn.Conv3d):
    """torch's convolution, on a CPU in float32 and without gradients about twice as fast, to within rounding.

    After `to_eight_bit` faster still there, and rougher.
    """

    eight_bit: EightBitConvolution | None = None

    def to_eight_bit(self) -> None:
        """Compute in 8 bits from now on where nothing is learned, with the weights of this moment; for good."""
        self.eight_bit = EightBitConvolution(self)

    def forward(self, x: Frames) -> Frames:
        weight = self.weight
        if not self._is_fast(x):
            return self._conv_forward(x, weight, self.bias)
        if self.eight_bit is not None:
            return self.eight_bit(x)
        # channels last: the layout that oneDNN's kernels are made for; the layers after this one keep it
        x = x.contiguous(memory_format=torch.channels_last_3d)
        assert not isinstance(self.padding, str)
        # asked for by name: for small inputs torch would choose a kernel of its own, which is several times slower
        arguments = (self.padding, self.stride, self.dilation, self.groups)
        num_columns = self._columns_at_once(x)
        if num_columns == 1:
            return torch.mkldnn_convolution(x, weight, self.bias, *arguments)
        return _convolve_columns(x, weight, self.bias, self.padding, num_columns)

    def _columns_at_once(self, x: Frames) -> int:
        """How many neighbouring columns are best computed as one of so many times the channels."""
        assert not isinstance(self.padding, str)
        is_plain = self.stride == self.dilation == (1, 1, 1) and self.groups == 1
        if not is_plain or self.padding[2] == 0 or self.kernel_size[2] != 2 * self.padding[2] + 1:
            return 1
        return next(n for n in (4, 2, 1) if n == 1 or (n * self.out_channels <= _lanes() and x.shape[4] % n == 0))

    def _is_fast(self, x: Frames, *others: Tensor) -> bool:
        learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, self.weight, *others))
        return not learns and x.device.type == "cpu" and x.dtype == torch.float32 and has_onednn()


class DoublingConv3d(Conv3d):
    """A 3 x 3 convolution of frames whose rows and columns are doubled first, each cell becoming four equal ones.

    Of three neighbouring cells two are then equal, so where nothing is learned this is a convolution of the frames as
    they were, of 2 x 2 cells, with four results for each: 4 products instead of 9.
    """

    def __init__(self, in_width: int, out_width: int):
        super().__init__(in_width, out_width, (1, 3, 3), padding=(0, 1, 1))

    def to_eight_bit(self) -> None:
        """Compute in 8 bits from now on where nothing is learned, with the weights of this moment; for good."""
        # on the meta device: it draws no weights
        four = nn.Conv3d(self.in_channels, 4 * self.out_channels, (1, 2, 2), padding=(0, 1, 1), device="meta")
        four.weight, four.bias = (nn.Parameter(part, requires_grad=False) for part in self._fourfold())
        self.eight_bit = EightBitConvolution(four)

    def forward(self, x: Frames) -> Frames:
        if not self._is_fast(x):
            return super().forward(repeat(x, "b c t h w -> b c t (h 2) (w 2)"))
        if self.eight_bit is not None:
            return _interleaved(self.eight_bit(x))
        x = x.contiguous(memory_format=torch.channels_last_3d)
        ones = (1, 1, 1)
        return _interleaved(torch.mkldnn_convolution(x, *self._fourfold(), (0, 1, 1), ones, ones, 1))

    def _fourfold(self) -> tuple[Float[Tensor, "o4 c 1 2 2"], Float[Tensor, " o4"]]:
        """The kernels and biases of the upper left, upper right, lower left and lower right of four equal cells."""
        assert self.bias is not None
        sums = self.weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
        kernels = torch.einsum("pir, qjs, octrs -> pqoctij", sums, sums, self.weight)
        return kernels.flatten(0, 2).detach(), self.bias.detach().repeat(4)


def _interleaved(four: Float[Tensor, "b o4 t h1 w1"]) -> Frames:
    """The results of `DoublingConv3d` in their places: an upper one sees the row above, a lower one the row below."""
    cells = rearrange(four, "b (p q o) t h w -> p q b t h w o", p=2, q=2)
    height, width = cells.shape[4] - 1, cells.shape[5] - 1
    out = four.new_empty(*cells.shape[2:4], 2 * height, 2 * width, cells.shape[-1])
    for p, q in product(range(2), range(2)):
        out[:, :, p::2, q::2] = cells[p, q, :, :, p : p + height, q : q + width]
    return rearrange(out, "b t h w o -> b o t h w")


class CausalConv3d(Conv3d):
    """A convolution that sees the present and the past: frames before the first are zeros."""

    def __init__(self, in_width: int, out_width: int, kernel: tuple[int, int, int]):
        super().__init__(in_width, out_width, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))
        self.num_past = kernel[0] - 1

    def forward(self, x: Frames, stream: Stream, norm: ChannelNorm | None = None) -> Frames:
        """The convolution of x or, with a norm, of SiLU of the norm of x."""
        past = stream.get(self) if self.num_past else None
        others = ([] if past is None else [past]) + ([] if norm is None else [norm.gain])
        if self.num_past and self._is_fast(x, *others):
            return self._forward_in_place(x, stream, norm)
        x = x if norm is None else F.silu(norm(x))
        if not self.num_past:
            return super().forward(x)
        x = F.pad(x, (0, 0, 0, 0, self.num_past, 0)) if past is None else torch.cat([past, x], dim=2)
        stream[self] = x[:, :, -self.num_past :]
        return super().forward(x)

    def _forward_in_place(self, x: Frames, stream: Stream, norm: ChannelNorm | None) -> Frames:
        """The same without copies: what the convolution sees is written once, where it sees it, behind the past."""
        past = stream.get(self)
        filtered = self.eight_bit is None and self.bias is not None and winograd.is_worthwhile(x, self.weight)
        num_past = 0 if filtered and past is None else self.num_past  # the filtering needs no zeros written
        num_frames = num_past + x.shape[2]
        room, seen = winograd.framed_room(x, num_frames) if filtered else _room(x, num_frames)
        if num_past:
            seen[:, :, :num_past] = 0 if past is None else past
        if norm is None:
            seen[:, :, num_past:] = x
        else:
            norm.write_silu(x, seen[:, :, num_past:])
        missing = max(0, self.num_past - num_frames)
        stream[self] = F.pad(seen, (0, 0, 0, 0, missing, 0)) if missing else seen[:, :, -self.num_past :]
        if not filtered:
            return super().forward(seen)
        assert self.bias is not None
        return winograd.convolve_framed(room, x.shape[2:], self.weight, self.bias)


@cache
def _lanes() -> int:
    """Output channels that oneDNN computes at once on this processor; fewer take as long."""
    return 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8


def _convolve_columns(
    x: Frames,
    weight: Float[Tensor, "o c k r s"],
    bias: Float[Tensor, " o"] | None,
    padding: tuple[int, ...],
    num_columns: int,
) -> Frames:
    """A convolution whose results of so many neighbouring columns are channels of one, which lie as they do in memory.

    A kernel for each of the columns, moved by one, and a step of so many columns.
    """
    moved = [F.pad(weight, (n, num_columns - 1 - n)) for n in range(num_columns)]
    kernels, biases = torch.cat(moved), None if bias is None else bias.repeat(num_columns)
    ones = (1, 1, 1)
    wide = torch.mkldnn_convolution(x, kernels, biases, padding, (1, 1, num_columns), ones, 1)
    return rearrange(wide, "b (n o) t h w -> b o t h (w n)", n=num_columns)


def _room(x: Frames, num_frames: int) -> tuple[Float[Tensor, "b t h w c"], Frames]:
    """Memory for so many frames of the size of x, channels last, and itself as a layer sees it."""
    batch, channels, _, height, width = x.shape
    room = x.new_empty(batch, num_frames, height, width, channels)
    return room, room.movedim(-1, 1)
