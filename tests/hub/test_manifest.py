"""Manifests: damage in any file of a folder that we wrote is refused, and an owner's change can be accepted."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

import vitascope
from benchmarks.robustness import bitflips, interrupts
from benchmarks.robustness.small import make_codec
from vitascope.codec.network import Codec, CodecConfig
from vitascope.errors import ModelError
from vitascope.hub.registry import load_codec, load_model
from vitascope.hub.weights import MANIFEST, check_manifest, save_network

BUNDLED = Path(vitascope.__file__).parent / "models"


def test_a_damaged_bit_in_any_file_is_refused_or_harmless(tmp_path):
    """A model, a checkpoint and caches. Fails when a file is left out of the manifest, or a cache has no digest."""
    model, checkpoint, *caches = bitflips.make_targets(tmp_path)
    trials = {model: 14, checkpoint: 3, **dict.fromkeys(caches, 3)}  # each file of the model once
    draw = random.Random(0)
    assert [failure for target, num in trials.items() for failure in bitflips.run_target(target, num, draw)] == []


def test_a_save_interrupted_at_any_moment_leaves_the_old_or_the_new_version(tmp_path):
    """Fails without a sync before a rename, or when the old version goes first."""
    saves = interrupts.make_saves(tmp_path / "sources")
    for save in saves[:3]:
        for exchanges in (True, False):
            assert interrupts.run(save, tmp_path / f"{save.name}-{exchanges}", exchanges=exchanges) == []
    assert interrupts.run(saves[3], tmp_path / "export") == []


@pytest.mark.parametrize("file", sorted(path.relative_to(BUNDLED) for path in BUNDLED.rglob("*.json")), ids=str)
def test_every_folder_that_ships_has_a_manifest(file):
    assert file.name in {*check_manifest((BUNDLED / file).parent), MANIFEST}


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_codec(tmp_path)


def test_an_edited_config_says_how_to_accept_it(folder):
    path = folder / "config.json"
    tree = json.loads(path.read_text())
    path.write_text(json.dumps({**tree, "latent_std": [2.0] * 4}))
    with pytest.raises(
        ModelError, match=f"config.json is damaged: .*if you changed it yourself, delete {folder / MANIFEST}"
    ):
        load_codec(folder)
    (folder / MANIFEST).unlink()
    assert load_codec(folder).config.latent_std == (2.0,) * 4


def test_a_file_that_no_manifest_lists_is_refused_and_text_is_free(folder):
    (folder / "README.md").write_text("mine")
    load_codec(folder)
    (folder / "other.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"other\.safetensors is not listed"):
        load_codec(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a/../config.json": "00"}', '{"config.json": 1}'])
def test_a_damaged_manifest_is_refused(folder, text):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ModelError, match="manifest"):
        load_codec(folder)


def test_without_weights_they_need_not_be_there(folder):
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    load_codec(folder, weights=False)
    with pytest.raises(ModelError, match="no weights"):
        load_codec(folder)


def test_every_part_of_a_model_is_checked(tmp_path):
    """Fails when a text encoder or tokenizer is read unchecked."""
    model = tmp_path / "model"
    shutil.copytree(BUNDLED / "playground", model)
    for part in ("", "vae", "transformer", "text_encoder", "tokenizer"):
        path = next(path for path in sorted((model / part).glob("*.json")) if path.name != MANIFEST)
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        with pytest.raises(ModelError, match=f"{path.name} is damaged"):
            load_model(model, weights=False)
        path.write_bytes(content)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_are_not_finite_in_their_format_are_not_written(tmp_path, value):
    """1e6 is infinite in float16."""
    config = CodecConfig(latent_channels=4, base_width=8)
    codec = Codec(config)
    save_network(codec, config, tmp_path / "vae")
    before = load_codec(tmp_path / "vae").state_dict()["to_moments.bias"]
    codec.to_moments.bias.data[0] = value
    with pytest.raises(FloatingPointError, match=r"vae is not written: 1 of the 8 values of to_moments\.bias"):
        save_network(codec, config, tmp_path / "vae")
    assert torch.equal(load_codec(tmp_path / "vae").state_dict()["to_moments.bias"], before)
