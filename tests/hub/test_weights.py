"""A network's folder: what is saved comes back, what doesn't belong is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vitascope.codec.network import Codec, CodecConfig
from vitascope.errors import ConfigError, ModelError
from vitascope.files import sha256
from vitascope.hub.registry import load_codec
from vitascope.hub.weights import MANIFEST, WEIGHTS_FILE, content_digest, open_network, save_network, torch_dtype

CONFIG = CodecConfig(latent_channels=4, base_width=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a small codec."""
    save_network(Codec(CONFIG), CONFIG, tmp_path / "vae", torch.float32)
    return tmp_path / "vae"


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    (folder / MANIFEST).unlink(missing_ok=True)


@pytest.mark.parametrize(("dtype", "exact"), [(torch.float32, True), (torch.float16, False)])
def test_a_saved_network_comes_back(tmp_path, dtype, exact):
    network = Codec(CONFIG)
    save_network(network, CONFIG, tmp_path / "vae", dtype)
    again = load_codec(tmp_path / "vae")
    assert again.config == CONFIG
    for name, value in network.state_dict().items():
        loaded = again.state_dict()[name]
        assert loaded.dtype == torch.float32
        assert torch.equal(loaded, value if exact else value.half().float())


def test_the_folder_is_laid_out_as_diffusers_does(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", WEIGHTS_FILE, MANIFEST]
    tree = json.loads((folder / "config.json").read_text())
    assert tree["_class_name"] == "VitascopeCodec"
    assert tree["_sha256"] == sha256(folder / WEIGHTS_FILE)
    assert tree["latent_channels"] == 4


def test_a_changed_bit_is_noticed(folder):
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        load_codec(folder)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_tensors_that_do_not_fit_are_refused(folder, change):
    """Even with a right digest."""
    tensors = load_file(folder / WEIGHTS_FILE)
    name = next(iter(tensors))
    if change == "missing":
        del tensors[name]
    elif change == "extra":
        tensors["other"] = torch.zeros(1)
    else:
        tensors[name] = torch.zeros(7)
    save_file(tensors, folder / WEIGHTS_FILE)
    change_config(folder, _sha256=sha256(folder / WEIGHTS_FILE))
    said = {"missing": "no tensor", "extra": "tensor other is unknown", "shape": r"has shape \(7,\)"}[change]
    with pytest.raises(ModelError, match=said):
        load_codec(folder)


def test_missing_files_are_named(folder, tmp_path):
    (folder / MANIFEST).unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_codec(tmp_path / "nowhere")
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_codec(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "\udcff"])
def test_a_config_that_is_no_json_object_is_refused(folder, text):
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    (folder / MANIFEST).unlink()
    with pytest.raises(ModelError, match=r"config\.json"):
        load_codec(folder)


def test_another_class_or_an_unknown_key_is_refused(folder):
    with pytest.raises(ModelError, match="not VitascopeTransformer"):
        open_network(folder, "Transformer", CodecConfig, Codec)
    change_config(folder, dropuot=0.1)
    with pytest.raises(ConfigError, match="dropuot"):
        load_codec(folder)


def test_what_weights_are_held_in():
    assert torch_dtype("bfloat16") == torch.bfloat16
    with pytest.raises(ModelError, match="'half' of weights: give one of float32, bfloat16"):
        torch_dtype("half")


def test_caches_are_named_after_all_that_a_folder_holds(tmp_path):
    """Latents of two codecs whose configs are equal must not share a cache."""
    digests = set()
    for name, content in (
        ("config.json", "{}"),
        ("a.safetensors", "1"),
        ("a.safetensors", "2"),
        ("b.safetensors", "2"),
    ):
        (tmp_path / name).write_text(content)
        digests.add(content_digest(tmp_path))
    (tmp_path / "README.md").write_text("no part of the network")
    assert len(digests) == 4
    assert content_digest(tmp_path) in digests
