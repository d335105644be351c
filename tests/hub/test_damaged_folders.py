"""Errors of damaged downloads: one line that names the file and the cure.

The folders are written by our own export, so these tests need no other project.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import vitascope
from vitascope.errors import ModelError
from vitascope.hub.registry import load_codec, load_text_encoder, load_transformer
from vitascope.hub.wan.transformer import save_wan_transformer
from vitascope.hub.weights import MANIFEST, SHARD_INDEX
from vitascope.hub.weights import WEIGHTS_FILE as WEIGHTS
from vitascope.model.transformer import Transformer, TransformerConfig

INDEX = SHARD_INDEX.format(WEIGHTS)
BUNDLED = Path(vitascope.__file__).parent / "models" / "playground"
CONFIG = TransformerConfig(
    in_channels=4, out_channels=4, num_layers=2, num_heads=2, head_dim=8, ffn_width=24, text_width=12,
    frequency_width=16, prediction="velocity",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "transformer"
    save_wan_transformer(Transformer(CONFIG, torch.Generator().manual_seed(0)), path)
    (path / MANIFEST).unlink()  # as other projects' folders are; tests/hub/test_manifest.py tests ours
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


FLOAT = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def hostile_file(path: Path, header: object, data: bytes = b"", size: int | None = None) -> None:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content) if size is None else size) + content + data)


HOSTILE = {
    "larger than memory": lambda path: (
        hostile_file(path, {"a": {"dtype": "U8", "shape": [1 << 43], "data_offsets": [0, 1 << 43]}}),
        os.truncate(path, path.stat().st_size + (1 << 43)),
    ),
    "a header of 10^18 bytes": lambda path: hostile_file(path, b"{}", size=10**18),
    "a header larger than the file": lambda path: hostile_file(path, b"{}", size=4096),
    "a deep header": lambda path: hostile_file(path, b"[" * 100_000),
    "a header of text": lambda path: hostile_file(path, b'"text"'),
    "overlapping tensors": lambda path: hostile_file(path, {"a": FLOAT, "b": FLOAT}, b"1234"),
    "a gap": lambda path: hostile_file(path, {"a": FLOAT}, b"12345678"),
    "one name twice": lambda path: hostile_file(
        path, b'{"a": %s, "a": %s}' % ((json.dumps(FLOAT).encode(),) * 2), b"1234"
    ),
    "an unknown dtype": lambda path: hostile_file(path, {"a": {**FLOAT, "dtype": "Q9"}}, b"1234"),
    "a huge shape": lambda path: hostile_file(path, {"a": {**FLOAT, "shape": [2**40, 2**40]}}, b"1234"),
    "a negative shape": lambda path: hostile_file(path, {"a": {**FLOAT, "shape": [-1]}}, b"1234"),
    "a shape of text": lambda path: hostile_file(path, {"a": {**FLOAT, "shape": ["x"]}}, b"1234"),
    "no header": lambda path: path.write_bytes(b""),
    "seven bytes": lambda path: path.write_bytes(b"\2\0\0\0\0\0\0"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_safetensors_file_is_one_line(folder, kind):
    """Fails when an error of mapping or parsing gets out, such as the RuntimeError of a file larger than memory."""
    HOSTILE[kind](folder / WEIGHTS)
    assert str(folder) in complaint(folder)


def test_a_hostile_file_of_the_text_encoder_is_one_line(tmp_path):
    for name in ("config.json", "tokenizer.json"):
        source = BUNDLED / ("text_encoder" if name == "config.json" else "tokenizer") / name
        (tmp_path / name).symlink_to(source)
    for hostile in HOSTILE.values():
        hostile(tmp_path / "model.safetensors")
        assert str(tmp_path) in complaint(tmp_path, load_text_encoder)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floats_are_refused(folder, dtype):
    tensors = load_file(folder / WEIGHTS)
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, folder / WEIGHTS)
    assert "save the weights as floats" in complaint(folder)


@pytest.mark.parametrize(
    ("index", "shard_name"),
    [
        (None, "diffusion_pytorch_model.fp16.safetensors"),
        (None, "diffusion_pytorch_model.bf16.safetensors"),
        (
            "diffusion_pytorch_model.safetensors.index.fp16.json",
            "diffusion_pytorch_model.fp16-0000{}-of-00002.safetensors",
        ),
        (
            "diffusion_pytorch_model.fp16.safetensors.index.json",
            "diffusion_pytorch_model-0000{}-of-00002.fp16.safetensors",
        ),
    ],
)
def test_a_variant_of_lower_precision_loads(folder, index, shard_name):
    """Fails with "download the folder again" when only the plain name is known."""
    expected = {name: tensor.half().float() for name, tensor in load_transformer(folder).state_dict().items()}
    tensors = {name: tensor.half() for name, tensor in load_file(folder / WEIGHTS).items()}
    (folder / WEIGHTS).unlink()
    if index is None:
        save_file(tensors, folder / shard_name)
    else:
        weight_map = {name: shard_name.format(1 + k % 2) for k, name in enumerate(sorted(tensors))}
        for file in set(weight_map.values()):
            save_file({name: tensors[name] for name, holder in weight_map.items() if holder == file}, folder / file)
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    loaded = load_transformer(folder).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_the_file_of_full_precision_wins(folder):
    (folder / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"never read")
    load_transformer(folder)


def test_weights_of_another_name_are_named(folder):
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.ema.safetensors")
    assert "rename diffusion_pytorch_model.ema.safetensors" in complaint(folder)


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "pytorch_model.bin"])
def test_a_text_encoder_of_another_name_says_what_to_do(tmp_path, name):
    for part, file in (("text_encoder", "config.json"), ("tokenizer", "tokenizer.json")):
        (tmp_path / file).symlink_to(BUNDLED / part / file)
    (tmp_path / name).write_bytes(b"never read")
    assert f"rename {name}" in complaint(tmp_path, load_text_encoder)
