"""The chain on a GPU, compared with the CPU: every verb with the same seed, and one step of every trainer.

`make test-gpu` runs these tests. In float32 tokens agree to 1e-3 of the largest, in bfloat16 to 1e-1: its numbers have
8 bits, and both devices round in every layer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vitascope
from tests.generate.conftest import model_folder as model_folder
from tests.judge.conftest import judge_config as judge_config
from tests.judge.conftest import told_dataset as told_dataset
from tests.train.conftest import codec_config as codec_config
from tests.train.conftest import codec_folder as codec_folder
from tests.train.conftest import drawn_dataset as drawn_dataset
from tests.train.conftest import transformer_config as transformer_config
from vitascope import Pipeline, Storyboard, StoryboardShot, Video
from vitascope.cli import main
from vitascope.types import Dtype

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
PROMPT = "a red ball rolls on the grass"
SETTINGS = {"seed": 5, "num_steps": 3, "guidance": 3.0}
TOLERANCE: dict[Dtype, float] = {"float32": 1e-3, "bfloat16": 1e-1}
LEVELS: dict[Dtype, float] = {"float32": 0.1, "bfloat16": 8}  # mean difference of pixels, of 255


def clip(num_frames: int = 9) -> Video:
    """Smooth colours that move to the right."""
    rows, columns, times = np.mgrid[0:32, 0:32, 0:num_frames].astype(np.float64)
    waves = [np.sin((columns - times) / 5), np.cos(rows / 6), np.sin((rows + columns + times) / 9)]
    frames = (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
    return Video(frames.transpose(2, 0, 1, 3).copy(), 8.0)


SHOTS = (StoryboardShot(text="rolls", seconds=1), StoryboardShot(text="rests", seconds=1))
BOARD = Storyboard(text="a red ball", shots=SHOTS)
VERBS: dict[str, Callable[[Pipeline], Video]] = {
    "generate": lambda p: p.generate(PROMPT, negative="snow", references=(clip(1),), **SETTINGS),
    "generate-long": lambda p: p.generate(PROMPT, num_frames=17, image=clip(1), **SETTINGS),
    "extend": lambda p: p.extend(clip(), PROMPT, seconds=0.5, **SETTINGS),
    "fill": lambda p: p.fill(clip(), [(0.5, 0.9)], PROMPT, **SETTINGS),
    "connect": lambda p: p.connect(clip(), clip(), PROMPT, seconds=0.5, **SETTINGS),
    "loop": lambda p: p.loop(clip(), PROMPT, seconds=0.5, **SETTINGS),
    "edit": lambda p: p.edit(clip(), PROMPT, strength=0.7, **SETTINGS),
    "storyboard": lambda p: p.storyboard(BOARD, **SETTINGS),
}


LOSSES = {"codec": ["l1", "kl"], "transformer": ["loss"], "judge": ["attributes", "captions", "grounding"]}


def make(folder: Path, device: str, dtype: Dtype, verb: str) -> tuple[Video, list[Tensor]]:
    """A verb's video, and the tokens of its windows."""
    pipeline, tokens = vitascope.load(folder, device=device, dtype=dtype), []
    original = pipeline.sample

    def sample(*arguments: Any, **options: Any) -> Tensor:
        result = original(*arguments, **options)
        tokens.append(result.float().cpu())
        return result

    pipeline.sample = sample
    assert pipeline.device.type == device
    return VERBS[verb](pipeline), tokens


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_makes_the_video_that_the_cpu_makes(verb, dtype, model_folder):
    """The reference is the CPU in float32. Fails if noise is drawn on the device, or a seed is used differently."""
    expected, expected_tokens = make(model_folder, "cpu", "float32", verb)
    found, found_tokens = make(model_folder, DEVICE, dtype, verb)
    assert found.frames.shape == expected.frames.shape
    for a, b in zip(found_tokens, expected_tokens, strict=True):
        assert (a - b).abs().max() <= TOLERANCE[dtype] * b.abs().max()
    assert np.abs(found.frames.astype(float) - expected.frames).mean() <= LEVELS[dtype]


@pytest.mark.parametrize("offload", [False, True])
def test_compiled_or_offloaded_a_pipeline_makes_the_same_video(offload, model_folder):
    expected = vitascope.load(model_folder, device=DEVICE, dtype="float32").generate(PROMPT, **SETTINGS)
    pipeline = vitascope.load(model_folder, device=DEVICE, dtype="float32", compile=not offload, offload=offload)
    found = pipeline.generate(PROMPT, **SETTINGS)
    assert np.abs(found.frames.astype(float) - expected.frames).mean() <= LEVELS["float32"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", LOSSES)
def test_the_first_step_of_a_trainer_has_the_loss_of_the_cpus(network, dtype, request, tmp_path):
    """And its gradient's length: the whole backward pass, in one number."""
    config = request.getfixturevalue(f"{network}_config")
    figures = []
    for device, precision in (("cpu", "float32"), (DEVICE, dtype)):
        run = tmp_path / f"{device}-{precision}"
        words = ["train", network, str(config), f"device={device}", f"precision={precision}", "steps=1", "-o", str(run)]
        assert main(words) == 0
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        figures.append(next(record for record in map(json.loads, lines) if "gradient" in record))
    for name in (*LOSSES[network], "gradient"):
        assert figures[1][name] == pytest.approx(figures[0][name], rel=TOLERANCE[dtype]), name
    assert not torch.is_autocast_enabled("cuda")
