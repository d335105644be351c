"""`vitascope train`: what it passes on and prints."""

from __future__ import annotations

import errno
import os
import sys
import types
from pathlib import Path

import pytest

from vitascope import cli

MODULES = {
    "codec": "vitascope.train.codec",
    "transformer": "vitascope.train.transformer",
    "judge": "vitascope.judge.train",
}


@pytest.mark.parametrize("network", MODULES)
def test_train_passes_config_run_and_overrides_on(
    network: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails when a network's trainer is another one's, or an option is lost."""
    calls: list[tuple[object, ...]] = []
    module = types.ModuleType("train")

    def train(config: Path, run: Path, overrides: list[str]) -> Path:
        calls.append((config, run, overrides))
        return run / "model"

    vars(module)["train"] = train
    monkeypatch.setitem(sys.modules, MODULES[network], module)
    assert cli.main(["train", network, "configs/small.toml", "steps=3", "optimizer.lr=1e-4"]) == 0
    assert cli.main(["train", network, "configs/small.toml", "--out", "here", "--device", "cuda:1"]) == 0
    config = Path("configs/small.toml")
    run = Path("runs/small")
    assert calls == [(config, run, ["steps=3", "optimizer.lr=1e-4"]), (config, Path("here"), ["device=cuda:1"])]
    assert capsys.readouterr().out == f"{run / 'model'}\n{Path('here', 'model')}\n"


def test_bundled_configs_are_listed_in_help_and_in_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when configs aren't part of the package, or when help and files differ."""
    from vitascope.cli.train import CODEC_CONFIGS, JUDGE_CONFIGS, TRANSFORMER_CONFIGS
    from vitascope.config import bundled_configs

    listed = {"codec": CODEC_CONFIGS, "transformer": TRANSFORMER_CONFIGS, "judge": JUDGE_CONFIGS}
    assert sorted(name for names in listed.values() for name in names) == sorted(bundled_configs())
    monkeypatch.chdir(tmp_path)
    for network, names in listed.items():
        assert cli.main(["train", network, "-h"]) == 0
        shown = "".join(capsys.readouterr().out.split())
        assert all(name in shown for name in names)
        assert cli.main(["train", network, names[0], f"data={tmp_path}/none"]) == 2
        assert f"{tmp_path}/none" in capsys.readouterr().err
        assert cli.main(["train", network, "none"]) == 2
        refused = capsys.readouterr().err
        assert all(name in refused for name in names)


@pytest.mark.parametrize("name", ["tiny-transformer", "playground-transformer"])
def test_bundled_names_stand_for_folders_of_networks(name: str) -> None:
    """Fails when a config names a folder of the checkout."""
    from vitascope.config import find_config, load_config
    from vitascope.hub.registry import find_part
    from vitascope.train.transformer_config import TransformerTrainConfig

    config = load_config(name, TransformerTrainConfig, ["vae=playground", "init=playground"])
    assert find_config(name).is_file()
    for given, part in ((config.vae, "vae"), (config.text_encoder, "text_encoder"), (config.init, "transformer")):
        assert (find_part(given, part) / "config.json").is_file()


def test_a_device_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails when the device is checked only after reading the data or creating the run's folder."""
    (tmp_path / "clips").mkdir()
    config = tmp_path / "codec.toml"
    config.write_text(f'data = "{tmp_path}"\n', encoding="utf-8")
    assert cli.main(["train", "codec", str(config), "--out", str(tmp_path / "run"), "--device", "tpu"]) == 2
    captured = capsys.readouterr().err
    assert captured == "vitascope: error: device 'tpu': give auto, cpu, cuda, cuda:N or mps\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_is_one_line_with_the_cure(number, monkeypatch, capsys):
    """Fails when the line names no file, or not what to do."""
    module = types.ModuleType("train")

    def train(config: Path, run: Path, overrides: list[str]) -> Path:
        raise OSError(number, os.strerror(number), "runs/a/checkpoints")

    vars(module)["train"] = train
    monkeypatch.setitem(sys.modules, MODULES["codec"], module)
    assert cli.main(["train", "codec", "configs/small.toml"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "'runs/a/checkpoints'" in line
    assert line.endswith("; free some space, then run the same command again")
