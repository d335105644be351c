"""Scaled dot-product attention of a packed sequence, run by run: one call for samples of equally many queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, product
from operator import itemgetter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vitascope.kernels.device import has_bfloat16_products

FEW_KEYS = 64  # with at most this many keys, scores may be stored: a layer's other activations are larger
MAX_SCORES = 1 << 24  # queries x keys x heads stored per batch, 32 MB; every layer stores its own
SCORES_AT_ONCE = 1 << 19  # scores of one head computed at a time, 1 MB: they fit a core's caches
MIN_QUERIES = 64  # computed at a time for any number of keys, because products of fewer rows are slow


class Run(NamedTuple):
    """Neighbouring samples of equally many queries."""

    num_queries: int  # of each sample
    k_lengths: tuple[int, ...]  # of every sample


def group_runs(q_lengths: Sequence[int], k_lengths: Sequence[int]) -> list[Run]:
    """Neighbours with equally many queries, as runs."""
    pairs = groupby(zip(q_lengths, k_lengths, strict=True), key=itemgetter(0))
    return [Run(num_queries, tuple(k_length for _, k_length in group)) for num_queries, group in pairs]


def run_biases(
    runs: Sequence[Run], bonus: Float[Tensor, " m"] | None, device: torch.device, dtype: torch.dtype
) -> list[Float[Tensor, "b 1 1 l"] | None]:
    """Addends to the scores of each run: each key's bonus, and minus infinity for padding. None adds nothing."""
    bonuses = [None] * len(runs) if bonus is None else bonus.split([sum(run.k_lengths) for run in runs])
    biases = []
    for run, of_run in zip(runs, bonuses, strict=True):
        if of_run is None and len(set(run.k_lengths)) == 1:
            biases.append(None)
            continue
        of_run = torch.zeros(sum(run.k_lengths), device=device, dtype=dtype) if of_run is None else of_run
        of_samples = list(of_run.split(list(run.k_lengths)))
        biases.append(pad_sequence(of_samples, batch_first=True, padding_value=float("-inf"))[:, None, None])
    return biases


def attend_runs(
    q: Tensor, k: Tensor, v: Tensor, runs: Sequence[Run], biases: Sequence[Tensor | None]
) -> Float[Tensor, "n heads d"]:
    """The attended values; biases are those of `run_biases`."""
    num_keys = [sum(run.k_lengths) for run in runs]
    # split, not sliced: the gradient of each slice would be a tensor as long as the pack, most of it zeros
    all_queries = q.split([run.num_queries * len(run.k_lengths) for run in runs])
    outputs = []
    for run, queries, keys, values, bias in zip(
        runs, all_queries, k.split(num_keys), v.split(num_keys), biases, strict=True
    ):
        # always 4-D: with 3-D inputs SDPA falls back to the slow path that writes out the whole score matrix
        queries = rearrange(queries, "(b n) heads d -> b heads n d", b=len(run.k_lengths))
        bias = None if bias is None else bias.to(q.dtype)
        out = _attend_batch(queries, _batch(keys, run.k_lengths), _batch(values, run.k_lengths), bias)
        outputs.append(rearrange(out, "b heads n d -> (b n) heads d"))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _attend_batch(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads l d"],
    v: Float[Tensor, "b heads l d"],
    bias: Float[Tensor, "b 1 1 l"] | None,
) -> Float[Tensor, "b heads n d"]:
    """Softmax attention; on a CPU by plain products where SDPA is slower: for few keys, and in bfloat16.

    In bfloat16 SDPA's backward pass takes 2 to 10 times as long there, its forward pass 1.5 (832 keys) to 1.7 times
    (3,200 keys). In float32 both take 1.1 to 2 times as long for 25 or 64 keys.
    """
    if q.device.type == "cpu" and q.dtype == torch.float32 and k.shape[2] <= FEW_KEYS:
        return _explicit_attention(q, k, v, bias)
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, bias)
    if torch.is_grad_enabled():
        num_scores = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
        attend = _explicit_attention if num_scores <= MAX_SCORES else F.scaled_dot_product_attention
        return attend(q, k, v, bias)
    if not has_bfloat16_products():
        return F.scaled_dot_product_attention(q, k, v, bias)
    num_queries = max(MIN_QUERIES, SCORES_AT_ONCE // k.shape[2])
    out = torch.empty_like(q)
    for sample, head in product(range(q.shape[0]), range(q.shape[1])):
        of_sample = None if bias is None else bias[sample, 0]
        pieces = zip(*(x[sample, head].split(num_queries) for x in (q, out)), strict=True)
        for queries, target in pieces:
            target.copy_(_explicit_attention(queries, k[sample, head], v[sample, head], of_sample))
    return out


def _explicit_attention(
    q: Float[Tensor, "*b n d"], k: Float[Tensor, "*b l d"], v: Float[Tensor, "*b l d"], bias: Tensor | None
) -> Float[Tensor, "*b n d"]:
    """softmax(q k^T / sqrt(d) + bias) v, with the scores in memory."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if bias is not None:
        scores += bias
    return scores.softmax(-1) @ v


def _batch(x: Float[Tensor, "m heads d"], lengths: Sequence[int]) -> Float[Tensor, "b heads l d"]:
    """Samples of these lengths as a batch, shorter ones padded with zeros; equal lengths are viewed, not copied."""
    if len(set(lengths)) == 1:
        return rearrange(x, "(b l) heads d -> b heads l d", b=len(lengths))
    return rearrange(pad_sequence(list(x.split(list(lengths))), batch_first=True), "b l heads d -> b heads l d")


@torch.library.custom_op(
    "vitascope::segment_attention",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor lengths, Tensor? bonus) -> (Tensor, Tensor)",
)
def segment_attention(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, bonus: Tensor | None
) -> tuple[Float[Tensor, "n heads d"], Float[Tensor, "n heads"]]:
    """`SegmentPlan` as one operator of a compiled graph, which serves every layout. `lengths` is a CPU tensor.

    The second result is for the backward pass: log-sum-exp of each query's scores where a flash kernel computed it.
    """
    runs = group_runs(*lengths.tolist())
    sums = torch.zeros(q.shape[:2], dtype=torch.float32, device=q.device)
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    biases = run_biases(runs, bonus, q.device, q.dtype)
    for (run, queries, keys), bias in zip(_run_slices(runs), biases, strict=True):
        if not _suits_flash(q, run, bias):
            out[queries] = attend_runs(q[queries], k[keys], v[keys], [run], [bias])
            continue
        batch = len(run.k_lengths)
        of_run = (_as_batch(x[rows], batch) for x, rows in ((q, queries), (k, keys), (v, keys)))
        found, of_scores = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*of_run)
        _as_batch(out[queries], batch).copy_(found)
        _as_batch(sums[queries], batch).copy_(of_scores)
    return out, sums


@segment_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, bonus: Tensor | None) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(q.shape[:2], dtype=torch.float32)


@torch.library.custom_op(
    "vitascope::segment_attention_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor lengths, Tensor? bonus, Tensor out, Tensor sums)"
    " -> (Tensor, Tensor, Tensor)",
)
def _segment_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, bonus: Tensor | None, out: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    gradients = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v)]
    for run, queries, keys in _run_slices(group_runs(*lengths.tolist())):
        places = ((grad, queries), (q, queries), (k, keys), (v, keys))
        of_grad, of_q, of_k, of_v = (x[rows] for x, rows in places)
        of_bonus = None if bonus is None else bonus[keys]
        targets = [target[rows] for target, (_, rows) in zip(gradients, places[1:], strict=True)]
        if not _suits_flash(q, run, of_bonus):
            for target, found in zip(
                targets, _explicit_backward(of_grad, of_q, of_k, of_v, run, of_bonus), strict=True
            ):
                target.copy_(found)
            continue
        batch = len(run.k_lengths)
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *(_as_batch(x, batch) for x in (of_grad, of_q, of_k, of_v, out[queries], sums[queries])), 0.0, False
        )
        for target, of_target in zip(targets, found, strict=True):
            _as_batch(target, batch).copy_(of_target)
    return gradients[0], gradients[1], gradients[2]


def _explicit_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, run: Run, bonus: Tensor | None
) -> Iterator[Float[Tensor, "_m heads d"]]:
    """Gradients of q, k and v of a run, sample by sample, with the scores computed again in float32."""
    gradients: list[tuple[Tensor, ...]] = []
    q_lengths, k_lengths = [run.num_queries] * len(run.k_lengths), list(run.k_lengths)
    scale = q.shape[-1] ** -0.5
    bonuses = [None] * len(k_lengths) if bonus is None else bonus.float().split(k_lengths)
    of_samples = (x.float().transpose(0, 1).split(sizes, dim=1) for x, sizes in
                  ((grad, q_lengths), (q, q_lengths), (k, k_lengths), (v, k_lengths)))  # fmt: skip
    for from_above, queries, keys, values, of_sample in zip(*of_samples, bonuses, strict=True):
        scores = (queries * scale) @ keys.mT
        shares = (scores if of_sample is None else scores + of_sample).softmax(-1)
        of_shares = from_above @ values.mT
        of_scores = shares * (of_shares - (of_shares * shares).sum(-1, keepdim=True)) * scale
        gradients.append((of_scores @ keys, of_scores.mT @ queries, shares.mT @ from_above))
    return (torch.cat(parts, dim=1).transpose(0, 1) for parts in zip(*gradients, strict=True))


def _suits_flash(q: Tensor, run: Run, bias: Tensor | None) -> bool:
    """True where PyTorch's flash kernel of a CPU is best both ways: float32, without padding, for many keys."""
    is_plain = q.device.type == "cpu" and q.dtype == torch.float32 and bias is None
    return is_plain and len(set(run.k_lengths)) == 1 and run.k_lengths[0] > FEW_KEYS


def _run_slices(runs: Sequence[Run]) -> Iterator[tuple[Run, slice, slice]]:
    """Each run with its rows of the queries and of the keys."""
    first_query = first_key = 0
    for run in runs:
        end_query, end_key = first_query + run.num_queries * len(run.k_lengths), first_key + sum(run.k_lengths)
        yield run, slice(first_query, end_query), slice(first_key, end_key)
        first_query, first_key = end_query, end_key


def _as_batch(x: Float[Tensor, "m heads *d"], batch: int) -> Float[Tensor, "b heads l *d"]:
    """A view of samples of equal lengths."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2)


@_segment_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, bonus: Tensor | None, out: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return (*_segment_backward(grad, *ctx.saved_tensors), None, None)


segment_attention.register_autograd(_backward, setup_context=_save_for_backward)
