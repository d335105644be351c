"""3-D convolutions: torch's layers, with faster exact paths for inference in float32 on a CPU.

The fast paths call oneDNN's kernels directly, with channels last in memory, the native layout of those kernels. For
small inputs PyTorch would choose a kernel of its own, which is several times slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.kernels import winograd
from vitascope.kernels.device import META, is_cpu
from vitascope.kernels.linear import has_onednn

Frames = Float[Tensor, "_b _c _t _h _w"]
"""Activations of a video; a layer may change every axis."""

ONES = (1, 1, 1)  # a stride or a dilation
NORM_BYTES = 1 << 20  # of the input, normalised at a time; intermediate results stay in a core's cache


class Conv3d(nn.Conv3d):
    """torch's 3-D convolution; inference in float32 on a CPU is about twice as fast, equal up to rounding."""

    quantized: Callable[[Frames], Frames] | None = None  # set by `int8.quantize_`; replaces the fast path

    def forward(self, x: Frames) -> Frames:
        """The convolution of x."""
        if not has_fast_path(x, self.weight):
            return self._conv_forward(x, self.weight, self.bias)
        return self.quantized(x) if self.quantized is not None else _convolve(self, x)

    def inference_layer(self) -> nn.Conv3d:
        """The layer whose weights the fast path uses."""
        return self


class DoublingConv3d(Conv3d):
    """Nearest-neighbour upsampling of rows and columns by 2, then a 3 x 3 convolution of each frame.

    In the upsampled frame, two of any three neighbouring cells are equal. So inference convolves the original frame
    with four 2 x 2 kernels, one for each output of a cell: 4 products instead of 9.
    """

    def __init__(self, in_width: int, out_width: int):
        super().__init__(in_width, out_width, (1, 3, 3), padding=(0, 1, 1))

    def forward(self, x: Frames) -> Frames:
        """The convolution of the upsampled x."""
        if not has_fast_path(x, self.weight):
            return super().forward(repeat(x, "b c t h w -> b c t (h 2) (w 2)"))
        if self.quantized is not None:
            return _interleave(self.quantized(x))
        x = x.contiguous(memory_format=torch.channels_last_3d)
        return _interleave(torch.mkldnn_convolution(x, *self._fourfold(), (0, 1, 1), ONES, ONES, 1))

    def inference_layer(self) -> nn.Conv3d:
        """The layer of four kernels whose weights the fast path uses."""
        # built on the meta device, where no random weights are drawn
        four = nn.Conv3d(self.in_channels, 4 * self.out_channels, (1, 2, 2), padding=(0, 1, 1), device=META)
        four.weight, four.bias = (nn.Parameter(part, requires_grad=False) for part in self._fourfold())
        return four

    def _fourfold(self) -> tuple[Float[Tensor, "o4 c 1 2 2"], Float[Tensor, " o4"]]:
        """Kernels and biases of the upper left, upper right, lower left and lower right output of each cell."""
        assert self.bias is not None
        sums = self.weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
        kernels = torch.einsum("pir, qjs, octrs -> pqoctij", sums, sums, self.weight)
        return kernels.flatten(0, 2).detach(), self.bias.detach().repeat(4)


def has_fast_path(x: Frames, *parameters: Tensor) -> bool:
    """True for float32 on a CPU with oneDNN, where no gradient of x or of the parameters is needed."""
    learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters))
    return not learns and is_cpu(x.device) and x.dtype == torch.float32 and has_onednn()


@dataclass(frozen=True)
class CausalInput:
    """Input of a causal convolution, laid out once in memory: past frames, then those of the chunk."""

    frames: Frames  # without the past where it is zero and the convolution doesn't need it
    num_out: int  # frames of the chunk
    framed: Float[Tensor, "b t2 h2 w2 c"] | None  # memory of `frames` with a margin, for `winograd`; None: not used

    def last(self, num_frames: int) -> Frames:
        """The last `num_frames` frames, preceded by zeros if there are fewer."""
        missing = num_frames - self.frames.shape[2]
        return F.pad(self.frames, (0, 0, 0, 0, missing, 0)) if missing > 0 else self.frames[:, :, -num_frames:]


def lay_out_causal(layer: Conv3d, x: Frames, past: Frames | None, norm_gain: Float[Tensor, " c"] | None) -> CausalInput:
    """The input of `convolve_causal`: x behind `past`, or behind zeros, in a single copy.

    With a `norm_gain`, x is first replaced by SiLU of its root-mean-square norm over channels. Needs `has_fast_path`.
    """
    is_filtered = layer.quantized is None and layer.bias is not None and winograd.is_worthwhile(x, layer.weight)
    num_past = 0 if is_filtered and past is None else layer.kernel_size[0] - 1  # winograd needs no zeros written
    num_frames = num_past + x.shape[2]
    framed, frames = winograd.framed_room(x, num_frames) if is_filtered else (None, _channels_last(x, num_frames))
    if num_past:
        frames[:, :, :num_past] = 0 if past is None else past
    if norm_gain is None:
        frames[:, :, num_past:] = x
    else:
        _write_norm_silu(x, norm_gain, frames[:, :, num_past:])
    return CausalInput(frames, x.shape[2], framed)


def convolve_causal(layer: Conv3d, laid_out: CausalInput) -> Frames:
    """The convolution of what `lay_out_causal` returned for the same layer."""
    if laid_out.framed is None:
        return layer.quantized(laid_out.frames) if layer.quantized is not None else _convolve(layer, laid_out.frames)
    assert layer.bias is not None
    size = (laid_out.num_out, *laid_out.frames.shape[3:])
    return winograd.convolve_framed(laid_out.framed, size, layer.weight, layer.bias)


def _convolve(layer: nn.Conv3d, x: Frames) -> Frames:
    """The convolution by oneDNN's kernels; following layers keep the memory layout."""
    x = x.contiguous(memory_format=torch.channels_last_3d)
    assert not isinstance(layer.padding, str)
    num_columns = _columns_per_step(layer, x)
    if num_columns > 1:
        return _convolve_columns(x, layer.weight, layer.bias, layer.padding, num_columns)
    geometry = (layer.padding, layer.stride, layer.dilation, layer.groups)
    return torch.mkldnn_convolution(x, layer.weight, layer.bias, *geometry)


def _columns_per_step(layer: nn.Conv3d, x: Frames) -> int:
    """The fastest number of neighbouring columns to compute as one column with multiplied output channels."""
    assert not isinstance(layer.padding, str)
    is_plain = layer.stride == layer.dilation == ONES and layer.groups == 1
    if not is_plain or layer.padding[2] == 0 or layer.kernel_size[2] != 2 * layer.padding[2] + 1:
        return 1
    return next(n for n in (4, 2, 1) if n == 1 or (n * layer.out_channels <= _num_lanes() and x.shape[4] % n == 0))


@cache
def _num_lanes() -> int:
    """Output channels that oneDNN computes at once on this processor; fewer take as long."""
    return 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8


def _convolve_columns(
    x: Frames,
    weight: Float[Tensor, "o c k r s"],
    bias: Float[Tensor, " o"] | None,
    padding: tuple[int, ...],
    num_columns: int,
) -> Frames:
    """A convolution whose outputs of `num_columns` neighbouring columns are computed as channels of one column.

    Each column has its own kernel, shifted by one column; the stride is `num_columns`. Channels are last in memory, so
    the outputs need no rearrangement.
    """
    shifted = [F.pad(weight, (n, num_columns - 1 - n)) for n in range(num_columns)]
    kernels, biases = torch.cat(shifted), None if bias is None else bias.repeat(num_columns)
    wide = torch.mkldnn_convolution(x, kernels, biases, padding, (1, 1, num_columns), ONES, 1)
    return rearrange(wide, "b (n o) t h w -> b o t h (w n)", n=num_columns)


def _interleave(four: Float[Tensor, "b o4 t h1 w1"]) -> Frames:
    """Outputs of the four kernels of `DoublingConv3d`, in their places.

    An upper output reads the row above its cell, a lower one the row below; the same applies to columns.
    """
    cells = rearrange(four, "b (p q o) t h w -> p q b t h w o", p=2, q=2)
    height, width = cells.shape[4] - 1, cells.shape[5] - 1
    out = four.new_empty(*cells.shape[2:4], 2 * height, 2 * width, cells.shape[-1])
    for p, q in product(range(2), range(2)):
        out[:, :, p::2, q::2] = cells[p, q, :, :, p : p + height, q : q + width]
    return rearrange(out, "b t h w o -> b o t h w")


def _channels_last(x: Frames, num_frames: int) -> Frames:
    """Uninitialised frames of the size of x, channels last in memory."""
    batch, channels, _, height, width = x.shape
    return rearrange(x.new_empty(batch, num_frames, height, width, channels), "b t h w c -> b c t h w")


def _write_norm_silu(x: Frames, gain: Float[Tensor, " c"], out: Frames) -> None:
    """Fill `out` with SiLU of gain * x / rms(x), rms over channels, a few rows at a time."""
    num_rows = max(1, NORM_BYTES // (x.shape[1] * x.shape[4] * x.element_size()))
    gain = math.sqrt(x.shape[1]) * gain
    for rows, place in zip(_rows(x, num_rows), _rows(out, num_rows), strict=True):
        length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1e-12)
        normed = (rows * length.reciprocal_()).mul_(gain)
        torch.ops.aten.silu.out(normed, out=place)


def _rows(x: Frames, num_rows: int) -> Sequence[Float[Tensor, "_t _h w c"]]:
    """Parts of `num_rows` rows each: whole frames, or some rows of one frame."""
    clips = x.movedim(1, -1).unbind()
    if num_rows >= x.shape[2] * x.shape[3]:
        return clips
    num_frames = max(1, num_rows // x.shape[3])
    return [rows for clip in clips for frames in clip.split(num_frames) for rows in frames.split(num_rows, dim=1)]
