"""Accuracy of attributes, with confidence intervals over clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitascope.evaluate.measures.confidence import confidence
from vitascope.judge.scoring import OVERALL, REPORTED, Verdict

Verdicts = Sequence[Sequence[Verdict]]  # per clip


@dataclass(frozen=True)
class Rate:
    """An accuracy, its 95 % interval, and its number of verdicts."""

    accuracy: float
    low: float
    high: float
    num: int


def rates(found: Verdicts, seed: int = 0) -> dict[str, Rate]:
    """The rate of each attribute that occurs; the overall rate comes last."""
    attributes = [name for name in REPORTED if any(verdict.attribute == name for clip in found for verdict in clip)]
    parts = {name: [[v for v in clip if v.attribute == name] for clip in found] for name in attributes}
    return {name: rate(part, seed) for name, part in parts.items()} | {OVERALL: rate(found, seed)}


def rate(found: Verdicts, seed: int = 0) -> Rate:
    """The share of correct verdicts. The interval is over clips, because a clip's verdicts are correlated."""
    right = np.array([sum(verdict.right for verdict in clip) for clip in found], dtype=np.float64)
    total = np.array([len(clip) for clip in found], dtype=np.float64)
    if total.sum() == 0:
        return Rate(0.0, 0.0, 1.0, 0)
    low, high = confidence(right, total, seed)
    return Rate(float(right.sum() / total.sum()), low, high, int(total.sum()))
