"""Packed attention: the same as one sample at a time, and nothing leaks from one sample into the next."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitascope.kernels.attention import FEW_KEYS, packed_attention
from vitascope.kernels.device import has_bfloat16_products


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_definition(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("nhd,mhd->hnm", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("hnm,mhd->nhd", scores.softmax(-1), v)


@pytest.mark.parametrize(
    ("q_lengths", "k_lengths"),
    [
        ([5], [5]),
        ([4, 4, 4], [2, 2, 2]),  # one run, one call
        ([3, 5, 1, 1, 5], [3, 5, 1, 1, 5]),
        ([4, 4, 4], [2, 7, 7]),  # equal queries, other keys: two runs
        ([1, 6, 6, 2], [9, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("few_keys", [0, FEW_KEYS])  # by torch's kernel, and by products
def test_packed_is_one_sample_at_a_time(q_lengths, k_lengths, few_keys, monkeypatch):
    """Fails when runs are told apart by the query length alone, or when the offsets of keys follow the queries."""
    monkeypatch.setattr("vitascope.kernels.attention.FEW_KEYS", few_keys)
    q = random(sum(q_lengths), 3, 8)
    k, v = random(sum(k_lengths), 3, 8, seed=1), random(sum(k_lengths), 3, 8, seed=2)
    parts = zip(q.split(q_lengths), k.split(k_lengths), v.split(k_lengths), strict=True)
    expected = torch.cat([by_definition(*part) for part in parts])
    torch.testing.assert_close(packed_attention(q, k, v, q_lengths, k_lengths), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "few_keys"), [(torch.float32, 0), (torch.float32, FEW_KEYS), (torch.bfloat16, FEW_KEYS)]
)
def test_a_counted_key_is_so_many_equal_keys(dtype, few_keys, monkeypatch):
    """Alone and beside a sample with fewer keys; with gradients, in half precision, by the explicit formula."""
    monkeypatch.setattr("vitascope.kernels.attention.FEW_KEYS", few_keys)
    q_lengths, k_lengths = [4, 4, 2], [3, 5, 5]
    q, k, v = (random(length, 2, 8, seed=length).to(dtype) for length in (10, 13, 13))
    counts = torch.tensor([1, 1, 40, 1, 2, 1, 1, 500, 1, 1, 1, 1, 7])
    repeated = [x.repeat_interleave(counts, dim=0) for x in (k, v)]
    lengths = [int(part.sum()) for part in counts.split(k_lengths)]
    expected = packed_attention(q, *repeated, q_lengths, lengths)
    found = packed_attention(q.requires_grad_(), k, v, q_lengths, k_lengths, counts)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 0.03)
    assert (packed_attention(q, k, v, q_lengths, k_lengths) - expected).abs().max() > 0.1


def test_training_in_bfloat16_takes_the_explicit_formula(monkeypatch):
    """Padded keys included, and to bfloat16's three digits. Fails without the mask, or without the scale."""
    q_lengths, k_lengths = [4, 4, 4, 2], [2, 7, 7, 3]
    q = random(14, 3, 8).bfloat16().requires_grad_()
    k, v = (random(19, 3, 8, seed=seed).bfloat16() for seed in (1, 2))
    exact = q.detach().float().requires_grad_()
    expected = packed_attention(exact, k.float(), v.float(), q_lengths, k_lengths)
    expected.square().sum().backward()
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", None)
    found = packed_attention(q, k, v, q_lengths, k_lengths)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.03)
    found.float().square().sum().backward()
    assert q.grad is not None
    assert exact.grad is not None
    assert torch.cosine_similarity(q.grad.float().flatten(), exact.grad.flatten(), dim=0) > 0.999


@torch.no_grad()
@pytest.mark.parametrize("counted", [False, True])
def test_sampling_in_bfloat16_takes_some_queries_at_a_time(counted, monkeypatch):
    """Where the processor is made for it. Fails when a head or a sample takes another's keys, mask or place."""
    q_lengths, k_lengths = [7, 7, 4], [5, 9, 2]
    q = random(18, 3, 8)
    k, v = random(16, 3, 8, seed=1), random(16, 3, 8, seed=2)
    counts = torch.tensor([1, 30, *[1] * 12, 9, 1]) if counted else None
    expected = packed_attention(q, k, v, q_lengths, k_lengths, counts)
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", None)
    monkeypatch.setattr("vitascope.kernels.attention.has_bfloat16_products", lambda: True)
    monkeypatch.setattr("vitascope.kernels.attention.SCORES_AT_ONCE", 1)
    monkeypatch.setattr("vitascope.kernels.attention.MIN_QUERIES", 3)
    found = packed_attention(*(x.bfloat16() for x in (q, k, v)), q_lengths, k_lengths, counts)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.03)


def test_what_the_processor_is_made_for_is_what_it_says():
    """Fails when torch no longer tells it by the name that is asked for."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        pytest.skip("no /proc/cpuinfo")
    assert has_bfloat16_products() == ("avx512_bf16" in flags)


@torch.no_grad()
def test_elsewhere_sampling_in_bfloat16_takes_torchs_kernel(monkeypatch):
    calls = []
    kernel = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        "torch.nn.functional.scaled_dot_product_attention", lambda *args: calls.append(1) or kernel(*args)
    )
    monkeypatch.setattr("vitascope.kernels.attention.has_bfloat16_products", lambda: False)
    q, k, v = (random(4, 3, 8, seed=seed).bfloat16() for seed in range(3))
    packed_attention(q, k, v, [4], [4])
    assert calls == [1]


@pytest.mark.parametrize(("num_keys", "num_calls"), [(FEW_KEYS, 0), (FEW_KEYS + 1, 1)])
def test_of_many_keys_the_scores_are_not_written_out(num_keys, num_calls, monkeypatch):
    calls = []
    kernel = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        "torch.nn.functional.scaled_dot_product_attention", lambda *args: calls.append(1) or kernel(*args)
    )
    packed_attention(random(4, 3, 8), *(random(num_keys, 3, 8, seed=seed) for seed in (1, 2)), [4], [num_keys])
    assert len(calls) == num_calls


def test_another_sample_of_the_pack_changes_nothing():
    q, k, v = (random(9, 2, 8, seed=seed) for seed in range(3))
    before = packed_attention(q, k, v, [4, 5], [4, 5])
    for x in (q, k, v):
        x[:4] = 100
    after = packed_attention(q, k, v, [4, 5], [4, 5])
    assert torch.equal(after[4:], before[4:])
    assert not torch.equal(after[:4], before[:4])


def test_gradients_stay_within_a_sample():
    q, k, v = (random(9, 2, 8, seed=seed).requires_grad_() for seed in range(3))
    packed_attention(q, k, v, [4, 5], [4, 5])[:4].square().sum().backward()
    for x in (q, k, v):
        assert x.grad is not None
        assert x.grad[:4].abs().max() > 0
        assert x.grad[4:].abs().max() == 0


def test_no_layout_is_copied_or_required():
    """Slices of one fused tensor are as good as three tensors."""
    fused = random(6, 3, 2, 8)
    q, k, v = fused.unbind(1)
    packed = packed_attention(q, k, v, [3, 3], [3, 3])
    assert torch.equal(packed, packed_attention(*(x.contiguous() for x in (q, k, v)), [3, 3], [3, 3]))


@pytest.mark.parametrize(("q_lengths", "k_lengths"), [([4], [6]), ([6], [5]), ([3, 3], [6])])
def test_lengths_that_do_not_add_up_are_refused(q_lengths, k_lengths):
    q, k = random(6, 1, 8), random(6, 1, 8)
    with pytest.raises(ValueError, match="don't fit"):
        packed_attention(q, k, k, q_lengths, k_lengths)


@pytest.mark.gpu
def test_the_kernel_for_many_lengths_agrees_with_the_definition():
    q_lengths, k_lengths = [7, 300, 1, 64], [7, 25, 3, 64]
    q = random(sum(q_lengths), 4, 64)
    k, v = random(sum(k_lengths), 4, 64, seed=1), random(sum(k_lengths), 4, 64, seed=2)
    expected = packed_attention(q, k, v, q_lengths, k_lengths)
    half = (x.to("cuda", torch.bfloat16) for x in (q, k, v))
    got = packed_attention(*half, q_lengths, k_lengths).float().cpu()
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-2)
