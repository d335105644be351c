"""How honest a confidence is: of what is read with 80 %, four fifths should be right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from vitascope.video import Video
from vitascope.video.clip import IMAGE_FPS

NUM_BINS = 10
BLUE = np.array([40, 90, 170])
TEMPERATURES = torch.logspace(-1.5, 1.5, 301, base=10.0)


class Bin(NamedTuple):
    """Those whose confidence lies in one tenth: how many, their mean confidence, and the share that is right."""

    count: int
    confidence: float
    accuracy: float


def reliability(confidence: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """The tenths from 0 to 1; an empty one is `Bin(0, 0.0, 0.0)`."""
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    tenth = np.minimum((sure * NUM_BINS).astype(int), NUM_BINS - 1)
    bins = []
    for k in range(NUM_BINS):
        inside = tenth == k
        count = int(inside.sum())
        bins.append(Bin(count, float(sure[inside].mean()), float(hit[inside].mean())) if count else Bin(0, 0.0, 0.0))
    return bins


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Mean distance of confidence and accuracy, each tenth weighted by how many it holds.

    Source: Guo et al. 2017 (arXiv:1706.04599), equation 3.
    """
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.accuracy - each.confidence) for each in bins) / max(1, total)


def fit_temperature(logits: Float[Tensor, "n v"], targets: Int64[Tensor, " n"]) -> float:
    """By what to divide logits so that the true words are likeliest; -inf marks words that can't stand there.

    Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2.
    """
    losses = torch.stack([F.cross_entropy(logits / temperature, targets) for temperature in TEMPERATURES])
    return float(TEMPERATURES[losses.argmin()])


def reliability_picture(bins: Sequence[Bin], side: int = 320) -> Video:
    """Accuracy over confidence as an image, both from 0 to 1: a bar for each tenth, the diagonal in black.

    A bar's lightness shows its count: the fuller, the darker. Bars on the diagonal are honest.
    """
    picture = np.full((side, side, 3), 255, np.uint8)
    most = max((each.count for each in bins), default=0)
    edges = np.linspace(0, side, len(bins) + 1).astype(int)
    for each, left, right in zip(bins, edges, edges[1:], strict=False):
        if each.count:
            share = 0.25 + 0.75 * np.log1p(each.count) / np.log1p(most)
            top = round(side * (1 - each.accuracy))
            picture[top:, left + 1 : right - 1] = 255 + share * (BLUE - 255)
    picture[np.arange(side)[::-1], np.arange(side)] = 0
    picture[[0, -1]] = picture[:, [0, -1]] = 120
    return Video(picture[None], IMAGE_FPS)
