"""Runs that are killed in any phase; `benchmarks.robustness.kills` kills all trainers."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from torch import nn

from benchmarks.robustness import kills
from tests.train.test_loop import LineTask, config
from vitascope.files import replacing_folder, write_tensors
from vitascope.train.loop import Trainer


class ExportingTask(LineTask):
    """Writes its network."""

    def export(self, ema: nn.Module, run: Path, step: int) -> Path:
        with replacing_folder(run / "line") as temporary:
            write_tensors(temporary / "line.safetensors", ema.state_dict())
        return run / "line"


def train(path: Path, out: Path) -> Path:
    settings = {"steps": kills.STEPS, "checkpoint_every": 2, "sample_every": 4, "log_every": 1}
    return Trainer(ExportingTask(config(**settings))).run(out)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_runs_killed_in_any_phase_go_on_bit_for_bit(tmp_path: Path) -> None:
    """Fails when an optimizer's state isn't restored, or what a killed save leaves isn't removed."""
    training = kills.Training("line", train, tmp_path)
    num_trials = len(kills.PHASES)
    assert kills.run(training, tmp_path / "runs", num_trials, random.Random(0)) == []
