"""A complete model of random weights, small enough to run in no time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vitascope.codec.network import Codec, CodecConfig
from vitascope.generate.pipeline import Pipeline
from vitascope.hub.card import PipelineConfig
from vitascope.hub.weights import save_network
from vitascope.model.transformer import Transformer, TransformerConfig
from vitascope.video import Video

BUNDLED = Path(__file__).parents[2] / "vitascope" / "models" / "playground"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of random weights: 32x32 pixels, 9 frames."""
    folder = tmp_path_factory.mktemp("model")
    codec_config = CodecConfig(latent_channels=4, base_width=8, latent_mean=(0.0,) * 4, latent_std=(1.0,) * 4)
    transformer_config = TransformerConfig(
        in_channels=4, out_channels=4, num_layers=2, num_heads=2, head_dim=16, ffn_width=64, text_width=384
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = Codec(codec_config)
        transformer = Transformer(transformer_config)
        nn.init.normal_(transformer.proj_out.weight, std=0.1)  # a fresh one is zero and answers zero
    save_network(codec, codec_config, folder / "vae")
    save_network(transformer, transformer_config, folder / "transformer")
    for part in ("text_encoder", "tokenizer"):
        (folder / part).symlink_to(BUNDLED / part, target_is_directory=True)
    pipeline = PipelineConfig(name="tiny", height=32, width=32, num_frames=9, num_steps=3, reference_tokens=12)
    index = {"_class_name": "VitascopePipeline", "pipeline": pipeline.model_dump(mode="json")}
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def pipeline(model_folder: Path) -> Pipeline:
    """The model, loaded."""
    return Pipeline.load(model_folder)


@pytest.fixture
def picture() -> Video:
    """An image of smooth colours, 60 x 40 pixels, whose left and right, top and bottom differ."""
    rows, columns = np.mgrid[0:40, 0:60]
    frame = np.stack([4 * columns, 6 * rows, 255 - 2 * rows - 2 * columns], axis=-1)
    return Video(frame[None].astype(np.uint8), 1.0)
