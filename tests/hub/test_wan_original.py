"""Weights with the names of Wan's own repository load, and are the same networks as diffusers'."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.hub.test_wan_codec import WAN21 as CODEC
from tests.hub.test_wan_codec import peer as peer_codec
from tests.hub.test_wan_transformer import WAN21, our_output, peer, peer_output, sample
from vitascope.codec.network import Codec, CodecConfig
from vitascope.errors import ModelError
from vitascope.hub.diffusers_folder import WEIGHTS
from vitascope.hub.wan import codec as wan_codec
from vitascope.hub.wan import original as wan_original
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.wan.codec import load_wan_codec
from vitascope.hub.wan.original import (
    CODEC_21,
    load_original_codec,
    load_original_transformer,
    original_codec_name,
    original_name,
)
from vitascope.hub.wan.transformer import load_wan_transformer

single_file = pytest.importorskip("diffusers.loaders.single_file_utils")

GRID, SIGMAS = (3, 4, 6), [0.7] * 3


def original_tensors(theirs, folder: Path) -> dict[str, torch.Tensor]:
    """The peer's tensors under the original's names, by our two mappings."""
    theirs.save_pretrained(folder)
    network = load_wan_transformer(folder)
    state = theirs.state_dict()
    return {original_name(ours): state[spot.name] for ours, spot in wan_transformer.tensor_places(network).items()}


def write_original(theirs, folder: Path) -> Path:
    tensors = original_tensors(theirs, folder / "theirs")
    folder = folder / "original"
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    config = theirs.config
    width = config["num_attention_heads"] * config["attention_head_dim"]
    tree = {
        "_class_name": "WanModel", "model_type": "t2v", "dim": width, "ffn_dim": config["ffn_dim"],
        "freq_dim": config["freq_dim"], "in_dim": config["in_channels"], "out_dim": config["out_channels"],
        "num_heads": config["num_attention_heads"], "num_layers": config["num_layers"], "eps": 1e-6, "text_len": 512,
        "text_dim": config["text_dim"],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(tree))
    return folder


def test_the_peer_converts_our_names_back(tmp_path):
    """An independent check of every name: diffusers' own converter of original checkpoints."""
    theirs = peer(WAN21)
    converted = single_file.convert_wan_transformer_to_diffusers(original_tensors(theirs, tmp_path))
    wanted = theirs.state_dict()
    assert converted.keys() == wanted.keys()
    assert all(torch.equal(converted[name], tensor) for name, tensor in wanted.items())


def test_some_names_as_they_are_published():
    assert original_name("blocks.0.self_attention.query.weight") == "blocks.0.self_attn.q.weight"
    assert original_name("blocks.7.cross_norm.bias") == "blocks.7.norm3.bias"
    assert original_name("time_modulation.weight") == "time_projection.1.weight"


def test_same_output_as_the_peer(tmp_path):
    theirs = peer(WAN21)
    network = load_original_transformer(write_original(theirs, tmp_path))
    apart = peer_output(theirs, WAN21, GRID, SIGMAS) - our_output(network, sample(WAN21, GRID, SIGMAS), GRID)
    assert apart.abs().max() <= 2e-5


def test_exchanged_names_are_noticed(tmp_path, monkeypatch):
    """The comparison above can fail: with two names exchanged, the weights load all the same."""
    theirs = peer(WAN21)
    folder = write_original(theirs, tmp_path)
    names = wan_original.BLOCK_NAMES
    monkeypatch.setattr(wan_original, "BLOCK_NAMES", {**names, "query": names["key"], "key": names["query"]})
    network = load_original_transformer(folder)
    apart = peer_output(theirs, WAN21, GRID, SIGMAS) - our_output(network, sample(WAN21, GRID, SIGMAS), GRID)
    assert apart.abs().max() > 1e-3


@pytest.mark.parametrize("change", [{"model_type": "i2v"}, {"cross_attn_norm": False}, {"_class_name": "VaceWanModel"}])
def test_another_form_is_refused(tmp_path, change):
    folder = write_original(peer(WAN21), tmp_path)
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**tree, **change}))
    with pytest.raises(ModelError, match=r"can't be loaded|give the folder of a WanModel"):
        load_original_transformer(folder)


def codec_tensors(theirs, folder: Path) -> tuple[dict[str, torch.Tensor], CodecConfig]:
    theirs.save_pretrained(folder)
    codec = load_wan_codec(folder)
    state = theirs.state_dict()
    places = wan_codec.tensor_places(codec)
    return {original_codec_name(ours, codec.config): state[spot.name] for ours, spot in places.items()}, codec.config


def test_the_peer_converts_the_codecs_names_back(tmp_path):
    theirs = peer_codec(CODEC)
    converted = single_file.convert_wan_vae_to_diffusers(codec_tensors(theirs, tmp_path)[0])
    wanted = theirs.state_dict()
    assert converted.keys() == wanted.keys()
    assert all(torch.equal(converted[name], tensor) for name, tensor in wanted.items())


def test_same_pixels_from_an_original_file(tmp_path):
    theirs = peer_codec(CODEC)
    tensors, config = codec_tensors(theirs, tmp_path / "theirs")
    save_file(tensors, tmp_path / "wan_vae.safetensors")
    latent = torch.randn(1, 4, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    wanted = theirs.decode(latent).sample
    codec = load_original_codec(tmp_path / "wan_vae.safetensors", config).requires_grad_(False)
    assert (wanted - codec.decode_raw(latent).clamp(-1, 1)).abs().max() <= 1e-4
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "Wan2.1_VAE.pth").write_bytes(b"never read")
    for suffix in ("pth", "safetensors"):
        with pytest.raises(ModelError, match=r"Wan2\.1_VAE\.pth is a pickle"):
            load_original_codec(tmp_path / "pickled" / f"Wan2.1_VAE.{suffix}")


def test_the_published_codec_is_the_peers_default():
    import diffusers

    with torch.device("meta"):
        theirs, ours = diffusers.AutoencoderKLWan(), Codec(CODEC_21)
    shapes = {spot.name: spot.shape for spot in wan_codec.tensor_places(ours).values()}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    assert CODEC_21.latent_mean == pytest.approx(theirs.config["latents_mean"])
    assert CODEC_21.latent_std == pytest.approx(theirs.config["latents_std"])
