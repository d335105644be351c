"""A judge of random weights, small enough to read at once."""

from __future__ import annotations

from pathlib import Path

import torch

from vitascope.hub.weights import save_network
from vitascope.judge.network import Judge, JudgeConfig
from vitascope.judge.vocabulary import collect

CONFIG = JudgeConfig(
    tokens=collect([]),
    short_side=16,
    max_frames=2,
    stem_width=4,
    width=8,
    num_heads=1,
    encoder_layers=1,
    decoder_layers=1,
    accuracy={"kind": 0.5},
)


def save_small_judge(folder: Path) -> None:
    """Write it into a folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_network(Judge(CONFIG), CONFIG, folder)
