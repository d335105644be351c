"""A small model, run and dataset for the harnesses, with random weights and few words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from vitascope.codec.network import Codec, CodecConfig
from vitascope.hub.weights import save_network, write_manifest
from vitascope.model.transformer import Transformer, TransformerConfig
from vitascope.train.transformer_config import TransformerTrainConfig
from vitascope.video import Video, write_video

WORDS = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "a", "red", "green", "blue", "square", "ball"]
WIDTH = 16  # of the text encoder


def make_text_encoder(folder: Path) -> Path:
    """Write a BERT of one layer and its tokenizer; return the encoder's folder."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    encoder = folder / "text_encoder"
    for part in (encoder, folder / "tokenizer"):
        part.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": len(WORDS),
        "max_position_embeddings": 32,
    }
    (encoder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    layer = "encoder.layer.0"
    linears = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
    linears += [f"{layer}.attention.output.dense", f"{layer}.intermediate.dense", f"{layer}.output.dense"]
    norms = ["embeddings.LayerNorm", f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    shapes = {"word": len(WORDS), "position": 32, "token_type": 2}
    draw = torch.Generator().manual_seed(0)
    tensors = {
        f"embeddings.{name}_embeddings.weight": torch.randn(rows, WIDTH, generator=draw)
        for name, rows in shapes.items()
    }
    for name in linears:
        tensors[f"{name}.weight"] = 0.2 * torch.randn(WIDTH, WIDTH, generator=draw)
        tensors[f"{name}.bias"] = torch.zeros(WIDTH)
    for name in norms:
        tensors |= {f"{name}.weight": torch.ones(WIDTH), f"{name}.bias": torch.zeros(WIDTH)}
    save_file(tensors, encoder / "model.safetensors")
    write_manifest(encoder)
    write_manifest(folder / "tokenizer")
    return encoder


def make_codec(folder: Path) -> Path:
    """Write a codec of random weights; return its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CodecConfig(latent_channels=4, base_width=8, latent_std=(0.1,) * 4, latent_mean=(0.0,) * 4)
        save_network(Codec(config), config, folder / "vae")
    return folder / "vae"


def make_config(folder: Path) -> TransformerTrainConfig:
    """Settings of a transformer's run on `make_dataset`, with a codec and a text encoder that are written first."""
    return TransformerTrainConfig.model_validate(
        {
            "data": str(folder / "data"),
            "vae": str(make_codec(folder)),
            "text_encoder": str(make_text_encoder(folder)),
            "device": "cpu",
            "transformer": TransformerConfig(
                in_channels=4, out_channels=4, num_layers=1, num_heads=1, head_dim=16, ffn_width=16, text_width=WIDTH
            ),
            "pipeline": {"name": "small", "height": 32, "width": 32, "num_frames": 5, "num_steps": 2},
        }
    )


def make_transformer(config: TransformerTrainConfig, seed: int) -> Transformer:
    """A transformer of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Transformer(config.transformer, torch.Generator().manual_seed(seed))


def make_dataset(folder: Path, num_clips: int, side: int = 32) -> Path:
    """Clips and images of moving squares, laid out as `vitascope render` does; `side` is in pixels."""
    (folder / "clips").mkdir(parents=True)
    square = side * 3 // 8
    for number in range(num_clips):
        num_frames = (5, 1)[number % 2]
        frames = np.full((num_frames, side, side, 3), 225, np.uint8)
        for index in range(num_frames):
            left = index + number % 8
            frames[index, side // 3 : side // 3 + square, left : left + square] = (200, 40, 20 * number % 256)
        path = folder / "clips" / f"{number:06d}.json"
        write_video(Video(frames, 8.0), path.with_suffix(".png" if num_frames == 1 else ".mp4"))
        sizes = {"num_frames": num_frames, "height": side, "width": side, "fps": 8.0}
        record = {"id": path.stem, **sizes, "captions": {"en": [f"a {WORDS[6 + number % 3]} square"]}}
        path.write_text(json.dumps(record), encoding="utf-8")
    return folder
