"""A model written in diffusers' layout: each network as diffusers' class where that can hold it, and the same video."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import vitascope
from tests.hub.peers import diffusers, transformers
from tests.hub.test_wan_pipeline import canvas, difference, our_frames, peer_frames
from tests.hub.test_wan_transformer import peer_output, sample
from vitascope import cli
from vitascope.codec.network import Codec, CodecConfig
from vitascope.hub.card import PipelineConfig
from vitascope.hub.export import LOADING, export_model, how_to_load
from vitascope.hub.weights import WEIGHTS_FILE as WEIGHTS
from vitascope.hub.weights import save_network
from vitascope.model.patches import pack, unpatchify
from vitascope.model.transformer import Transformer, TransformerConfig

BUNDLED = Path(vitascope.__file__).parent / "models" / "playground"
PROMPT = "a red ball"
TEXT_NOTE = "text_encoder is copied in Vitascope's own layout: its weights are in 4-bit blocks"


@pytest.fixture
def ours(tmp_path) -> Path:
    """A model of ours, of random weights, that Wan's classes can hold."""
    folder = tmp_path / "ours"
    codec_config = CodecConfig(
        latent_channels=4, base_width=8, width_multipliers=(1, 2, 2), temporal_downsample=(True, True),
        latent_mean=(0.1,) * 4, latent_std=(0.8,) * 4,
    )  # fmt: skip
    transformer_config = TransformerConfig(
        in_channels=4, out_channels=4, num_layers=2, num_heads=2, head_dim=16, ffn_width=48, text_width=384,
        frequency_width=32, prediction="velocity",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec, transformer = Codec(codec_config), Transformer(transformer_config)
        torch.nn.init.normal_(transformer.proj_out.weight, std=0.1)
    save_network(codec, codec_config, folder / "vae", torch.float32)
    save_network(transformer, transformer_config, folder / "transformer", torch.float32)
    for part in ("text_encoder", "tokenizer"):
        (folder / part).symlink_to(BUNDLED / part, target_is_directory=True)
    config = PipelineConfig(name="tiny", height=32, width=32, num_frames=9, num_steps=3, reference_tokens=12)
    index = {"_class_name": "VitascopePipeline", "pipeline": config.model_dump(mode="json")}
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def export(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The notes of `vitascope export`, which prints the folder."""
    assert cli.main(["export", str(out), "--model", str(source)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    *notes, loading = captured.err.splitlines(keepends=True)
    assert loading.startswith(f"load it with vitascope.load('{out}') or --model {out}; diffusers.")
    return "".join(notes)


def read_transformer(folder: Path):
    """The peer's from_pretrained, without its need of the package accelerate."""
    network = diffusers.WanTransformer3DModel.from_config(diffusers.WanTransformer3DModel.load_config(folder))
    network.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    return network.eval()


@torch.inference_mode()
def test_the_peer_reads_our_networks_and_agrees(ours, tmp_path, capsys):
    out = tmp_path / "out"
    assert export(ours, out, capsys) == f"{TEXT_NOTE}\n"
    pipeline = vitascope.load(ours)
    transformer = read_transformer(out / "transformer")
    codec = diffusers.AutoencoderKLWan.from_pretrained(out, subfolder="vae").eval()

    shape, grid, sigmas = {"in_channels": 4, "text_dim": 384}, (3, 4, 6), [0.7] * 3
    made = unpatchify(pipeline.transformer(pack([sample(shape, grid, sigmas)])), (3, 2, 3))
    assert made.std() > 0.1
    assert (peer_output(transformer, shape, grid, sigmas) - made).abs().max() <= 2e-5

    pixels = torch.linspace(-1, 1, 3 * 5 * 32 * 48).view(1, 3, 5, 32, 48).sin()
    mean, std = (torch.tensor(codec.config[key]).view(1, -1, 1, 1, 1) for key in ("latents_mean", "latents_std"))
    latent = (codec.encode(pixels).latent_dist.mean - mean) / std
    assert (latent - pipeline.codec.encode(pixels)).abs().max() <= 1e-4
    decoded = codec.decode(latent * std + mean).sample
    assert decoded.std() > 0.01
    assert (decoded - pipeline.codec.decode(latent).clamp(-1, 1)).abs().max() <= 1e-4


def test_what_was_exported_loads_here_again(ours, tmp_path, capsys):
    export(ours, tmp_path / "out", capsys)
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: vitascope\npipeline_tag: text-to-video\n")
    assert "# tiny\n" in card
    assert "| size | 32 x 32 |" in card
    assert index["transformer"] == ["diffusers", "WanTransformer3DModel"]
    one, other = (vitascope.load(folder).generate(PROMPT).frames for folder in (ours, tmp_path / "out"))
    assert np.array_equal(one, other)


def test_an_export_removes_what_killed_ones_left(ours, tmp_path, capsys):
    """Those of the last day stay: they may be another export's, still being written."""
    old, young = tmp_path / ".0123456789abcdef.tmp", tmp_path / ".fedcba9876543210.tmp"
    for folder in (old, young):
        folder.mkdir()
        (folder / "model_index.json").write_text("{")
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    export(ours, tmp_path / "out", capsys)
    assert (old.exists(), young.exists()) == (False, True)


def test_what_the_peer_has_no_class_for_is_said_and_kept(tmp_path, capsys):
    """The bundled model's codec has a linear path, and its transformer predicts clean patches."""
    notes = export(BUNDLED, tmp_path / "out", capsys).splitlines()
    assert [note.split(" is written in Vitascope's own layout: ")[0] for note in notes] == [
        "vae",
        "transformer",
        TEXT_NOTE,
    ]
    assert "linear path" in notes[0]
    assert "'clean'" in notes[1]
    one, other = vitascope.load(BUNDLED), vitascope.load(tmp_path / "out")
    for a, b in ((one.codec, other.codec), (one.transformer, other.transformer)):
        assert all(torch.equal(tensor, b.state_dict()[name]) for name, tensor in a.state_dict().items())
    assert (tmp_path / "out" / "text_encoder" / "NOTICE.md").is_file()
    card = (BUNDLED / "README.md").read_text()
    assert (tmp_path / "out" / "README.md").read_text().startswith(card)
    export(tmp_path / "out", tmp_path / "again", capsys)  # the section on loading is replaced, not repeated
    assert (tmp_path / "again" / "README.md").read_text() == (tmp_path / "out" / "README.md").read_text()


def test_a_folder_of_ours_says_how_to_load_it_and_what_diffusers_says(ours, tmp_path, capsys):
    """diffusers' reason is the one that card and command state; the networks it knows are named."""
    export(ours, tmp_path / "out", capsys)
    with pytest.raises(AttributeError) as raised:
        diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    said = str(raised.value)
    assert said == "module diffusers has no attribute VitascopePipeline"
    card = (tmp_path / "out" / "README.md").read_text()
    section = card.split(LOADING)[1]
    assert f"`{said}`" in section
    assert 'vitascope.load("FOLDER")' in section
    for part, name in (("vae", "AutoencoderKLWan"), ("transformer", "WanTransformer3DModel")):
        assert f"- `{part}` is a `diffusers.{name}`." in section
        assert getattr(diffusers, name).load_config(tmp_path / "out", subfolder=part)["_class_name"] == name
    line = how_to_load(tmp_path / "out")
    assert line.endswith("diffusers has no class VitascopePipeline; its classes load vae and transformer")


@torch.inference_mode()
def test_a_wan_model_loads_by_diffusers_as_its_card_says(peers, tmp_path, monkeypatch):
    peer, folder = peers["2.1"]
    out = tmp_path / "out"
    export_model(folder, out, torch.float32)
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: vitascope\n")
    assert "`diffusers.WanPipeline.from_pretrained` loads it too, with" in card.split(LOADING)[1]
    assert how_to_load(out).endswith("; diffusers.WanPipeline.from_pretrained, with accelerate, loads it too")
    monkeypatch.setattr(diffusers.WanTransformer3DModel, "_keep_in_fp32_modules", None)  # else it needs accelerate
    again = diffusers.DiffusionPipeline.from_pretrained(out)
    assert type(again) is diffusers.WanPipeline
    for part in ("vae", "transformer", "text_encoder"):
        wanted = getattr(peer, part).state_dict()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in getattr(again, part).state_dict().items())


@torch.inference_mode()
def test_a_wan_model_is_a_wan_model_again(peers, tmp_path):
    """And diffusers' pipeline of its parts makes the same video."""
    peer, folder = peers["2.1"]
    out = tmp_path / "out"
    assert export_model(folder, out, torch.float32) == []
    assert json.loads((out / "model_index.json").read_text())["_class_name"] == "WanPipeline"
    again = diffusers.WanPipeline(
        vae=diffusers.AutoencoderKLWan.from_pretrained(out, subfolder="vae"),
        transformer=read_transformer(out / "transformer"),
        text_encoder=transformers.UMT5EncoderModel.from_pretrained(out, subfolder="text_encoder"),
        tokenizer=transformers.AutoTokenizer.from_pretrained(out / "tokenizer"),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(out, subfolder="scheduler"),
    )
    again.set_progress_bar_config(disable=True)
    for part in ("vae", "transformer", "text_encoder"):
        wanted = getattr(peer, part).state_dict()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in getattr(again, part).state_dict().items())
    pipeline = vitascope.load(tmp_path / "out")
    filling = canvas(pipeline)
    assert difference(peer_frames(again, pipeline, filling), our_frames(pipeline, filling)) <= 1e-3


def test_half_precision_is_written(ours, tmp_path):
    export_model(ours, tmp_path / "out", torch.bfloat16)
    written = load_file(tmp_path / "out" / "transformer" / WEIGHTS)
    wanted = vitascope.load(ours, dtype="bfloat16").transformer.patch_in.weight.flatten()
    assert {tensor.dtype for tensor in written.values()} == {torch.bfloat16}
    assert torch.equal(written["patch_embedding.weight"].flatten(), wanted)
    codec = load_file(tmp_path / "out" / "vae" / WEIGHTS)
    assert {tensor.dtype for tensor in codec.values()} == {torch.float32}


def test_a_folder_that_exists_and_a_model_that_is_damaged_are_one_line(ours, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    assert cli.main(["export", str(tmp_path / "there"), "--model", str(ours)]) == 2
    assert "exists; name a new folder" in capsys.readouterr().err
    for part in ("tokenizer", "vae/diffusion_pytorch_model.safetensors"):
        (ours / part).unlink()
        assert cli.main(["export", str(tmp_path / "out"), "--model", str(ours)]) == 2
        message = capsys.readouterr().err
        assert str(ours / part) in message
        assert message.count("\n") == 1
        assert not (tmp_path / "out").exists()
