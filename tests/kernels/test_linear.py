"""Linear layers by oneDNN are torch's, with their gradients; where it doesn't suit they are torch's own."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import vitascope.kernels.linear
from vitascope.kernels.linear import Linear, _suits

by_onednn = pytest.mark.skipif(not _suits(torch.ones(1, 1), torch.ones(1, 1)), reason="no oneDNN, or no x86")


def layers(gelu=False, bias=True):
    """Ours, and torch's with the same weights."""
    torch.manual_seed(0)
    ours = Linear(24, 40, gelu=gelu, bias=bias)
    wanted = nn.Linear(24, 40, bias=bias)
    wanted.load_state_dict(ours.state_dict())
    return ours, nn.Sequential(wanted, nn.GELU("tanh") if gelu else nn.Identity())


@pytest.fixture
def products(monkeypatch):
    """The shapes of what goes through oneDNN's operator."""
    seen = []
    product = vitascope.kernels.linear._product
    monkeypatch.setattr(
        vitascope.kernels.linear, "_product", lambda x, *args: seen.append(tuple(x.shape)) or product(x, *args)
    )
    return seen


@by_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("shape", [(7, 24), (2, 3, 24), (1, 24), (24,)])
def test_results_and_gradients_are_torchs(shape, gelu, bias, products):
    ours, wanted = layers(gelu, bias)
    x = torch.randn(shape)
    results, inputs = [], [x.clone().requires_grad_() for _ in range(2)]
    for layer, seen in zip((ours, wanted), inputs, strict=True):
        results.append(layer(seen))
        (results[-1] * torch.arange(40)).sum().backward()
    torch.testing.assert_close(results[0], results[1], atol=2e-6, rtol=0)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-4, rtol=1e-5)
    for mine, theirs in zip(ours.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-4, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), wanted(x), atol=2e-6, rtol=0)
    assert products == [shape, (*shape[:-1], 40), shape]  # forward, the input's gradient, and without gradients


@by_onednn
@pytest.mark.parametrize("frozen", [("weight",), ("bias",), ("weight", "bias")])
def test_what_learns_nothing_gets_no_gradient(frozen, products):
    ours, wanted = layers()
    for name in frozen:
        getattr(ours, name).requires_grad_(False)
    inputs = [torch.ones(5, 24, requires_grad=True) for _ in range(2)]
    for layer, x in zip((ours, wanted), inputs, strict=True):
        layer(x).sum().backward()  # whose gradient is one number for all places
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    assert [name for name in ("weight", "bias") if getattr(ours, name).grad is None] == list(frozen)
    assert len(products) == 2


@by_onednn
def test_an_input_that_learns_nothing_takes_no_product(products):
    ours, _ = layers()
    ours(torch.ones(5, 24)).sum().backward()
    assert products == [(5, 24)]


@by_onednn
def test_a_layer_may_be_computed_twice_to_save_memory():
    ours, wanted = layers(gelu=True)
    x = torch.randn(5, 24)
    checkpoint(ours, x, use_reentrant=False).square().sum().backward()
    wanted(x).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, wanted[0].weight.grad, atol=1e-4, rtol=1e-5)


@by_onednn
def test_a_bias_alone_can_learn():
    ours, _ = layers()
    ours.weight.requires_grad_(False)
    ours(torch.randn(5, 24)).sum().backward()
    torch.testing.assert_close(ours.bias.grad, torch.full((40,), 5.0))


@by_onednn
def test_rows_that_lie_apart(products):
    """Fails when the operator takes a slice or a transpose for what lies in one piece."""
    ours, wanted = layers()
    with torch.no_grad():
        for x in (torch.randn(9, 60)[:, 3:27], torch.randn(24, 9).mT, torch.randn(18, 24)[::2]):
            torch.testing.assert_close(ours(x), wanted(x), atol=2e-6, rtol=0)
    assert len(products) == 3


def test_half_precision_autocast_and_nothing_at_all_are_torchs_own(products):
    ours, wanted = layers(gelu=True)
    x = torch.randn(6, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16
        torch.testing.assert_close(ours(x), wanted(x))
    assert ours(x[:0]).shape == (0, 40)
    for dtype in (torch.float64, torch.bfloat16):
        torch.testing.assert_close(ours.to(dtype)(x.to(dtype)), wanted.to(dtype)(x.to(dtype)))
    assert ours(x).dtype == torch.bfloat16  # its weights' own
    assert products == []


def test_without_onednn_it_is_torchs_own(products, monkeypatch):
    monkeypatch.setattr(vitascope.kernels.linear, "has_onednn", lambda: False)
    ours, wanted = layers(gelu=True)
    x = torch.randn(6, 24)
    torch.testing.assert_close(ours(x), wanted(x))
    assert products == []
