"""Scores of a reading: its attributes compared with the true ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import NamedTuple

from vitascope.judge.sentence import LOOKS, NONE, Sentence, Slot

REPORTED = (  # order of tables; the attribute `partner` is reported as `relation`
    "kind", "colour", "material", "accessory", "expression", "count", "groups", "motion", "relation",
    "setting", "camera", "time", "weather", "style", "shots",
)  # fmt: skip
OVERALL = "overall"
UNSEEN = ("colour", "camera", "motion")  # `none` means that the clip can't show it


class Verdict(NamedTuple):
    """Correctness of one attribute. `confidence` and `read` are None if the judge read no word for it."""

    attribute: str
    right: bool
    confidence: float | None = None
    wanted: str = ""
    read: str | None = None


def verdicts(truth: Sentence, seen: Sentence, confidence: Mapping[Slot, float] | None = None) -> list[Verdict]:
    """One verdict for each attribute that the clip shows.

    Groups are matched so that most attributes agree, since their order is arbitrary. Invisible attributes have no
    verdict. A relation has none if it is absent both in the truth and in the reading.
    """
    match = _match(truth, seen)
    found = []
    for slot, value in truth.items():
        twin = slot if slot.group is None else slot._replace(group=match.get(slot.group))
        read = seen.get(twin) if slot.group is None or slot.group in match else None
        if slot.attribute in UNSEEN and value == NONE:
            continue
        wanted = value
        if slot.attribute == "partner":
            if value == NONE and read in (NONE, None):
                continue
            value = value if value == NONE else str(match.get(int(value) - 1, -1) + 1)
        name = "relation" if slot.attribute == "partner" else slot.attribute
        sure = None if confidence is None else confidence.get(twin)
        found.append(Verdict(name, read == value, sure, wanted, read))
    return found


def accuracy(found: Iterable[Verdict]) -> dict[str, float]:
    """Accuracy of each attribute that occurs, in the order of `REPORTED`, and of all together last."""
    right: dict[str, list[bool]] = defaultdict(list)
    for verdict in found:
        right[verdict.attribute].append(verdict.right)
        right[OVERALL].append(verdict.right)
    return {name: sum(right[name]) / len(right[name]) for name in (*REPORTED, OVERALL) if name in right}


def _match(truth: Sentence, seen: Sentence) -> dict[int, int]:
    """Group of the reading for each true group; unmatched groups are left out."""
    true_groups, seen_groups = (_by_group(sentence) for sentence in (truth, seen))

    def agreement(pairs: tuple[tuple[int, int], ...]) -> int:
        return sum(
            seen_groups[theirs].get(key) == value for ours, theirs in pairs for key, value in true_groups[ours].items()
        )

    # padding (-1) makes both sides equally long, so that every pairing is a permutation
    padded = [*seen_groups, *[-1] * max(0, len(true_groups) - len(seen_groups))]
    ways = (
        tuple((ours, theirs) for ours, theirs in zip(true_groups, way, strict=True) if theirs >= 0)
        for way in permutations(padded, len(true_groups))
    )
    return dict(max(ways, key=agreement))


def _by_group(sentence: Sentence) -> dict[int, dict[tuple[str, int | None], str]]:
    """Looks and motions of each group, which identify it."""
    groups: dict[int, dict[tuple[str, int | None], str]] = defaultdict(dict)
    for slot, value in sentence.items():
        if slot.group is not None and slot.attribute in (*LOOKS, "motion"):
            groups[slot.group][slot.attribute, slot.shot] = value
    return groups
