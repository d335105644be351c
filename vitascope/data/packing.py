"""Packing: groups samples into sequences of at most `budget` tokens, without padding, cutting or resizing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch

from vitascope.errors import SizeError

FULL = 0.99  # a bin this full is closed at the end of its window


def plan_packs(lengths: Sequence[int], budget: int, generator: torch.Generator, window: int = 1024) -> list[list[int]]:
    """Bins of sample indices: each index once, at most `budget` tokens a bin, in random order.

    Samples are shuffled and split into windows. Within a window, longer samples go first, each into the fullest bin
    with room (best-fit decreasing). Bins that are not full stay open for the next window.

    Raises:
        SizeError: a sample is longer than the budget.
    """
    if lengths and max(lengths) > budget:
        raise SizeError(f"a sample of {max(lengths)} tokens doesn't fit a pack of {budget}; raise pack_tokens")
    order = torch.randperm(len(lengths), generator=generator).tolist()
    open_bins: list[_Bin] = []
    full: list[list[int]] = []
    for start in range(0, len(order), window):
        for index in sorted(order[start : start + window], key=lambda i: lengths[i], reverse=True):
            fitting = [b for b in open_bins if b.room >= lengths[index]]
            target = min(fitting, key=lambda b: b.room, default=None)
            if target is None:
                target = _Bin(budget, [])
                open_bins.append(target)
            target.members.append(index)
            target.room -= lengths[index]
        full += [b.members for b in open_bins if b.room <= (1 - FULL) * budget]
        open_bins = [b for b in open_bins if b.room > (1 - FULL) * budget]
    packs = full + [b.members for b in open_bins]
    return [packs[i] for i in torch.randperm(len(packs), generator=generator).tolist()]


@dataclass
class _Bin:
    room: int
    members: list[int]


class PackLoader:
    """Endless packs, epoch after epoch; `state` and `restore` save and set the position."""

    def __init__(self, lengths: Sequence[int], budget: int, seed: int):
        self.lengths, self.budget, self.seed = list(lengths), budget, seed
        self._start_epoch(0)

    def _start_epoch(self, epoch: int) -> None:
        self.epoch, self.position = epoch, 0
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        self.packs = plan_packs(self.lengths, self.budget, generator)

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            if self.position >= len(self.packs):
                self._start_epoch(self.epoch + 1)
            self.position += 1
            yield self.packs[self.position - 1]

    @property
    def state(self) -> dict[str, int]:
        """Epoch and position in it."""
        return {"epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, int]) -> None:
        """Set the position to `state`. An epoch's plan depends on seed and epoch alone."""
        self._start_epoch(state["epoch"])
        self.position = state["position"]


@dataclass(frozen=True)
class Utilisation:
    """Useful share of the processed tokens, for three ways of batching."""

    packing: float
    padding: float
    bucketing: float

    def __str__(self) -> str:
        return (
            f"useful tokens: packing {self.packing:.1%}, equal-shape buckets {self.bucketing:.1%}, "
            f"padding to the longest {self.padding:.1%}"
        )


def utilisation(lengths: Sequence[int], shapes: Sequence[Hashable], budget: int, seed: int = 0) -> Utilisation:
    """Useful share of the token slots of one epoch.

    Packing: filled share of the packs' budgets, with the last, incomplete pack. Padding: every sample padded to the
    longest of all. Bucketing: batches of one shape each, filled up to the budget; a bucket's last batch
    may be incomplete.
    """
    useful = sum(lengths)
    packs = len(plan_packs(lengths, budget, torch.Generator().manual_seed(seed)))
    sizes = dict(zip(shapes, lengths, strict=True))
    batches = sum(-(-count // (budget // sizes[shape])) for shape, count in Counter(shapes).items())
    return Utilisation(
        packing=useful / (packs * budget),
        padding=useful / (max(lengths) * len(lengths)),
        bucketing=useful / (batches * budget),
    )
