"""A training run's folder is a model from its first checkpoint on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import vitascope
from vitascope import cli
from vitascope.errors import ModelError
from vitascope.hub.find import find_model
from vitascope.hub.registry import load_codec

BUNDLED = Path(vitascope.__file__).parent / "models" / "playground"


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a transformer's run that has no checkpoint yet."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text("checkpoint_every = 250\n\n[transformer]\nnum_layers = 2\n")
    return folder


def test_a_run_is_its_newest_checkpoints_model(run):
    (run / "model").symlink_to(BUNDLED, target_is_directory=True)
    assert find_model(run) == find_model(str(run)) == run / "model"
    assert vitascope.load(run, weights=False).config.name == "playground"
    assert load_codec(find_model(run, part="vae"), weights=False).latent_channels == 64


def test_a_run_without_a_checkpoint_is_one_line(run, capsys):
    wanted = f"run {run} has no checkpoint yet; it writes the first after 250 steps"
    with pytest.raises(ModelError) as raised:
        find_model(run)
    assert str(raised.value) == wanted
    assert cli.main(["info", str(run)]) == 2
    assert capsys.readouterr().err == f"vitascope: error: {wanted}\n"


@pytest.mark.parametrize("network", ["codec", "judge"])
def test_a_run_of_another_network_is_refused(run, network):
    (run / "config.toml").write_text(f"checkpoint_every = 250\n[{network}]\n")
    with pytest.raises(ModelError, match=f"trains a {network}, not a whole model; name the run of a transformer"):
        find_model(run)


def test_a_codecs_run_gives_its_codec(run):
    (run / "config.toml").write_text("checkpoint_every = 100\n[codec]\n")
    with pytest.raises(ModelError, match="no checkpoint yet; it writes the first after 100 steps"):
        find_model(run, part="vae")
    shutil.copytree(BUNDLED / "vae", run / "vae")
    assert load_codec(find_model(run, part="vae")).latent_channels == 64


def test_a_damaged_config_is_one_line(run):
    (run / "config.toml").write_bytes(b"= \xff")
    with pytest.raises(ModelError, match=r"config\.toml is not readable TOML"):
        find_model(run)
