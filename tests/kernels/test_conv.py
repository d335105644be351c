"""Fast paths of convolutions equal torch's convolution."""

import pytest
import torch
import torch.nn.functional as F

from vitascope.kernels import conv, winograd
from vitascope.kernels.conv import Conv3d, DoublingConv3d


def assert_learning_and_fast_agree(layer: Conv3d, x: torch.Tensor, atol: float) -> None:
    """With gradients and without; and the fast result has its channels last in memory."""
    learning = layer(x)
    with torch.no_grad():
        fast = layer(x)
    assert learning.requires_grad
    assert fast.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(fast, learning, atol=atol, rtol=0)


@pytest.mark.parametrize(("taps", "size"), [(3, (4, 7, 13)), (1, (2, 8, 16)), (3, (3, 1, 5))])
@pytest.mark.parametrize("band_bytes", [1, winograd.BAND_BYTES])
def test_winograd_is_the_direct_convolution(taps, size, band_bytes, monkeypatch):
    """Fails when an entry of the three matrices changes its sign, or a band loses a row of tiles."""
    monkeypatch.setattr(winograd, "BAND_BYTES", band_bytes)
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 5, *size), torch.randn(7, 5, taps, 3, 3), torch.randn(7)
    wanted = F.conv3d(x, weight, bias, padding=(0, 1, 1))
    room, seen = winograd.framed_room(x, size[0])
    seen.copy_(x)
    made = winograd.convolve_framed(room, wanted.shape[2:], weight, bias)
    torch.testing.assert_close(made, wanted, atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(1, 1, 0), ((1, 3, 3), (1, 2, 2), 0), ((1, 3, 3), 1, (0, 1, 1)), ((3, 1, 1), (2, 1, 1), 0), (3, 1, (0, 1, 1))],
)
def test_a_convolution_without_gradients_is_the_one_with(kernel, stride, padding):
    torch.manual_seed(0)
    layer, x = Conv3d(32, 32, kernel, stride, padding), torch.randn(1, 32, 5, 32, 36)
    assert_learning_and_fast_agree(layer, x, atol=1e-4)


@pytest.mark.parametrize(("out_channels", "width"), [(3, 12), (3, 6), (8, 10), (8, 9), (16, 8)])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 1, 5)])
def test_few_channels_of_several_columns_at_once_are_those_of_each(out_channels, width, kernel):
    """Fails when a column's kernel is moved the wrong way, or the columns of one step change their order."""
    torch.manual_seed(0)
    layer = Conv3d(5, out_channels, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))
    x = torch.randn(2, 5, 4, 7, width)
    assert_learning_and_fast_agree(layer, x, atol=1e-5)


def test_few_channels_take_several_columns_at_once(monkeypatch):
    seen = []
    convolve = torch.mkldnn_convolution
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda x, k, *rest: seen.append(k.shape) or convolve(x, k, *rest))
    monkeypatch.setattr(conv, "_num_lanes", lambda: 16)
    with torch.no_grad():
        for out_channels, width, stride in ((3, 8, 1), (8, 6, 1), (8, 7, 1), (16, 8, 1), (3, 8, 2)):
            Conv3d(5, out_channels, 3, stride, padding=(0, 1, 1))(torch.randn(1, 5, 3, 4, width))
        Conv3d(5, 3, 1)(torch.randn(1, 5, 3, 4, 8))
    assert [(shape[0], shape[-1]) for shape in seen] == [(12, 6), (16, 4), (8, 3), (16, 3), (3, 3), (3, 1)]


@pytest.mark.parametrize("size", [(2, 5, 9), (1, 1, 1)])
def test_doubling_without_gradients_is_the_one_with(size):
    """Fails when the four kernels swap their places, or a sum of two weights takes the wrong pair."""
    torch.manual_seed(0)
    layer, x = DoublingConv3d(8, 6), torch.randn(2, 8, *size)
    assert_learning_and_fast_agree(layer, x, atol=1e-5)
