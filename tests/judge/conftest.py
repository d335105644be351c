"""Clips with attributes and captions of the world that need no renderer: each is a pattern of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vitascope.video import Video, write_video
from vitascope.worlds.solids.captions import captions, storyboards
from vitascope.worlds.solids.sampling import sample_scene

CONFIG = """
data = "{data}"
steps = 6
batch_clips = 4
warmup = 1
num_validation = 3
log_every = 1
sample_every = 3
checkpoint_every = 3
[judge]
short_side = 16
max_frames = 4
stem_width = 8
width = 48
num_heads = 2
encoder_layers = 1
decoder_layers = 1
"""


def drawn(seed: int, num_frames: int = 6) -> Video:
    """A pattern that no other seed has, moving to the right."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    tile = coarse.repeat(4, axis=0).repeat(4, axis=1)
    return Video(np.stack([np.roll(tile, k, axis=1) for k in range(num_frames)]), 8.0)


@pytest.fixture(scope="session")
def told_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips, every third an image, laid out as `vitascope render` does."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "clips").mkdir()
    for seed in range(12):
        scene, num_frames = sample_scene(seed), 1 if seed % 3 == 2 else 6
        path = folder / "clips" / f"{seed:06d}"
        begins = scene.first_frames(num_frames) if num_frames > 1 else [0]
        lengths = np.diff([*begins, num_frames]).tolist()
        shots = [drawn(seed + 100 * number, length).frames for number, length in enumerate(lengths)]
        write_video(Video(np.concatenate(shots), 8.0), path.with_suffix(".png" if num_frames == 1 else ".mp4"))
        shape = {"num_frames": num_frames, "height": 16, "width": 16, "fps": 8.0}
        texts = captions(scene, is_image=num_frames == 1, num_per_language=1)
        told = {"captions": texts, "attributes": scene.attributes()}
        actors = [{"pixel": [4.0 + 3 * k, 12.0 - 3 * k], "area": 20 + k} for k in range(len(scene.actors))]
        if len(begins) > 1:
            ways = {language: [way._asdict() for way in each] for language, each in storyboards(scene, 1).items()}
            told |= {"cuts": begins[1:], "storyboards": ways}
        frames = [{"shot": sum(k >= first for first in begins) - 1, "actors": actors} for k in range(num_frames)]
        truth = {"fps": 8.0, "frames": frames}
        record = json.dumps({"id": path.name, **shape, **told, "truth": truth}, ensure_ascii=False)
        path.with_suffix(".json").write_text(record, encoding="utf-8")
    return folder


@pytest.fixture
def judge_config(told_dataset: Path, tmp_path: Path) -> Path:
    """A judge's run of six steps, checkpoints after three and six."""
    path = tmp_path / "judge.toml"
    path.write_text(CONFIG.format(data=told_dataset), encoding="utf-8")
    return path
