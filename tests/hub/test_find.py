"""A training run's folder is a model from its first checkpoint on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import vitascope
from vitascope import cli
from vitascope.errors import ModelError
from vitascope.hub.find import find_model
from vitascope.hub.registry import find_part, load_codec

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


def test_a_run_killed_before_it_wrote_a_model_is_one_line(run):
    """Between its first checkpoint and that checkpoint's model. Fails when the checkpoint is denied."""
    (run / "checkpoints" / "step_00000250").mkdir(parents=True)
    with pytest.raises(ModelError, match="stopped before it wrote the model of its checkpoint; run the training again"):
        find_model(run)


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
    with pytest.raises(ModelError, match=r"config\.toml is not a readable TOML file"):
        find_model(run)


@pytest.fixture
def no_network(monkeypatch) -> None:
    """Fails when the hub is asked."""

    def ask(*words: object, **options: object) -> None:
        raise AssertionError("the network was tried")

    monkeypatch.setattr("vitascope.hub.find.download", ask)


PATHS = {
    "a file": "owner/name",
    "a file with a suffix": "owner/model.safetensors",
    "a link to nothing": "owner/link",
    "a folder without a model": "owner/empty",
    "a folder with a slash": "owner/empty/",
    "a damaged folder": "owner/damaged",
    "a run of another network": "owner/run",
    "a home": "~/name",
    "no such user": "~nobody-here/name",
    "a Windows path": "C:\\models\\name",
    "a Windows path of words": "models\\name",
    "a path here": "./owner/missing",
    "a slash at the end": "owner/missing/",
    "two slashes": "owner//missing",
    "three parts": "a/b/c",
    "a long name": "owner/" + "n" * 500,
    "a very long name": "n" * 5000,
    "nothing": "",
    "a NUL": "owner/na\0me",
    "a surrogate": "owner/na\udcffme",
    "a line break": "owner/name\n",
}


@pytest.mark.parametrize("kind", PATHS)
def test_a_path_is_one_line_without_the_network(kind, tmp_path, monkeypatch, no_network, capsys) -> None:
    """Fails when an existing path, or a name of another form, is taken for a Hub id."""
    owner = tmp_path / "owner"
    for folder in ("empty", "damaged", "run"):
        (owner / folder).mkdir(parents=True)
    for file in ("name", "model.safetensors", "damaged/model_index.json"):
        (owner / file).write_text("{")
    (owner / "link").symlink_to("missing")
    (owner / "run" / "config.toml").write_text("[judge]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["info", PATHS[kind]]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith("vitascope: error: ")


def test_a_path_may_begin_at_home_and_end_with_a_slash(tmp_path, monkeypatch, no_network) -> None:
    (tmp_path / "model").symlink_to(BUNDLED, target_is_directory=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_model("~/model") == find_model(f"{tmp_path}/model/") == tmp_path / "model"


@pytest.mark.parametrize("part", ["vae", "text_encoder", "transformer"])
def test_a_part_is_found_by_a_bundled_name_a_model_a_run_or_its_own_folder(part, run, tmp_path) -> None:
    wanted = BUNDLED / part
    assert find_part("playground", part) == find_part(BUNDLED, part) == find_part(wanted, part) == wanted
    with pytest.raises(ModelError, match=f"has no {part}"):
        find_part(run, part)
    (run / "model").symlink_to(BUNDLED, target_is_directory=True)
    assert find_part(str(run), part) == run / "model" / part
    for missing in ("playgrund", tmp_path / "none", __file__):
        with pytest.raises(ModelError):
            find_part(missing, part)


def test_the_bundled_judge_is_a_part() -> None:
    assert (find_part("judge", "judge") / "config.json").is_file()
