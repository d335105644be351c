"""The causal convolution's fast path equals the ordinary one, chunk by chunk."""

import pytest
import torch

from vitascope.codec.layers import CausalCache, CausalConv3d, ChannelNorm
from vitascope.kernels import conv, winograd


def test_many_channels_and_tiles_take_the_minimal_filtering(monkeypatch):
    taken = []
    convolve = winograd.convolve_framed
    monkeypatch.setattr(winograd, "convolve_framed", lambda *args: taken.append(args[0].shape) or convolve(*args))
    with torch.no_grad():
        for channels, side in ((32, 32), (16, 32), (32, 8)):
            CausalConv3d(channels, channels, (3, 3, 3))(torch.randn(1, channels, 2, side, side), CausalCache())
    assert taken == [(1, 2, 34, 34, 32)]  # without the two frames of zeros before the first


@pytest.mark.parametrize(("channels", "side"), [(32, 32), (8, 9)])  # filtered, and direct
@pytest.mark.parametrize("chunks", [(1, 4, 2), (3, 1, 1)])
@pytest.mark.parametrize("normed", ["row by row", "all frames at once", ""])
def test_chunks_behind_a_norm_without_gradients_are_the_whole_with(channels, side, chunks, normed, monkeypatch):
    """Fails when the past is a frame too few, a missing frame of zeros counts as one there is, or the gain is lost."""
    monkeypatch.setattr(conv, "NORM_BYTES", 1 if normed == "row by row" else 1 << 30)
    torch.manual_seed(0)
    layer, norm = CausalConv3d(channels, channels, (3, 3, 3)), ChannelNorm(channels) if normed else None
    if norm is not None:
        torch.nn.init.normal_(norm.gain)
    x = torch.randn(2, channels, sum(chunks), side, side)
    wanted, cache = layer(x, CausalCache(), norm), CausalCache()
    with torch.no_grad():
        made = torch.cat([layer(chunk, cache, norm) for chunk in x.split(list(chunks), dim=2)], dim=2)
    assert wanted.requires_grad
    torch.testing.assert_close(made, wanted, atol=2e-4, rtol=0)


def test_a_norm_learns_before_a_convolution_that_does_not():
    """Fails when only the convolution is asked whether something is to be learned."""
    layer, norm = CausalConv3d(8, 8, (3, 3, 3)).requires_grad_(False), ChannelNorm(8)
    layer(torch.randn(1, 8, 2, 4, 4), CausalCache(), norm).sum().backward()
    assert norm.gain.grad is not None
    assert norm.gain.grad.abs().min() > 0


def test_other_numbers_take_the_ordinary_way():
    layer = CausalConv3d(32, 32, (3, 3, 3)).double()
    with torch.no_grad():
        assert layer(torch.randn(1, 32, 2, 32, 32, dtype=torch.float64), CausalCache()).dtype == torch.float64
