"""Whole models of diffusers' Wan pipelines, of random weights and small enough to run in no time."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

WORDS = ["▁a", "▁red", "▁ball", "▁rolls", "▁blue", "▁cube", "▁noise", "▁&", "▁"]
LETTERS = [chr(code) for code in range(33, 127)]
CODEC = {"base_dim": 8, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1, "temperal_downsample": [False, True, True]}
TRANSFORMER = {
    "num_attention_heads": 2, "attention_head_dim": 16, "ffn_dim": 48, "num_layers": 2, "text_dim": 24, "freq_dim": 32,
}  # fmt: skip
PATCHED = {  # what the codec of 2.2 has more
    "decoder_base_dim": 12, "is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12,
    "scale_factor_spatial": 16,
}  # fmt: skip
SHIFT = 3.0


def statistics(channels: int) -> dict[str, list[float]]:
    steps = range(channels)
    return {"latents_mean": [0.1 * k - 0.2 for k in steps], "latents_std": [0.5 + 0.25 * k for k in steps]}


def stirred(network: torch.nn.Module, amount: float) -> torch.nn.Module:
    """With gains, biases and tables that are neither 1 nor 0."""
    for parameter in network.eval().requires_grad_(False).parameters():
        parameter.add_(amount * torch.randn_like(parameter))
    return network


def tokenizer():
    """Words of the tests' prompts and letters, with the mark that umT5's has at a prompt's end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    pieces += [(word, -3.0) for word in WORDS] + [(letter, -9.0) for letter in LETTERS]
    fast = Tokenizer(models.Unigram(pieces, unk_id=2))
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    fast.decoder = decoders.Metaspace()
    fast.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def make_peer(kind: str):
    """A pipeline of diffusers: "2.1", "2.2" (text to video with expand_timesteps) or "2.2 image"."""
    import diffusers
    from transformers import UMT5Config, UMT5EncoderModel

    channels = 4 if kind == "2.1" else 6
    patched = {} if kind == "2.1" else PATCHED
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = diffusers.AutoencoderKLWan(**CODEC, **patched, z_dim=channels, **statistics(channels))
        transformer = diffusers.WanTransformer3DModel(**TRANSFORMER, in_channels=channels, out_channels=channels)
        words = UMT5Config(
            vocab_size=128, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=3, tie_word_embeddings=True
        )
        text_encoder = UMT5EncoderModel(words)
        parts = {
            "vae": stirred(codec, 0.02),
            "transformer": stirred(transformer, 0.1),
            "text_encoder": stirred(text_encoder, 0.1),
        }
    parts |= {"tokenizer": tokenizer(), "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=SHIFT)}
    if kind == "2.2 image":
        return diffusers.WanImageToVideoPipeline(
            **parts, image_encoder=None, image_processor=None, expand_timesteps=True
        )
    return diffusers.WanPipeline(**parts, expand_timesteps=kind == "2.2")


@pytest.fixture(scope="session")
def peers(tmp_path_factory):
    """(diffusers' pipeline, the folder that it wrote) of each kind."""
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    made = {}
    for kind in ("2.1", "2.2", "2.2 image"):
        folder = tmp_path_factory.mktemp("peer") / f"wan-{kind.replace(' ', '-')}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs
            peer = make_peer(kind)
            peer.save_pretrained(folder)
        peer.set_progress_bar_config(disable=True)
        made[kind] = (peer, folder)
    return made


@pytest.fixture
def wan_folder(peers, tmp_path) -> Path:
    """A copy of the folder of 2.1, to be damaged."""
    import shutil

    return Path(shutil.copytree(peers["2.1"][1], tmp_path / "wan"))
