"""Errors of damaged downloads: one line that names the file and the cure.

The folders are written by our own export, so these tests need no other project.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vitascope.errors import ModelError
from vitascope.hub.registry import load_codec, load_transformer
from vitascope.hub.wan.transformer import save_wan_transformer
from vitascope.hub.weights import SHARD_INDEX
from vitascope.hub.weights import WEIGHTS_FILE as WEIGHTS
from vitascope.model.transformer import Transformer, TransformerConfig

INDEX = SHARD_INDEX.format(WEIGHTS)
CONFIG = TransformerConfig(
    in_channels=4, out_channels=4, num_layers=2, num_heads=2, head_dim=8, ffn_width=24, text_width=12,
    frequency_width=16, prediction="velocity",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "transformer"
    save_wan_transformer(Transformer(CONFIG, torch.Generator().manual_seed(0)), path)
    return path


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def shard(folder: Path) -> list[Path]:
    """Split the weights in two, as large models come."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    weight_map = {name: file for file, held in parts.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / WEIGHTS).unlink()
    return [folder / file for file in parts]


def complaint(folder: Path, load=load_transformer) -> str:
    with pytest.raises(ModelError) as raised:
        load(folder)
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_a_round_trip_keeps_every_number_and_the_config(folder):
    network = load_transformer(folder)
    assert network.config == CONFIG
    for name, tensor in Transformer(CONFIG, torch.Generator().manual_seed(0)).state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


def test_shards_are_one_model(folder):
    whole = load_transformer(folder).state_dict()
    shard(folder)
    parts = load_transformer(folder).state_dict()
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_changing_a_loaded_network_leaves_its_file_alone(folder):
    """Fails when the mapped file is shared instead of copied on write."""
    before = (folder / WEIGHTS).read_bytes()
    network = load_transformer(folder)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert (folder / WEIGHTS).read_bytes() == before


def test_missing_shard(folder):
    shard(folder)[1].unlink()
    assert "missing shard" in complaint(folder)
    assert "b.safetensors" in complaint(folder)
    assert "download" in complaint(folder)


def test_an_index_that_leaves_its_folder_is_refused(folder):
    outside = folder.parent / "a.safetensors"
    shard(folder)[0].rename(outside)
    weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
    moved = {name: f"../{file}" if file.startswith("a") else file for name, file in weight_map.items()}
    edit_json(folder / INDEX, weight_map=moved)
    assert "must be a .safetensors file in that folder" in complaint(folder)


def test_a_shard_that_lacks_what_the_index_promises(folder):
    shards = shard(folder)
    tensors = load_file(shards[0])
    lost = tensors.popitem()[0]
    save_file(tensors, shards[0])
    assert lost in complaint(folder)
    assert "a.safetensors" in complaint(folder)


def test_a_damaged_file(folder):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    assert str(path) in complaint(folder)
    assert "download it again" in complaint(folder)


def test_wrong_shape(folder):
    edit_json(folder / "config.json", ffn_dim=32)
    message = complaint(folder)
    assert "ffn.net.0.proj" in message
    assert "has shape (24," in message
    assert "calls for (32," in message


@pytest.mark.parametrize(("layers", "part"), [(3, "no tensor blocks.2."), (1, "blocks.1.")])
def test_a_tensor_too_few_or_too_many(folder, layers, part):
    edit_json(folder / "config.json", num_layers=layers)
    assert part in complaint(folder)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.pt"])
def test_only_a_pickle(folder, name):
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(b"never read")
    message = complaint(folder)
    assert name in message
    assert "safetensors" in message


def test_no_weights_at_all(folder):
    (folder / WEIGHTS).unlink()
    assert f"no weights {folder / WEIGHTS}" in complaint(folder)


def test_another_class(folder):
    edit_json(folder / "config.json", _class_name="FluxTransformer2DModel")
    message = complaint(folder)
    assert "FluxTransformer2DModel" in message
    assert "known here: VitascopeTransformer, WanTransformer3DModel, WanModel" in message
    assert "AutoencoderKLWan" in complaint(folder, load_codec)


@pytest.mark.parametrize("change", [{"image_dim": 1280}, {"added_kv_proj_dim": 16}, {"attention_head_dim": 7}])
def test_a_form_that_our_network_lacks(folder, change):
    edit_json(folder / "config.json", **change)
    message = complaint(folder)
    assert "can't be loaded" in message
    assert next(iter(change)) in message or "head_dim" in message


def test_a_codec_without_statistics(folder):
    (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKLWan"}))
    assert "latents_mean" in complaint(folder, load_codec)


def test_no_config(folder):
    (folder / "config.json").unlink()
    assert "config.json is missing" in complaint(folder)
    (folder / "config.json").write_text("{")
    assert "not readable JSON" in complaint(folder)
