"""Weights with the names of Wan's own repository load, and are the same networks as diffusers'."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.hub.peers import single_file
from tests.hub.test_wan_transformer import WAN21, our_output, peer, peer_output, sample
from vitascope.errors import ModelError
from vitascope.hub.registry import load_transformer
from vitascope.hub.wan import original as wan_original
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.wan.original import original_name
from vitascope.hub.weights import WEIGHTS_FILE as WEIGHTS

GRID, SIGMAS = (3, 4, 6), [0.7] * 3


def original_tensors(theirs, folder: Path) -> dict[str, torch.Tensor]:
    """The peer's tensors under the original's names, by our two mappings."""
    theirs.save_pretrained(folder)
    network = load_transformer(folder)
    state = theirs.state_dict()
    return {original_name(ours): state[spot.name] for ours, spot in wan_transformer.tensor_maps(network).items()}


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
    network = load_transformer(write_original(theirs, tmp_path))
    apart = peer_output(theirs, WAN21, GRID, SIGMAS) - our_output(network, sample(WAN21, GRID, SIGMAS), GRID)
    assert apart.abs().max() <= 2e-5


def test_exchanged_names_are_noticed(tmp_path, monkeypatch):
    """The comparison above can fail: with two names exchanged, the weights load all the same."""
    theirs = peer(WAN21)
    folder = write_original(theirs, tmp_path)
    names = wan_original.BLOCK_NAMES
    monkeypatch.setattr(wan_original, "BLOCK_NAMES", {**names, "query": names["key"], "key": names["query"]})
    network = load_transformer(folder)
    apart = peer_output(theirs, WAN21, GRID, SIGMAS) - our_output(network, sample(WAN21, GRID, SIGMAS), GRID)
    assert apart.abs().max() > 1e-3


@pytest.mark.parametrize("change", [{"model_type": "i2v"}, {"cross_attn_norm": False}, {"_class_name": "VaceWanModel"}])
def test_another_form_is_refused(tmp_path, change):
    folder = write_original(peer(WAN21), tmp_path)
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**tree, **change}))
    with pytest.raises(ModelError, match=r"can't be loaded|known here: .*WanModel"):
        load_transformer(folder)
