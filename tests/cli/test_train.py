"""`vitascope train`: what it passes on and prints."""

from __future__ import annotations

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


def test_a_device_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails when the device is checked only after reading the data or creating the run's folder."""
    (tmp_path / "clips").mkdir()
    config = tmp_path / "codec.toml"
    config.write_text(f'data = "{tmp_path}"\n', encoding="utf-8")
    assert cli.main(["train", "codec", str(config), "--out", str(tmp_path / "run"), "--device", "tpu"]) == 2
    captured = capsys.readouterr().err
    assert captured == "vitascope: error: device 'tpu': give auto, cpu, cuda, cuda:N or mps\n"
    assert not (tmp_path / "run").exists()
