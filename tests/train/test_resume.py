"""A run that is interrupted and started again is the run that was never interrupted, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.conftest import CODEC_CONFIG
from vitascope import cli
from vitascope.config import load_config
from vitascope.errors import ConfigError
from vitascope.hub.find import find_model
from vitascope.hub.registry import load_codec
from vitascope.train import codec, transformer
from vitascope.train.codec import CodecTrainConfig
from vitascope.train.loop import Trainer
from vitascope.train.run import read_checkpoint
from vitascope.video import read_video

ROOT = Path(__file__).parents[2]
CLOCKS = {"seconds", "tokens/s", "GFLOP/s", "data wait"}

# kills its process in the middle of writing the second checkpoint
KILLED = """
import os, signal, sys
from vitascope.train import codec, run

def dying(folder, original=run.write_manifest, calls=[]):
    calls.append(folder)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(folder)

run.write_manifest = dying
codec.train(sys.argv[1], sys.argv[2])
"""


def interrupt_in_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Ctrl-C in a step (counted from 0), once."""
    original: Callable[..., Any] = Trainer.step

    def step(self: Any, step: int) -> Any:
        if step == number:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return original(self, step)

    monkeypatch.setattr(Trainer, "step", step)


def metrics(run: Path) -> list[dict[str, float]]:
    """A run's records without what a clock measured. JSON keeps every bit of a float."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in record.items() if key not in CLOCKS} for record in records]


def assert_same_run(a: Path, b: Path, last_step: int, weights: str) -> None:
    """Equal metrics, equal last checkpoints to the last bit, equal weights that came out."""
    assert metrics(a) == metrics(b)
    first, second = (read_checkpoint(run / "checkpoints" / f"step_{last_step:08d}") for run in (a, b))
    assert first.state == second.state
    assert {"model", "ema", "optimizer_0", "optimizer_1"} <= set(first.tensors) == set(second.tensors)
    for group, tensors in first.tensors.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, second.tensors[group][name]), f"{group} {name}"
    assert (a / weights).read_bytes() == (b / weights).read_bytes()


CODEC_WEIGHTS = "vae/diffusion_pytorch_model.safetensors"
TRANSFORMER_WEIGHTS = "model/transformer/diffusion_pytorch_model.safetensors"


def test_a_stopped_run_of_a_codec_is_a_codec(codec_config, tmp_path, monkeypatch, capsys):
    """From the checkpoint after three steps; `evaluate codec` takes the run's folder too."""
    run, data = tmp_path / "run", Path(load_config(codec_config, CodecTrainConfig).data)
    interrupt_in_step(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        codec.train(codec_config, run)
    assert load_codec(find_model(run, part="vae")).latent_channels == 4
    assert (
        cli.main(["evaluate", "codec", "--model", str(run), str(data / "clips" / "000000.mp4"), "--device", "cpu"]) == 0
    )
    assert "PSNR" in capsys.readouterr().out


def test_a_running_and_a_stopped_run_of_a_transformer_are_models(transformer_config, tmp_path, monkeypatch):
    """Generated from in the middle of step 5, and after its interruption."""
    run = tmp_path / "run"
    original = Trainer.step

    def step(trainer: Trainer, number: int) -> object:
        if number == 4:
            assert cli.main(["generate", "a red square", "--model", str(run), "-o", str(tmp_path / "running.mp4")]) == 0
            raise KeyboardInterrupt
        return original(trainer, number)

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(KeyboardInterrupt):
        transformer.train(transformer_config, run)
    assert cli.main(["generate", "a red square", "--model", str(run), "-o", str(tmp_path / "stopped.mp4")]) == 0
    assert cli.main(["info", str(run)]) == 0
    running, stopped = (read_video(tmp_path / f"{name}.mp4").frames for name in ("running", "stopped"))
    assert (running == stopped).all()


@pytest.mark.parametrize(
    "overrides",
    [["accumulate=2"], ["loss.adversarial=0.1", "loss.adversarial_from=0.2", "codec.linear_path=true"]],
)
def test_an_interrupted_codec_run_goes_on_bit_for_bit(codec_config, tmp_path, monkeypatch, overrides):
    """Fails if an optimizer's state, an average or a generator is not part of what is restored."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    codec.train(codec_config, whole, overrides)
    interrupt_in_step(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        codec.train(codec_config, parted, overrides)
    assert metrics(parted)[-1]["step"] == 5  # logged, but after the checkpoint: it is forgotten and logged again
    codec.train(codec_config, parted, overrides)
    assert_same_run(whole, parted, 6, CODEC_WEIGHTS)


def test_an_interrupted_transformer_run_goes_on_bit_for_bit_in_the_next_epoch(
    transformer_config, tmp_path, monkeypatch
):
    """Fails if the loader's epoch or its position is not restored."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    transformer.train(transformer_config, whole)
    interrupt_in_step(monkeypatch, 7)
    with pytest.raises(KeyboardInterrupt):
        transformer.train(transformer_config, parted)
    assert read_checkpoint(parted / "checkpoints" / "step_00000006").state["loader"]["epoch"] == 1
    transformer.train(transformer_config, parted)
    assert_same_run(whole, parted, 8, TRANSFORMER_WEIGHTS)


@pytest.fixture(scope="module")
def whole_codec_run(drawn_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `codec_config`, uninterrupted."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "codec.toml").write_text(CODEC_CONFIG.format(data=drawn_dataset), encoding="utf-8")
    codec.train(folder / "codec.toml", folder / "run")
    return folder / "run"


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows")
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_bit_for_bit(codec_config, whole_codec_run, tmp_path):
    killed = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(codec_config), str(killed)]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "l1": 0.1')  # as a killed process leaves its last line
    assert [path.name for path in (killed / "checkpoints").glob("step_*")] == ["step_00000003"]
    assert len(list((killed / "checkpoints").iterdir())) == 2  # a leftover
    codec.train(codec_config, killed)
    assert not list(killed.rglob(".*"))  # neither leftovers nor a lock
    assert_same_run(whole_codec_run, killed, 6, CODEC_WEIGHTS)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(codec_config, whole_codec_run, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(whole_codec_run, damaged)
    weights = damaged / "checkpoints" / "step_00000006" / "ema.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    codec.train(codec_config, damaged)
    assert "skipping" in capsys.readouterr().err
    assert_same_run(whole_codec_run, damaged, 6, CODEC_WEIGHTS)


def test_a_finished_run_started_again_only_writes_its_result(codec_config, whole_codec_run, tmp_path):
    shutil.copytree(whole_codec_run, tmp_path / "run")
    before = metrics(tmp_path / "run")
    (tmp_path / "run" / CODEC_WEIGHTS).unlink()
    codec.train(codec_config, tmp_path / "run")
    assert metrics(tmp_path / "run") == before
    assert (tmp_path / "run" / CODEC_WEIGHTS).exists()


def test_another_config_does_not_get_into_the_same_folder(codec_config, tmp_path):
    codec.train(codec_config, tmp_path / "run", ["steps=1"])
    with pytest.raises(ConfigError, match="differs from the config given") as caught:
        codec.train(codec_config, tmp_path / "run", ["steps=2"])
    assert "\n" not in str(caught.value)
