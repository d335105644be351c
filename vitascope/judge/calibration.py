"""Calibration of the judge: of words read with 80 % confidence, four fifths should be right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from vitascope.judge.network import Judge, shots_of
from vitascope.judge.scoring import Verdict, verdicts
from vitascope.judge.sentence import Sentence, Slot
from vitascope.kernels.device import CPU
from vitascope.video import Video
from vitascope.video.clip import IMAGE_FPS

NUM_BINS = 10
BLUE = np.array([40, 90, 170])
TEMPERATURES = torch.logspace(-1.5, 1.5, 301, base=10.0)
LabelledVideo = tuple[Video, Sentence]


class Bin(NamedTuple):
    """Words with confidence in one tenth: their number, mean confidence and accuracy."""

    count: int
    confidence: float
    accuracy: float


def reliability(confidence: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """Bins of confidence from 0 to 1; an empty one is `Bin(0, 0.0, 0.0)`."""
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    tenth = np.minimum((sure * NUM_BINS).astype(int), NUM_BINS - 1)
    bins = []
    for k in range(NUM_BINS):
        inside = tenth == k
        count = int(inside.sum())
        bins.append(Bin(count, float(sure[inside].mean()), float(hit[inside].mean())) if count else Bin(0, 0.0, 0.0))
    return bins


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Mean distance between confidence and accuracy, weighted by the bins' counts.

    Source: Guo et al. 2017 (arXiv:1706.04599), equation 3.
    """
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.accuracy - each.confidence) for each in bins) / max(1, total)


def fit_temperature(logits: Float[Tensor, "n v"], targets: Int64[Tensor, " n"]) -> float:
    """Divisor of the logits that makes the true words most likely; -inf marks words that the slot excludes.

    Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2.
    """
    losses = torch.stack([F.cross_entropy(logits / temperature, targets) for temperature in TEMPERATURES])
    return float(TEMPERATURES[losses.argmin()])


def reliability_picture(bins: Sequence[Bin], side: int = 320) -> Video:
    """Image of accuracy over confidence, both from 0 to 1: one bar per bin, the diagonal in black.

    Fuller bins are darker. Calibrated bars end on the diagonal.
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


def examine(judge: Judge, labelled: Iterable[LabelledVideo]) -> list[Verdict]:
    """A verdict on each attribute in the judge's readings of labelled videos."""
    found = []
    for video, sentence in labelled:
        reading = judge.read(video)
        found += verdicts(sentence, reading.sentence, reading.confidence)
    return found


@torch.inference_mode()
def slot_logits(
    judge: Judge, video: Video, sentence: Sentence
) -> tuple[Float[Tensor, "slots v"], Int64[Tensor, " slots"]]:
    """(logits, words) for each slot of a true sentence given the words before it, on the CPU.

    Logits are -inf for words that the slot excludes. As in `Judge.read`, actions in each of several shots are read
    from that shot alone.
    """
    parts = shots_of(video, int(sentence[Slot("shots")]))
    if len(parts) == 1:
        return _logits_and_words(judge, video, sentence)
    cast = {slot: value for slot, value in sentence.items() if slot.shot is None}
    pieces = [_logits_and_words(judge, video, cast)]
    for number, part in enumerate(parts):
        acts = {slot._replace(shot=0): value for slot, value in sentence.items() if slot.shot == number}
        logits, words = _logits_and_words(judge, part, {**cast, Slot("shots"): "1", **acts})
        pieces.append((logits[len(cast) :], words[len(cast) :]))
    logits, words = zip(*pieces, strict=True)
    return torch.cat(logits), torch.cat(words)


def _logits_and_words(judge: Judge, video: Video, sentence: Sentence) -> tuple[Tensor, Tensor]:
    words = torch.tensor(judge.vocabulary.encode_sentence(sentence))
    logits = judge.attribute_logits(words, judge.encode(video))[: len(sentence)].to(CPU)
    excluded = torch.full_like(logits, float("-inf"))
    for row, slot in enumerate(sentence):
        excluded[row, judge.vocabulary.choices[slot.attribute]] = 0
    return logits + excluded, words[1 : len(sentence) + 1]
