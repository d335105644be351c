"""The whole chain, from an empty folder to a video, by the commands that a person would type."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vitascope.cli import main
from vitascope.generate.pipeline import Pipeline
from vitascope.video import read_video

CONFIGS = Path(__file__).parents[1] / "vitascope" / "configs"
TEXT_ENCODER = Path(__file__).parents[1] / "vitascope" / "models" / "playground" / "text_encoder"


def figures(run: Path, name: str) -> list[float]:
    """Values that a run logged under a name, in order of steps."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [record[name] for record in records if name in record]


@pytest.mark.rendering
def test_render_train_and_generate(tmp_path):
    """Fails if a network doesn't learn: with a learning rate of 1e-9 both comparisons are off."""
    data, codec, run = tmp_path / "data", tmp_path / "codec", tmp_path / "transformer"

    def vitascope(*words: object) -> None:
        assert main([str(word) for word in words]) == 0, words

    vitascope("render", "--clips", 24, "--size", "32x32", "--frames", 9, "--workers", 1, "--variety", 0, "--out", data)
    vitascope("train", "codec", CONFIGS / "tiny-codec.toml", f"data={data}", "steps=40", "-o", codec)
    psnr = figures(codec, "psnr")
    assert psnr[-1] > psnr[0] + 1.0

    inputs = [f"data={data}", f"vae={codec / 'vae'}", f"text_encoder={TEXT_ENCODER}"]
    vitascope("train", "transformer", CONFIGS / "tiny-transformer.toml", *inputs, "-o", run)
    loss, validation = figures(run, "loss"), figures(run, "validation")
    assert np.mean(loss[-3:]) < 0.6 * loss[0]
    assert validation[-1] < validation[0]

    pipeline = Pipeline.load(run / "model")
    options = {"height": 48, "width": 32, "num_frames": 6}
    video = pipeline.generate("a red ball rolls on the grass", seed=1, **options)
    assert video.frames.shape == (6, 48, 32, 3)
    assert video.fps == 8.0
    same, other = (pipeline.generate("a red ball rolls on the grass", seed=seed, **options) for seed in (1, 2))
    assert np.array_equal(video.frames, same.frames)
    assert not np.array_equal(video.frames, other.frames)

    clip = tmp_path / "ball.mp4"
    vitascope("generate", "一个红色的球", "--model", run / "model", "--steps", 2, "-o", clip)
    assert read_video(clip).frames.shape == (9, 32, 32, 3)
