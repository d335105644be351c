"""Attention over a packed sequence: every sample sees its own keys and nobody else's, with no padding and no mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor


def packed_attention(
    q: Float[Tensor, "n heads d"],
    k: Float[Tensor, "m heads d"],
    v: Float[Tensor, "m heads d"],
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
) -> Float[Tensor, "n heads d"]:
    """Softmax attention of each sample's queries over the same sample's keys (block-diagonal), scaled by 1/sqrt(d).

    q_lengths and k_lengths hold, for each sample, its number of queries and of keys.

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
        return _attention_by_runs(q, k, v, q_lengths, k_lengths)
    q_offsets, k_offsets = _offsets(tuple(q_lengths), q.device), _offsets(tuple(k_lengths), q.device)
    return varlen(q, k, v, q_offsets, k_offsets, max(q_lengths), max(k_lengths))


def _attention_by_runs(
    q: Tensor, k: Tensor, v: Tensor, q_lengths: Sequence[int], k_lengths: Sequence[int]
) -> Float[Tensor, "n heads d"]:
    """Neighbouring samples of equal lengths are one batch of one SDPA call: the 4-D views below copy nothing."""
    outputs = []
    q_start = k_start = 0
    for (q_length, k_length), run in groupby(zip(q_lengths, k_lengths, strict=True)):
        count = len(list(run))
        q_stop, k_stop = q_start + count * q_length, k_start + count * k_length
        # always 4-D: with 3-D inputs SDPA falls back to the slow path that writes out the whole score matrix
        out = F.scaled_dot_product_attention(
            rearrange(q[q_start:q_stop], "(b n) heads d -> b heads n d", b=count),
            rearrange(k[k_start:k_stop], "(b n) heads d -> b heads n d", b=count),
            rearrange(v[k_start:k_stop], "(b n) heads d -> b heads n d", b=count),
        )
        outputs.append(rearrange(out, "b heads n d -> (b n) heads d"))
        q_start, k_start = q_stop, k_stop
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


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
