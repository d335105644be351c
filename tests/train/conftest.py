"""A dataset that needs no renderer: coloured squares that move, with captions in both languages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vitascope.codec.network import Codec, CodecConfig
from vitascope.hub.weights import save_network
from vitascope.video import Video, write_video

TEXT_ENCODER = Path(__file__).parents[2] / "vitascope" / "models" / "playground" / "text_encoder"
COLOURS = {"red": ("红色", (200, 40, 40)), "green": ("绿色", (40, 180, 60)), "blue": ("蓝色", (50, 60, 210))}
SHAPES = [(17, 32, 32), (9, 32, 48), (1, 32, 32)]


def draw_square(name: str, num_frames: int, height: int, width: int, start: int) -> Video:
    """A square of 12 pixels that moves one pixel a frame to the right."""
    frames = np.full((num_frames, height, width, 3), 225, np.uint8)
    for index, frame in enumerate(frames):
        left = (start + index) % (width - 12)
        frame[10:22, left : left + 12] = COLOURS[name][1]
    return Video(frames, 8.0)


@pytest.fixture(scope="session")
def drawn_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four clips and images of moving squares, laid out as `vitascope render` does."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "clips").mkdir()
    for number in range(24):
        name, (num_frames, height, width) = list(COLOURS)[number % 3], SHAPES[number // 3 % 3]
        video = draw_square(name, num_frames, height, width, start=number)
        path = folder / "clips" / f"{number:06d}"
        write_video(video, path.with_suffix(".png" if num_frames == 1 else ".mp4"))
        record = {
            "id": path.name,
            "num_frames": num_frames,
            "height": height,
            "width": width,
            "fps": 8.0,
            "captions": {"en": [f"a {name} square"], "zh": [f"一个{COLOURS[name][0]}的方块"]},
        }
        path.with_suffix(".json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    return folder


CODEC_CONFIG = """
data = "{data}"
steps = 6
batch_clips = 1
num_frames = [1, 5]
crop = 32
warmup = 1
num_validation = 4
log_every = 1
sample_every = 2
checkpoint_every = 3
[loss]
perceptual = 0.0
[codec]
latent_channels = 4
base_width = 8
"""

TRANSFORMER_CONFIG = """
data = "{data}"
vae = "{vae}"
text_encoder = "{text_encoder}"
steps = 8
pack_tokens = 64
warmup = 1
captions_per_language = 1
num_validation = 4
log_every = 1
sample_every = 2
checkpoint_every = 3
sample_prompts = ["a red square"]
[transformer]
in_channels = 4
out_channels = 4
num_layers = 1
num_heads = 2
head_dim = 16
ffn_width = 64
text_width = 384
[pipeline]
name = "tiny"
height = 32
width = 32
num_frames = 5
num_steps = 2
reference_tokens = 12
"""


@pytest.fixture
def codec_config(drawn_dataset: Path, tmp_path: Path) -> Path:
    """A codec's run of six steps, checkpoints after three and six."""
    path = tmp_path / "codec.toml"
    path.write_text(CODEC_CONFIG.format(data=drawn_dataset), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def codec_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec of random weights."""
    folder = tmp_path_factory.mktemp("codec") / "vae"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CodecConfig(latent_channels=4, base_width=8, latent_std=(0.1,) * 4, latent_mean=(0.0,) * 4)
        save_network(Codec(config), config, folder)
    return folder


@pytest.fixture
def transformer_config(drawn_dataset: Path, codec_folder: Path, tmp_path: Path) -> Path:
    """A transformer's run of eight steps, checkpoints after three, six and eight; its data last about five."""
    path = tmp_path / "transformer.toml"
    text = TRANSFORMER_CONFIG.format(data=drawn_dataset, vae=codec_folder, text_encoder=TEXT_ENCODER)
    path.write_text(text, encoding="utf-8")
    return path
