"""Attention over a packed sequence: every sample sees its own keys and nobody else's; tokens are never padded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import groupby, product
from operator import itemgetter
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vitascope.kernels.device import has_bfloat16_products


def packed_attention(
    q: Float[Tensor, "n heads d"],
    k: Float[Tensor, "m heads d"],
    v: Float[Tensor, "m heads d"],
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
    k_counts: Int[Tensor, " m"] | None = None,
) -> Float[Tensor, "n heads d"]:
    """Softmax attention of each sample's queries over the same sample's keys (block-diagonal), scaled by 1/sqrt(d).

    q_lengths and k_lengths hold, for each sample, its number of queries and of keys. A key of a count c in k_counts
    stands for c equal ones (with equal values): its score grows by log(c), which is the same to within rounding.

    Raises:
        ValueError: the lengths don't add up to the tensors.
    """
    if len(q_lengths) != len(k_lengths) or sum(q_lengths) != len(q) or sum(k_lengths) != len(k):
        raise ValueError(
            f"{len(q_lengths)} query lengths (sum {sum(q_lengths)}) and {len(k_lengths)} key lengths "
            f"(sum {sum(k_lengths)}) don't fit {len(q)} queries and {len(k)} keys"
        )
    varlen = _varlen_kernel() if q.is_cuda and q.dtype in (torch.float16, torch.bfloat16) else None
    if varlen is None:
        return _attention_by_runs(q, k, v, q_lengths, k_lengths, k_counts)
    if k_counts is not None:  # this kernel adds nothing to scores
        k, v = (x.repeat_interleave(k_counts, dim=0) for x in (k, v))
        k_lengths = [int(counts.sum()) for counts in k_counts.split(list(k_lengths))]
    q_offsets, k_offsets = _offsets(tuple(q_lengths), q.device), _offsets(tuple(k_lengths), q.device)
    return varlen(q, k, v, q_offsets, k_offsets, max(q_lengths), max(k_lengths))


def _attention_by_runs(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
    k_counts: Int[Tensor, " m"] | None,
) -> Float[Tensor, "n heads d"]:
    """Neighbours with equally many queries are one batch of one SDPA call; unequal keys are padded and masked."""
    runs: list[tuple[int, list[int]]] = []  # queries of each sample, and every sample's keys
    for q_length, pairs in groupby(zip(q_lengths, k_lengths, strict=True), key=itemgetter(0)):
        runs.append((q_length, [k_length for _, k_length in pairs]))
    num_keys = [sum(lengths) for _, lengths in runs]
    # split, not sliced: the gradient of each slice would be a tensor as long as the pack, most of it zeros
    all_queries = q.split([q_length * len(lengths) for q_length, lengths in runs])
    all_keys, all_values = k.split(num_keys), v.split(num_keys)
    bonuses = [None] * len(runs) if k_counts is None else k_counts.to(q.dtype).log().split(num_keys)
    outputs = []
    for (_, lengths), queries, keys, values, bonus in zip(
        runs, all_queries, all_keys, all_values, bonuses, strict=True
    ):
        # always 4-D: with 3-D inputs SDPA falls back to the slow path that writes out the whole score matrix
        queries = rearrange(queries, "(b n) heads d -> b heads n d", b=len(lengths))
        out = _attend(queries, _batch(keys, lengths), _batch(values, lengths), _bias(lengths, bonus, q))
        outputs.append(rearrange(out, "b heads n d -> (b n) heads d"))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


FEW_KEYS = 64  # their scores may be written out: they take less memory than what else a layer keeps
MAX_SCORES = 1 << 24  # queries x keys x heads of a batch that may be written out, 32 MB; every layer keeps its own
SCORES_AT_ONCE = 1 << 19  # of one head, 1 MB of them: so many stay in a core's caches
MIN_QUERIES = 64  # at once, however many keys there are: fewer rows are slow to multiply


def _attend(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads l d"],
    v: Float[Tensor, "b heads l d"],
    bias: Float[Tensor, "b 1 1 l"] | None,
) -> Float[Tensor, "b heads n d"]:
    """Softmax attention; on a CPU by plain products where that is faster than SDPA: of few keys, and in bfloat16.

    In bfloat16 SDPA's backward pass takes two to ten times as long there, its forward pass 1.5 times (of 832 keys) to
    1.7 (3,200); in float32 both take 1.1 to 2 times as long of 25 or 64 keys.
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
        queries, places = (x[sample, head].split(num_queries) for x in (q, out))
        for some, place in zip(queries, places, strict=True):
            place.copy_(_explicit_attention(some, k[sample, head], v[sample, head], of_sample))
    return out


def _explicit_attention(
    q: Float[Tensor, "*b n d"], k: Float[Tensor, "*b l d"], v: Float[Tensor, "*b l d"], bias: Tensor | None
) -> Float[Tensor, "*b n d"]:
    """The formula as it is written: softmax(q k^T / sqrt(d) + bias) v, with the scores in memory."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if bias is not None:
        scores += bias
    return scores.softmax(-1) @ v


def _batch(x: Float[Tensor, "m heads d"], lengths: Sequence[int]) -> Float[Tensor, "b heads l d"]:
    """Samples of these lengths as a batch, the shorter ones filled up; nothing is copied where there are none."""
    if len(set(lengths)) == 1:
        return rearrange(x, "(b l) heads d -> b heads l d", b=len(lengths))
    return rearrange(pad_sequence(list(x.split(list(lengths))), batch_first=True), "b l heads d -> b heads l d")


def _bias(lengths: Sequence[int], bonus: Float[Tensor, " m"] | None, like: Tensor) -> Float[Tensor, "b 1 1 l"] | None:
    """What is added to the scores of a batch: each key's bonus, minus infinity where nothing is; None adds nothing."""
    if bonus is None:
        if len(set(lengths)) == 1:
            return None
        bonus = like.new_zeros(sum(lengths))
    padded = pad_sequence(list(bonus.split(list(lengths))), batch_first=True, padding_value=float("-inf"))
    return padded[:, None, None]


@cache
def _varlen_kernel() -> Callable[..., Any] | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # torch before 2.10
        return None
    return varlen_attn


@lru_cache(maxsize=64)
def _offsets(lengths: tuple[int, ...], device: torch.device) -> Int[Tensor, " samples_plus_1"]:
    """Where each sample starts, and the end; kept, because every block of a forward pass asks for the same."""
    with torch.inference_mode(False):  # what is kept from sampling must also serve a backward pass
        return F.pad(torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32), (1, 0)).to(device)
