"""The trainer, on a task of two layers: accumulation, guards, averages, reports and checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitascope.errors import FolderInUseError, ModelError
from vitascope.train.events import open_events
from vitascope.train.loop import Loss, StatusLine, Trainer
from vitascope.train.run import Compute, RunConfig, seeded, step_generator


def config(**changes: object) -> RunConfig:
    return RunConfig.model_validate({"data": "clips", "steps": 10, "warmup": 1, **changes})


@dataclass(frozen=True)
class Rows:
    """Rows of numbers, as a batch."""

    x: Tensor
    ids: tuple[str, ...] = ("a",)


class LineTask:
    """Learns that the output is the sum of the input; the batches are as large as the config's `num_validation`."""

    name, clips, validation = "line", (), ()

    def __init__(self, config: RunConfig, adversary: nn.Module | None = None):
        self.config, self.compute, self.adversary = config, Compute.of(config), adversary
        with seeded(config.seed):
            self.model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
        self.networks: dict[str, nn.Module] = {"model": self.model}
        self.exported: list[int] = []
        self.pictures: list[Path] = []

    def is_hidden(self, name: str) -> bool:
        return name.startswith("model.0.")

    def prepare(self) -> None: ...

    def start(self) -> None: ...

    def batch(self, generator: torch.Generator) -> Rows:
        return Rows(torch.randn(self.config.num_validation, 4, generator=generator))

    def loss(self, batch: Rows, step: int, generator: torch.Generator) -> Loss:
        output = self.model(batch.x)
        error = (output - batch.x.sum(1, keepdim=True)).square().mean()
        adversary = None if self.adversary is None else self.adversary(output.detach()).square().mean()
        return Loss(error, lambda: {"error": error.item()}, weight=len(batch.x), adversary=adversary)

    def validate(self, ema: nn.Module, picture: Path) -> dict[str, float]:
        self.pictures.append(picture)
        return {"score": 1.0}

    def export(self, ema: nn.Module, run: Path, step: int) -> Path:
        self.exported.append(step)
        return run / "line"

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Any) -> None: ...


def rows(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, 4, generator=torch.Generator().manual_seed(seed))


def update(trainer: Trainer, step: int, batches: Sequence[Rows]) -> dict[str, float]:
    return trainer.update(step, [(batch, step_generator(0, step)) for batch in batches])()


@pytest.mark.parametrize("sizes", [(4, 4), (2, 6), (5, 1, 2)])
def test_accumulated_batches_equal_one_of_all_rows(sizes):
    """Fails when losses are summed, or batches of unequal weight count alike."""
    adversary = nn.Linear(1, 1)
    nn.init.ones_(adversary.weight)
    whole, parts = (Trainer(LineTask(config(), nn.Linear(1, 1))) for _ in range(2))
    for trainer in (whole, parts):
        trainer.task.adversary.load_state_dict(adversary.state_dict())
    for step in range(5):
        x = rows(sum(sizes), seed=step)
        expected = update(whole, step, [Rows(x)])
        found = update(parts, step, [Rows(part) for part in x.split(list(sizes))])
        assert found["gradient"] == pytest.approx(expected["gradient"], rel=1e-5)
    for a, b in ((whole.model, parts.model), (whole.task.adversary, parts.task.adversary), (whole.ema, parts.ema)):
        for one, other in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert not torch.equal(whole.task.adversary.weight, adversary.weight)


def test_an_accumulated_step_draws_as_many_batches_as_the_config_says(tmp_path):
    """Fails when the batches of a step are equal, or those of two steps overlap."""
    task, seen = LineTask(config(accumulate=3, steps=2)), []
    original = task.loss
    task.loss = lambda batch, step, generator: seen.append(batch.x) or original(batch, step, generator)
    Trainer(task).run(tmp_path)
    assert len(seen) == 6
    assert len({tuple(x.flatten().tolist()) for x in seen}) == 6


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("number", [0, 1])
def test_a_loss_that_is_not_finite_changes_nothing_and_names_step_and_clips(bad, number):
    """Fails when only the last batch is checked, or the check comes after the step."""
    trainer = Trainer(LineTask(config()))
    batches = [Rows(rows(2), tuple(f"{k:03d}" for k in range(6))), Rows(rows(2, seed=1), ("x", "y", "z"))]
    batches[number] = Rows(batches[number].x * bad, batches[number].ids)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(FloatingPointError, match=r"step 12: .*clips 000, .*, x, y and 1 more; no weight was changed"):
        update(trainer, 12, batches)
    for network in (trainer.model, trainer.ema):
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(not optimizer.state for optimizer in trainer.optimizers)


def test_the_clip_whose_data_are_not_finite_is_named_first():
    """Fails when a bad clip hides behind "and n more"."""
    trainer = Trainer(LineTask(config()))
    x = rows(40)
    x[33, 2] = float("nan")
    batch = Rows(x, tuple(f"{k:03d}" for k in range(40)))
    with pytest.raises(FloatingPointError, match=r"clips 033, .* and 32 more; .* the data of 033, which is not finite"):
        update(trainer, 0, [batch])


def test_weights_that_an_update_made_infinite_stop_the_run_before_they_are_saved(tmp_path):
    """Fails when a checkpoint or an export follows an optimizer's step unseen."""
    task = LineTask(config(checkpoint_every=2))
    trainer = Trainer(task)
    original = trainer.update

    def update_badly(step: int, batches: Any) -> Any:
        figures = original(step, batches)
        if step == 3:
            task.model[1].weight.data[0, 1] = float("nan")
        return figures

    trainer.update = update_badly
    with pytest.raises(FloatingPointError, match=r"no checkpoint is written at step 4: 1 of the 4 values of model\."):
        trainer.run(tmp_path)
    assert task.exported == [2]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000002"]


def test_a_loss_after_infinite_weights_blames_the_weights_and_not_the_clips():
    trainer = Trainer(LineTask(config()))
    trainer.model[1].weight.data[0, 1] = float("inf")
    with pytest.raises(
        FloatingPointError, match=r"step 5 can't be computed after an earlier step: .* model\.1\.weight"
    ):
        update(trainer, 5, [Rows(rows(2))])


def test_a_second_trainer_on_a_folder_is_refused(tmp_path):
    first, second = LineTask(config()), LineTask(config())

    def validate(ema: nn.Module, picture: Path) -> dict[str, float]:
        with pytest.raises(FolderInUseError, match="in use by another command"):
            Trainer(second).run(tmp_path)
        return {"score": 1.0}

    first.validate = validate
    Trainer(first).run(tmp_path)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == sorted(record["step"] for record in records)
    assert not second.exported
    assert not (tmp_path / ".lock").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on file sizes")
def test_a_full_disk_stops_a_run_that_goes_on_later(tmp_path):
    """A limit on file sizes stands for the full disk. Fails with safetensors' own error, or if a half file stays."""
    import resource

    task = LineTask(config(checkpoint_every=2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Trainer(task).run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]
    Trainer(LineTask(config(checkpoint_every=2))).run(tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000008", "step_00000010"]


def test_a_checkpoint_of_another_network_is_one_line(tmp_path):
    trainer = Trainer(LineTask(config(steps=1)))
    trainer.run(tmp_path)
    found = trainer.checkpoint(1)
    del found.tensors["ema"]["0.weight"]
    with pytest.raises(ModelError, match=r"the checkpoint of step 1 doesn't fit this line \(") as raised:
        trainer.restore(found)
    assert "\n" not in str(raised.value)


def test_an_adversary_that_is_not_finite_stops_the_step_too():
    adversary = nn.Linear(1, 1)
    nn.init.constant_(adversary.weight, float("inf"))
    trainer = Trainer(LineTask(config(), adversary))
    before = trainer.model[1].weight.detach().clone()
    with pytest.raises(FloatingPointError, match="step 3"):
        update(trainer, 3, [Rows(rows(2))])
    assert torch.equal(trainer.model[1].weight, before)


def test_gradients_are_clipped_to_norm_one():
    """Steps hide the gradient's size, so the optimizers' first moments are compared."""
    trainer = Trainer(LineTask(config()))
    figures = update(trainer, 0, [Rows(1e3 * rows(2))])
    assert figures["gradient"] > 1e4
    muon, adam = ([*optimizer.state.values()] for optimizer in trainer.optimizers)
    gradients = [entry["momentum"] / 0.05 for entry in muon] + [entry["exp_avg"] / 0.1 for entry in adam]
    assert torch.cat([gradient.flatten() for gradient in gradients]).norm().item() == pytest.approx(1.0, rel=1e-3)


def test_reports_come_at_their_steps_and_at_the_end(tmp_path, capsys):
    task = LineTask(config(log_every=3, sample_every=5, checkpoint_every=4))
    assert Trainer(task).run(tmp_path) == tmp_path / "line"
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "error" in r] == [3, 6, 9, 10]
    assert [r["step"] for r in records if "score" in r] == [5, 10]
    assert [path.name for path in task.pictures] == ["step_00000005.png", "step_00000010.png"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000008", "step_00000010"]
    assert task.exported == [4, 8, 10]
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == (
        "line: 0.00 M parameters on cpu in float32, 0 clips for training and 0 for validation, steps 1 to 10, "
        f"run {tmp_path}"
    )
    assert errors[-1] == "step 10/10  left 0:00:00  score 1"


def test_slow_steps_are_shown_before_their_figures_are_due(monkeypatch, capsys):
    """Fails when a run is silent from its start to `log_every` steps later, however long those take."""
    clock = [0.0]
    monkeypatch.setattr("vitascope.train.loop.time.monotonic", lambda: clock[0])
    status = StatusLine(0, 100)
    for step in range(1, 7):
        clock[0] += 4.0
        status.tick(step)
    assert capsys.readouterr().err.splitlines() == [
        "step 3/100  left 0:06:28  ",
        "step 6/100  left 0:06:16  ",
    ]


def test_figures_are_read_only_when_they_are_logged(tmp_path):
    """Fails when every step reads values, for which it waits for the device."""
    task, read = LineTask(config(log_every=4, steps=8)), []
    original = task.loss

    def loss(batch: Rows, step: int, generator: torch.Generator) -> Loss:
        found = original(batch, step, generator)
        return Loss(found.total, lambda: read.append(step) or {"error": 0.0})

    task.loss = loss
    Trainer(task).run(tmp_path)
    assert read == [3, 7]


def test_events_hold_figures_and_pictures(tmp_path):
    """Fails when steps, figures or pictures don't arrive, or a resumed run leaves the events of lost steps."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    task = LineTask(config(log_every=5, sample_every=10))

    def validate(ema: nn.Module, picture: Path) -> dict[str, float]:
        picture.write_bytes(b"\x89PNG picture")
        return {"score": 0.5}

    task.validate = validate
    Trainer(task).run(tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/error")] == [5, 10]
    assert [event.value for event in events.Scalars("validation/score")] == [0.5]
    assert events.Images("validation/samples")[0].encoded_image_string == b"\x89PNG picture"
    with open_events(tmp_path, 5) as resumed:
        resumed.write(10, "train", {"error": 2.0})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/error")][1:] == [(10, 2.0)]


def test_without_tensorboard_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary.writer.event_file_writer", None)
    Trainer(LineTask(config())).run(tmp_path)
    assert capsys.readouterr().err.count("pip install 'vitascope[train]'") == 1
    assert not (tmp_path / "tensorboard").exists()
