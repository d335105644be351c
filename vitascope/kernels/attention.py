"""Attention over a packed sequence: each sample attends to its own keys, without padding.

`plan_attention` chooses a kernel for a device and a number format. The plan contains everything that depends only on
the lengths (offsets, masks, repeat counts). The blocks of a network share it, and none waits for the device.

To add a kernel, write a subclass of `AttentionPlan` and enter it into `KERNELS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from vitascope.kernels import segments
from vitascope.kernels.device import CPU

FLEX_BLOCK = 128  # queries and keys of a tile in FlexAttention's block masks, its default


def packed_attention(
    q: Float[Tensor, "n heads d"],
    k: Float[Tensor, "m heads d"],
    v: Float[Tensor, "m heads d"],
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
    k_counts: Int[Tensor, " m"] | None = None,
) -> Float[Tensor, "n heads d"]:
    """Softmax attention of each sample's queries over its own keys, scaled by 1/sqrt(d), by a plan used once.

    The arguments after v are those of `plan_attention`.

    Raises:
        ValueError: the lengths don't add up to the tensors.
    """
    plan = plan_attention(q_lengths, k_lengths, k_counts, device=q.device, dtype=q.dtype, head_dim=q.shape[-1])
    return plan(q, plan.expand(k), plan.expand(v))


def plan_attention(
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
    k_counts: Int[Tensor, " m"] | None = None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    head_dim: int,
) -> AttentionPlan:
    """A plan of block-diagonal attention for samples of these lengths, by the first of `KERNELS` that applies.

    q_lengths and k_lengths are the numbers of queries and keys of each sample. A count c in k_counts represents c equal
    keys with equal values: log(c) is added to the key's scores, or the key is repeated.

    Raises:
        ValueError: the numbers of samples differ, or the counts don't fit the keys.
    """
    layout = Layout(tuple(q_lengths), tuple(k_lengths), None if k_counts is None else k_counts.to(CPU))
    if len(q_lengths) != len(k_lengths) or (k_counts is not None and len(k_counts) != sum(k_lengths)):
        raise ValueError(f"{layout} don't fit each other: give each sample its queries and keys, each key its count")
    if len(set(q_lengths)) == len(set(k_lengths)) == 1 and k_counts is None:
        return SegmentPlan(layout, device, dtype)  # one batch: PyTorch's own kernel is best on every device
    kernel = next(kernel for kernel in KERNELS if kernel.applies(device, dtype, head_dim))
    return kernel(layout, device, dtype)


class Layout(NamedTuple):
    """Numbers of queries and keys of each sample of a packed sequence, and of equal keys that each key represents."""

    q_lengths: tuple[int, ...]
    k_lengths: tuple[int, ...]
    k_counts: Int[Tensor, " m"] | None  # on the CPU; None: one each


class AttentionPlan(ABC):
    """Attention over one layout by one kernel, prepared for one device and number format."""

    def __init__(self, layout: Layout, device: torch.device, dtype: torch.dtype):
        self.num_queries, self.num_keys = sum(layout.q_lengths), sum(layout.k_lengths)

    @staticmethod
    @abstractmethod
    def applies(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
        """True if the kernel runs here, on such tensors."""

    def expand(self, x: Float[Tensor, "m heads d"]) -> Float[Tensor, "m2 heads d"]:
        """Keys or values in the form that the plan is called with: repeated where the kernel can't weight them."""
        return x

    def __call__(
        self, q: Float[Tensor, "n heads d"], k: Float[Tensor, "m heads d"], v: Float[Tensor, "m heads d"]
    ) -> Float[Tensor, "n heads d"]:
        """The attended values; k and v come from `expand`.

        Raises:
            ValueError: the lengths don't add up to the tensors.
        """
        if not torch.compiler.is_compiling() and (len(q), len(k)) != (self.num_queries, self.num_keys):
            raise ValueError(
                f"lengths of {self.num_queries} queries and {self.num_keys} keys don't fit "
                f"{len(q)} queries and {len(k)} keys; plan again for other lengths"
            )
        return self._attend(q, k, v)

    @abstractmethod
    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


class VarlenPlan(AttentionPlan):
    """PyTorch's flash attention for sequences of different lengths. It can't weight keys, so they are repeated."""

    def __init__(self, layout: Layout, device: torch.device, dtype: torch.dtype):
        super().__init__(layout, device, dtype)
        k_lengths, self._repeats = layout.k_lengths, None
        if layout.k_counts is not None:
            k_lengths = tuple(int(counts.sum()) for counts in layout.k_counts.split(list(k_lengths)))
            self._repeats = torch.arange(self.num_keys).repeat_interleave(layout.k_counts).to(device)
            self.num_keys = sum(k_lengths)
        self._q_offsets, self._k_offsets = (_offsets(lengths).to(device) for lengths in (layout.q_lengths, k_lengths))
        self._longest = max(layout.q_lengths), max(k_lengths)

    @staticmethod
    def applies(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
        """Half precision on CUDA, from Ampere on.

        Source: https://docs.pytorch.org/docs/stable/nn.attention.varlen.html
        """
        return (
            device.type == "cuda"
            and dtype in (torch.float16, torch.bfloat16)
            and head_dim % 8 == 0
            and head_dim <= 256
            and _capability(device) >= (8, 0)
            and _varlen_attention() is not None
        )

    def expand(self, x: Float[Tensor, "m heads d"]) -> Float[Tensor, "m2 heads d"]:
        """Counted keys or values, repeated."""
        return x if self._repeats is None else x.index_select(0, self._repeats)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        return varlen_attn(q, k, v, self._q_offsets, self._k_offsets, *self._longest)  # pyright: ignore[reportReturnType]


class FlexPlan(AttentionPlan):
    """FlexAttention with a block-diagonal mask; counts are added to scores. Compiles itself outside torch.compile."""

    def __init__(self, layout: Layout, device: torch.device, dtype: torch.dtype):
        super().__init__(layout, device, dtype)
        q_sample, k_sample = (_sample_ids(lengths) for lengths in (layout.q_lengths, layout.k_lengths))
        self._mask = _block_mask(q_sample, k_sample, device)
        self._score = None if layout.k_counts is None else _add_bonus(layout.k_counts.float().log().to(device))

    @staticmethod
    def applies(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
        """True on CUDA with Triton, for heads of 16 to 256 channels. FlexAttention refuses smaller heads."""
        return device.type == "cuda" and 16 <= head_dim <= 256 and _capability(device) >= (7, 0) and _has_triton()

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from torch.nn.attention.flex_attention import flex_attention

        attend = flex_attention if torch.compiler.is_compiling() else _compiled_flex_attention()
        q, k, v = (rearrange(x, "n heads d -> 1 heads n d") for x in (q, k, v))
        return rearrange(attend(q, k, v, self._score, self._mask), "1 heads n d -> n heads d")


class SegmentPlan(AttentionPlan):
    """Scaled dot-product attention, one call for neighbouring samples of equally many queries. Runs everywhere.

    Unequal numbers of keys are padded and masked within a call.
    """

    def __init__(self, layout: Layout, device: torch.device, dtype: torch.dtype):
        super().__init__(layout, device, dtype)
        self._runs = segments.group_runs(layout.q_lengths, layout.k_lengths)
        self._bonus = None if layout.k_counts is None else layout.k_counts.to(dtype).log().to(device)
        self._biases = segments.run_biases(self._runs, self._bonus, device, dtype)
        self._lengths = torch.tensor([layout.q_lengths, layout.k_lengths])

    @staticmethod
    def applies(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
        """Every device."""
        return True

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # an operator of its own: the graph must not depend on the lengths
            return segments.segment_attention(q, k, v, self._lengths, self._bonus)[0]
        return segments.attend_runs(q, k, v, self._runs, self._biases)


KERNELS: tuple[type[AttentionPlan], ...] = (
    VarlenPlan,
    FlexPlan,
    SegmentPlan,
)  # best first; the last one always applies


def _offsets(lengths: Sequence[int]) -> Int[Tensor, " samples_plus_1"]:
    """The first row of each sample, and the end."""
    return F.pad(torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32), (1, 0))


def _sample_ids(lengths: Sequence[int]) -> Int[Tensor, " n"]:
    """The sample of each row."""
    return torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))


def _block_mask(q_sample: Int[Tensor, " n"], k_sample: Int[Tensor, " m"], device: torch.device) -> Any:
    """FlexAttention's mask of queries and keys of the same sample, on a device.

    Built from the first and last sample of each tile: the mask of all queries and keys would take n x m bytes.
    """
    from torch.nn.attention.flex_attention import BlockMask

    (q_first, q_last), (k_first, k_last) = _tile_ends(q_sample), _tile_ends(k_sample)
    touching = (q_first[:, None] <= k_last) & (k_first <= q_last[:, None])
    equal = (q_first == q_last)[:, None] & (k_first == k_last) & (q_first[:, None] == k_first)
    whole = equal.clone()  # tiles that reach past the end are never whole
    whole[len(q_sample) // FLEX_BLOCK :] = False
    whole[:, len(k_sample) // FLEX_BLOCK :] = False
    tables = []
    for tiles in (touching & ~whole, whole):
        order = tiles.int().argsort(dim=1, descending=True, stable=True)
        tables += [tiles.sum(1).int()[None, None].to(device), order.int()[None, None].to(device)]
    q_sample, k_sample = q_sample.to(device), k_sample.to(device)

    def is_same_sample(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return q_sample[i] == k_sample[j]

    lengths = (len(q_sample), len(k_sample))
    return BlockMask.from_kv_blocks(*tables, BLOCK_SIZE=FLEX_BLOCK, mask_mod=is_same_sample, seq_lengths=lengths)


def _tile_ends(sample: Int[Tensor, " n"]) -> tuple[Int[Tensor, " tiles"], Int[Tensor, " tiles"]]:
    """The samples of the first and of the last row of each tile."""
    first = torch.arange(0, len(sample), FLEX_BLOCK)
    return sample[first], sample[(first + FLEX_BLOCK - 1).clamp(max=len(sample) - 1)]


def _add_bonus(bonus: Float[Tensor, " m"]) -> Callable[..., Tensor]:
    def score(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return score + bonus[j]

    return score


@cache
def _varlen_attention() -> Callable[..., Any] | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # torch before 2.10
        return None
    return varlen_attn


@cache
def _compiled_flex_attention() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def _has_triton() -> bool:
    return find_spec("triton") is not None
