"""Packed attention: the same as one sample at a time, and nothing leaks from one sample into the next."""

from __future__ import annotations

import math
from pathlib import Path

import jaxtyping
import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from vitascope.kernels.attention import (
    KERNELS,
    FlexPlan,
    Layout,
    SegmentPlan,
    VarlenPlan,
    packed_attention,
    plan_attention,
)
from vitascope.kernels.device import CPU, has_bfloat16_products, resolve_device
from vitascope.kernels.segments import FEW_KEYS, segment_attention


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
    monkeypatch.setattr("vitascope.kernels.segments.FEW_KEYS", few_keys)
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
    monkeypatch.setattr("vitascope.kernels.segments.FEW_KEYS", few_keys)
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
    """On processors with bfloat16 products. Fails when a head or sample uses another's keys, mask or position."""
    q_lengths, k_lengths = [7, 7, 4], [5, 9, 2]
    q = random(18, 3, 8)
    k, v = random(16, 3, 8, seed=1), random(16, 3, 8, seed=2)
    counts = torch.tensor([1, 30, *[1] * 12, 9, 1]) if counted else None
    expected = packed_attention(q, k, v, q_lengths, k_lengths, counts)
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", None)
    monkeypatch.setattr("vitascope.kernels.segments.has_bfloat16_products", lambda: True)
    monkeypatch.setattr("vitascope.kernels.segments.SCORES_AT_ONCE", 1)
    monkeypatch.setattr("vitascope.kernels.segments.MIN_QUERIES", 3)
    found = packed_attention(*(x.bfloat16() for x in (q, k, v)), q_lengths, k_lengths, counts)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.03)


def test_what_the_processor_is_made_for_is_what_it_says():
    """Fails when torch renames the query for this feature."""
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
    monkeypatch.setattr("vitascope.kernels.segments.has_bfloat16_products", lambda: False)
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


LAYOUTS = [([7, 300, 1, 64], [7, 25, 3, 64]), ([130, 126], [128, 140]), ([5, 5], [3, 4]), ([256], [128])]


@torch.no_grad()
@pytest.mark.parametrize(("q_lengths", "k_lengths"), LAYOUTS)
@pytest.mark.parametrize("counted", [False, True])
def test_flex_attention_agrees_with_the_segments(q_lengths, k_lengths, counted, monkeypatch):
    """FlexAttention uncompiled, on the CPU. Fails if its mask has a wrong tile, or counts are left out."""
    monkeypatch.setattr("vitascope.kernels.attention._compiled_flex_attention", lambda: flex_attention)
    monkeypatch.setattr("torch.nn.attention.flex_attention._warn_once", lambda *_, **__: None)
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # PyTorch traces the mask, not the checks around it
    q, k, v = (random(sum(n), 2, 16, seed=seed) for seed, n in enumerate((q_lengths, k_lengths, k_lengths)))
    counts = torch.randint(1, 40, (len(k),), generator=torch.Generator().manual_seed(3)) if counted else None
    layout = Layout(tuple(q_lengths), tuple(k_lengths), counts)
    flex, segments = (kernel(layout, CPU, torch.float32) for kernel in (FlexPlan, SegmentPlan))
    torch.testing.assert_close(flex(q, k, v), segments(q, k, v), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("q_lengths", "k_lengths"), LAYOUTS)
def test_flex_attentions_tiles_are_those_of_the_whole_mask(q_lengths, k_lengths):
    """Every pair that the mask allows is in a visited tile, and tiles called whole are allowed wholly."""
    mask = FlexPlan(Layout(tuple(q_lengths), tuple(k_lengths), None), CPU, torch.float32)._mask
    q_sample, k_sample = (torch.arange(len(n)).repeat_interleave(torch.tensor(n)) for n in (q_lengths, k_lengths))
    allowed = q_sample[:, None] == k_sample
    tiles = [-(-len(x) // 128) for x in (q_sample, k_sample)]
    padded = torch.zeros(128 * tiles[0], 128 * tiles[1], dtype=torch.bool)
    padded[: len(q_sample), : len(k_sample)] = allowed
    by_tile = padded.view(tiles[0], 128, tiles[1], 128).transpose(1, 2).flatten(2)
    expected = by_tile.any(-1), by_tile.all(-1)
    found = torch.zeros(2, *tiles, dtype=torch.bool)
    for row in range(tiles[0]):
        for part, (number, order) in enumerate(
            ((mask.kv_num_blocks, mask.kv_indices), (mask.full_kv_num_blocks, mask.full_kv_indices))
        ):
            found[part, row, order[0, 0, row, : int(number[0, 0, row])].long()] = True
    assert not (found[0] & found[1]).any()
    assert torch.equal(found[0] | found[1], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("device", "dtype", "head_dim", "capability", "missing", "expected"),
    [
        ("cuda", torch.bfloat16, 64, (9, 0), "", VarlenPlan),
        ("cuda", torch.float16, 128, (8, 0), "", VarlenPlan),
        ("cuda", torch.bfloat16, 64, (7, 5), "", FlexPlan),
        ("cuda", torch.bfloat16, 64, (9, 0), "varlen", FlexPlan),
        ("cuda", torch.bfloat16, 20, (9, 0), "", FlexPlan),
        ("cuda", torch.float32, 64, (9, 0), "", FlexPlan),
        ("cuda", torch.float32, 64, (9, 0), "triton", SegmentPlan),
        ("cuda", torch.float32, 8, (9, 0), "", SegmentPlan),
        ("mps", torch.bfloat16, 64, (0, 0), "", SegmentPlan),
        ("cpu", torch.bfloat16, 64, (0, 0), "", SegmentPlan),
        ("meta", torch.float32, 64, (0, 0), "", SegmentPlan),
    ],
)
def test_the_first_kernel_that_applies_is_chosen(device, dtype, head_dim, capability, missing, expected, monkeypatch):
    """Without a GPU: what the machine has is faked, and the plans are made on the CPU."""
    monkeypatch.setattr("vitascope.kernels.attention._capability", lambda _: capability)
    monkeypatch.setattr("vitascope.kernels.attention._has_triton", lambda: missing != "triton")
    monkeypatch.setattr("vitascope.kernels.attention._varlen_attention", lambda: None if missing == "varlen" else str)
    chosen = next(k for k in KERNELS if k.applies(torch.device(device), dtype, head_dim))
    assert chosen is expected


def test_samples_of_equal_lengths_are_one_batch_on_every_device(monkeypatch):
    monkeypatch.setattr("vitascope.kernels.attention.KERNELS", ())
    plan = plan_attention([4, 4], [3, 3], device=torch.device("meta"), dtype=torch.bfloat16, head_dim=64)
    assert isinstance(plan, SegmentPlan)
    with pytest.raises(StopIteration):
        plan_attention([4, 5], [3, 3], device=torch.device("meta"), dtype=torch.bfloat16, head_dim=64)


def test_the_flash_kernel_gets_offsets_and_repeated_keys(monkeypatch):
    """Against an imitation of PyTorch's kernel that reads the same arguments."""

    def imitation(q: Tensor, k: Tensor, v: Tensor, q_ends: Tensor, k_ends: Tensor, longest_q: int, longest_k: int):
        assert q_ends.dtype == k_ends.dtype == torch.int32
        assert (longest_q, longest_k) == (q_ends.diff().max(), k_ends.diff().max())
        q_lengths, k_lengths = q_ends.diff().tolist(), k_ends.diff().tolist()
        parts = zip(q.split(q_lengths), k.split(k_lengths), v.split(k_lengths), strict=True)
        return torch.cat([by_definition(*part) for part in parts])

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", imitation)
    q, k, v = random(6, 2, 8), random(5, 2, 8, seed=1), random(5, 2, 8, seed=2)
    counts = torch.tensor([1, 30, 2, 1, 7])
    plan = VarlenPlan(Layout((4, 2), (2, 3), counts), CPU, torch.float32)
    expected = packed_attention(q, k, v, [4, 2], [2, 3], counts)
    torch.testing.assert_close(plan(q, plan.expand(k), plan.expand(v)), expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="don't fit"):  # keys that are not expanded would be read past their end
        plan(q, k, v)


@pytest.mark.parametrize("counted", [False, True])
def test_the_compiled_operator_has_the_values_and_gradients_of_the_segments(counted):
    q_lengths, k_lengths = [4, 4, 2], [3, 5, 5]
    counts = torch.tensor([1, 1, 40, 1, 2, 1, 1, 5, 1, 1, 1, 1, 7]) if counted else None
    bonus = None if counts is None else counts.float().log()
    q, k, v = (random(length, 2, 8, seed=length).requires_grad_() for length in (10, 13, 13))
    expected = packed_attention(q, k, v, q_lengths, k_lengths, counts)
    found, _ = segment_attention(q, k, v, torch.tensor([q_lengths, k_lengths]), bonus)
    assert torch.equal(found, expected)
    weights = random(*expected.shape, seed=5)
    pairs = (torch.autograd.grad((out * weights).sum(), (q, k, v)) for out in (found, expected))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_compiled_operator_has_the_values_and_gradients_of_many_keys():
    """PyTorch's flash kernel both ways, for runs of more keys than are written out."""
    lengths = [FEW_KEYS + 1, FEW_KEYS + 1, FEW_KEYS + 7, 3]
    q, k, v = (random(sum(lengths), 2, 8, seed=seed).requires_grad_() for seed in range(3))
    expected = packed_attention(q, k, v, lengths, lengths)
    found, sums = segment_attention(q, k, v, torch.tensor([lengths, lengths]), None)
    assert torch.equal(found, expected)
    assert sums[:-3].all(), "each query's log-sum-exp"
    assert not sums[-3:].any()
    weights = random(*expected.shape, seed=5)
    pairs = (torch.autograd.grad((out * weights).sum(), (q, k, v)) for out in (found, expected))
    for a, b in zip(*pairs, strict=True):
        assert torch.equal(a[:-3], b[:-3])
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("dtype", "kernel", "tolerance"),
    [(torch.bfloat16, VarlenPlan, 2e-2), (torch.float16, VarlenPlan, 5e-3), (torch.float32, FlexPlan, 1e-3)],
)
@pytest.mark.parametrize("counted", [False, True])
def test_the_kernels_of_a_gpu_agree_with_the_cpu(dtype, kernel, tolerance, counted):
    """Values and gradients, relative to the largest: 1e-3 in float32, more in the half formats."""
    q_lengths, k_lengths = LAYOUTS[0]
    tensors = [random(sum(n), 4, 64, seed=seed) for seed, n in enumerate((q_lengths, k_lengths, k_lengths))]
    counts = torch.randint(1, 9, (len(tensors[1]),), generator=torch.Generator().manual_seed(3)) if counted else None
    results = []
    for device, number_format in ((CPU, torch.float32), (resolve_device("cuda"), dtype)):
        q, k, v = (x.to(device, number_format).requires_grad_() for x in tensors)
        plan = plan_attention(q_lengths, k_lengths, counts, device=device, dtype=number_format, head_dim=64)
        out = plan(q, plan.expand(k), plan.expand(v))
        results.append([out, *torch.autograd.grad(out.float().square().sum(), (q, k, v))])
    assert isinstance(plan, kernel)
    for expected, found in zip(*results, strict=True):
        assert (found.float().cpu() - expected).abs().max() <= tolerance * expected.abs().max()
