"""A run's folder: what it holds, what it refuses, when it reports; and the schedules of a run."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from vitascope.config import load_config
from vitascope.errors import ConfigError, ModelError
from vitascope.train.run import (
    Checkpoint,
    Compute,
    Run,
    RunConfig,
    read_checkpoint,
    seeded,
    step_generator,
    update_ema,
)


def config(**changes: object) -> RunConfig:
    return RunConfig.model_validate({"data": "clips", "steps": 10, **changes})


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"model": {"w": torch.full((3,), float(step))}}, {"loader": {"epoch": 2}})


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    path = Run(tmp_path, config()).save(checkpoint(7))
    found = read_checkpoint(path)
    assert (found.step, found.state) == (7, {"loader": {"epoch": 2}})
    assert torch.equal(found.tensors["model"]["w"], torch.full((3,), 7.0))


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path, name, damage):
    path = Run(tmp_path, config()).save(checkpoint(7))
    damage(path / name)
    with pytest.raises(ModelError):
        read_checkpoint(path)


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    run = Run(tmp_path, config())
    for step in (1, 2, 10):
        run.save(checkpoint(step))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000002", "step_00000010"]
    newest = run.resume()
    assert newest is not None
    assert newest.step == 10


@pytest.mark.parametrize("stray", ["step_00000020", "step_99999999", "step_99", "step_0000000012", "step_x", "step_"])
def test_a_stray_or_damaged_checkpoint_never_costs_a_good_one(tmp_path, stray, capsys):
    """Fails when checkpoints are purged by name: what sorts last stays, and the good ones go."""
    folder = tmp_path / "checkpoints"
    for name in (stray, f"{stray}.copy"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").write_bytes(b"damaged")
    run = Run(tmp_path, config())
    assert run.resume() is None
    for step in (4, 6, 10):
        run.save(checkpoint(step), keep=1)
        newest = run.resume()
        assert newest is not None
        assert newest.step == step
    assert {path.name for path in folder.iterdir()} == {"step_00000010", stray, f"{stray}.copy"}


def test_a_damaged_checkpoint_does_not_count_as_kept(tmp_path):
    run = Run(tmp_path, config())
    for step in (2, 4):
        run.save(checkpoint(step))
    (tmp_path / "checkpoints" / "step_00000004" / "state.json").write_text("{}")
    Run(tmp_path, config()).save(checkpoint(6))
    newest = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert newest == ["step_00000002", "step_00000004", "step_00000006"]
    Run(tmp_path, config()).save(checkpoint(8))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000006", "step_00000008"]


def test_a_checkpoint_under_another_steps_name_is_refused(tmp_path):
    path = Run(tmp_path, config()).save(checkpoint(3))
    path.rename(path.with_name("step_00000009"))
    with pytest.raises(ModelError, match="it holds step 3"):
        read_checkpoint(path.with_name("step_00000009"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_checkpoint_that_is_not_finite_is_not_written(tmp_path, bad):
    """Fails when weights or optimizer state are saved unseen."""
    run = Run(tmp_path, config())
    run.save(checkpoint(2))
    for group in ("model", "ema", "optimizer_0"):
        tensors = {"model": {"w": torch.zeros(3)}, group: {"w": torch.tensor([0.0, bad])}}
        with pytest.raises(FloatingPointError, match=rf"step 4: 1 of the 2 values of {group}\.w are not finite"):
            run.save(Checkpoint(4, tensors, {}))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000002"]


def test_what_was_logged_after_the_checkpoint_is_forgotten(tmp_path):
    run = Run(tmp_path, config())
    run.save(checkpoint(2))
    for step in (1, 2, 3):
        run.log({"step": step, "loss": 1 / step})
    run.resume()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert records == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]


def test_the_folder_tells_its_config(tmp_path):
    Run(tmp_path, config(warmup=3))
    assert load_config(tmp_path / "config.toml", RunConfig) == config(warmup=3)


def test_the_learning_rate_climbs_stays_and_falls():
    rates = [config(learning_rate=0.5, warmup=2, decay_share=0.4).rate(step) for step in range(10)]
    assert rates[:7] == pytest.approx([0.25, *[0.5] * 6])
    assert rates[7:] == pytest.approx([0.5 * (0.02 + 0.98 * left / 4) for left in (3, 2, 1)])


def test_a_step_draws_what_its_number_says():
    draws = [torch.rand(3, generator=step_generator(seed, step)).tolist() for seed, step in ((1, 5), (1, 5), (1, 6))]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] != torch.rand(3, generator=step_generator(2, 5)).tolist()


def test_the_average_moves_by_its_weight():
    """Early on it is the mean of few steps (1 + step) / (10 + step), later `decay` rules."""
    ema, model = nn.Linear(1, 1), nn.Linear(1, 1)
    for step, kept in ((0, 0.1), (1000, 0.9)):
        nn.init.zeros_(ema.weight)
        nn.init.ones_(model.weight)
        update_ema(ema, model, 0.9, step)
        assert ema.weight.item() == pytest.approx(1 - kept)


def test_a_run_may_continue_on_another_device_and_not_with_other_settings(tmp_path):
    """Fails when every setting is compared, or none."""
    Run(tmp_path, config(device="cpu"))
    Run(tmp_path, config(device="auto"))
    with pytest.raises(ConfigError, match="differs from the config given"):
        Run(tmp_path, config(device="cpu", precision="bfloat16"))


def test_auto_is_float32_on_a_cpu_and_bfloat16_elsewhere(monkeypatch):
    """Fails when a CPU run depends on the processor: float32 is what makes runs equal everywhere."""
    assert Compute.of(config(device="cpu")) == Compute(torch.device("cpu"), "float32")
    assert Compute.of(config(device="cpu", precision="bfloat16")).dtype == torch.bfloat16
    monkeypatch.setattr("vitascope.train.run.resolve_device", lambda name: torch.device("cuda"))
    assert Compute.of(config()).precision == "bfloat16"
    assert Compute.of(config(precision="float32")).precision == "float32"


def test_seeded_layers_leave_the_default_generator_alone():
    """Fails with torch.manual_seed, which every later draw without a generator would see."""
    before = torch.get_rng_state()
    with seeded(3):
        first = nn.Linear(4, 4).weight
    with seeded(3):
        second = nn.Linear(4, 4).weight
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
