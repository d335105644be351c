"""One trainer for every network. A task defines batches and loss; the trainer does the rest.

    task.batch -> task.loss -> backward     `accumulate` times
    guard -> optimizers -> average          once a step
    figures, validation, checkpoint         at intervals of steps

Codec, transformer and judge are tasks.
"""

from __future__ import annotations

import copy
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.data.clips import Clip
from vitascope.errors import ModelError, reason
from vitascope.files import lock_folder
from vitascope.hub.weights import check_finite
from vitascope.kernels.device import to_device
from vitascope.train.events import open_events
from vitascope.train.optimizer import load_optimizer_tensors, make_optimizers, optimizer_tensors, set_rate
from vitascope.train.run import Checkpoint, Compute, Run, RunConfig, step_generator, update_ema
from vitascope.types import Number

ADVERSARY_RATE = 1e-4  # learning rate of an adversary, independent of the model's
MAX_NORM = 1.0  # largest norm of a step's gradient; larger gradients are scaled down
SECONDS_OF_SILENCE = 10.0  # between status lines; slow steps are shown before their figures are due
NUM_NAMED = 8  # number of clips named in an error

Figures = dict[str, float]


@dataclass(frozen=True)
class Loss:
    """Loss of one batch.

    `figures` is called only for steps that are logged, because reading values waits for the device. `weight` is the
    batch's share of an accumulated step, for example its number of tokens. `amounts` are logged per second.
    `adversary` is the loss that the task's adversary minimises.
    """

    total: Float[Tensor, ""]
    figures: Callable[[], Figures]
    weight: Number = 1
    amounts: Mapping[str, Number] = field(default_factory=dict)
    adversary: Float[Tensor, ""] | None = None


@runtime_checkable
class Batch(Protocol):
    """Training data of one loss: tensors in a dataclass, on the CPU until the trainer moves them."""

    @property
    def ids(self) -> Sequence[str]:
        """Ids of the clips in the batch."""
        ...


BatchT = TypeVar("BatchT", bound=Batch)


@runtime_checkable
class Task(Protocol[BatchT]):
    """Interface of a task: all that differs between the trained networks."""

    @property
    def name(self) -> str:
        """Name of the network for reports."""
        ...

    @property
    def config(self) -> RunConfig:
        """Settings of the run."""
        ...

    @property
    def compute(self) -> Compute:
        """Device and precision of the run."""
        ...

    @property
    def clips(self) -> Sequence[Clip]:
        """Training clips."""
        ...

    @property
    def validation(self) -> Sequence[Clip]:
        """Validation clips, excluded from training."""
        ...

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Networks that are trained, by name. The one called `model` is averaged and exported."""
        ...

    @property
    def adversary(self) -> nn.Module | None:
        """Network that minimises `Loss.adversary` with an optimizer of its own."""
        ...

    def is_hidden(self, name: str) -> bool:
        """True if a parameter belongs to a hidden layer. Names begin with the network's."""
        ...

    def prepare(self) -> None:
        """Read or encode the data. Called once, before `start`, `restore` and the first batch."""
        ...

    def start(self) -> None:
        """Set initial weights that depend on data. Called only for new runs."""
        ...

    def batch(self, generator: torch.Generator) -> BatchT:
        """Next batch, drawn with the generator."""
        ...

    def loss(self, batch: BatchT, step: int, generator: torch.Generator) -> Loss:
        """Loss of a batch whose tensors are on the run's device; further noise comes from the generator."""
        ...

    def validate(self, ema: nn.Module, picture: Path) -> Figures:
        """Scores of the averaged network on the validation clips. Writes a picture of samples."""
        ...

    def export(self, ema: nn.Module, run: Path, step: int) -> Path:
        """Write the averaged network into the run's folder as a loadable model, and return its path."""
        ...

    def state(self) -> dict[str, Any]:
        """JSON values that resuming needs in addition to weights and optimizers."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the values of `state`."""
        ...


class Trainer(Generic[BatchT]):
    """Trains a task's networks: `run` from start to end, `step` once."""

    def __init__(self, task: Task[BatchT]):
        self.task, config = task, task.config
        self.device = task.compute.device
        self.model = task.networks["model"]
        self.trained = nn.ModuleDict(task.networks).to(self.device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizers = make_optimizers(self.trained, config.learning_rate, task.is_hidden, task.compute.dtype)
        self.adversary_optimizer = None
        if task.adversary is not None:
            parameters = task.adversary.to(self.device).parameters()
            self.adversary_optimizer = torch.optim.AdamW(parameters, lr=ADVERSARY_RATE, betas=(0.5, 0.9))

    def run(self, folder: str | Path) -> Path:
        """Train to the last step, resuming from the newest checkpoint, and return the exported network's path.

        Raises:
            ConfigError: the folder belongs to a run with another config.
            DatasetError: data that can't be trained on.
            FloatingPointError: a loss, a gradient, a weight or an optimizer's state is not finite.
            FolderInUseError: another command writes into the folder.
            ModelError: a checkpoint of another network.
            OSError: a file can't be written, such as on a full disk. The same command resumes the run later.
        """
        with lock_folder(Path(folder), "checkpoints", "samples"):
            return self._run(folder)

    def _run(self, folder: str | Path) -> Path:
        config, run = self.task.config, Run(folder, self.task.config)
        checkpoint = run.resume()
        first_step = 0 if checkpoint is None else checkpoint.step
        self._introduce(run.folder, first_step)
        self.task.prepare()
        if checkpoint is None:
            self.task.start()
            self.ema.load_state_dict(self.model.state_dict())
        else:
            self.restore(checkpoint)
        status = StatusLine(first_step, config.steps)
        with open_events(run.folder, first_step) as events:
            for done in range(first_step + 1, config.steps + 1):
                is_last = done == config.steps
                read_figures = self.step(done - 1)
                status.tick(done)
                if done % config.log_every == 0 or is_last:
                    figures = read_figures()
                    run.log({"step": done, **figures})
                    events.write(done, "train", figures)
                    status.show(done, figures)
                if done % config.sample_every == 0 or is_last:
                    picture = run.folder / "samples" / f"step_{done:08d}.png"
                    figures = self.task.validate(self.ema, picture)
                    run.log({"step": done, **figures})
                    events.write(done, "validation", figures, picture)
                    status.show(done, figures)
                if done % config.checkpoint_every == 0 or is_last:
                    run.save(self.checkpoint(done))
                    if not is_last:
                        self.task.export(self.ema, run.folder, done)
        return self.task.export(self.ema, run.folder, config.steps)

    def step(self, number: int) -> Callable[[], Figures]:
        """Draw the batches of a step and train on them; return a function that reads the step's figures."""
        return self.update(number, self._draw(number))

    def update(self, step: int, batches: Iterable[tuple[BatchT, torch.Generator]]) -> Callable[[], Figures]:
        """One update of all weights from the mean loss over batches, each with the generator of its noise.

        Raises:
            FloatingPointError: a loss or gradient that is not finite. No weight has changed.
        """
        began = waited_from = time.monotonic()
        waited, losses, ids, bad = 0.0, list[Loss](), list[str](), set[str]()
        set_rate(self.optimizers, self.task.config.rate(step))
        for optimizer in self._all_optimizers():
            optimizer.zero_grad()
        for batch, generator in batches:
            waited += time.monotonic() - waited_from
            loss = self.task.loss(to_device(batch, self.device), step, generator)
            # relative to the first batch's weight, since the sum is still unknown
            share = float(loss.weight / losses[0].weight) if losses else 1.0
            (loss.total if share == 1.0 else loss.total * share).backward()
            if loss.adversary is not None:
                (loss.adversary if share == 1.0 else loss.adversary * share).backward()
            losses.append(replace(loss, total=loss.total.detach(), adversary=_detached(loss.adversary)))
            ids += batch.ids
            bad |= _bad_ids(batch)
            waited_from = time.monotonic()
        norms = self._clip_gradients(sum(loss.weight for loss in losses) / losses[0].weight)
        self._check_finite(step, losses, norms, ids, bad)
        for optimizer in self._all_optimizers():
            optimizer.step()
        update_ema(self.ema, self.model, self.task.config.ema_decay, step)
        seconds = time.monotonic() - began
        return lambda: _figures(losses, norms[0], seconds, waited)

    def checkpoint(self, step: int) -> Checkpoint:
        """State after `step` steps, complete for resuming."""
        tensors = {name: network.state_dict() for name, network in self.task.networks.items()}
        tensors["ema"] = self.ema.state_dict()
        tensors |= {f"optimizer_{i}": optimizer_tensors(optimizer) for i, optimizer in enumerate(self.optimizers)}
        if self.task.adversary is not None and self.adversary_optimizer is not None:
            tensors["adversary"] = self.task.adversary.state_dict()
            tensors["adversary_optimizer"] = optimizer_tensors(self.adversary_optimizer)
        return Checkpoint(step, {name: group for name, group in tensors.items() if group}, self.task.state())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Return to a checkpoint's state.

        Raises:
            ModelError: the checkpoint of another network.
        """
        try:
            self._restore(checkpoint)
        except (RuntimeError, LookupError, ValueError, TypeError) as error:
            raise ModelError(
                f"the checkpoint of step {checkpoint.step} doesn't fit this {self.task.name} ({reason(error)[:200]}); "
                "move it out of the run's folder"
            ) from None

    def _restore(self, checkpoint: Checkpoint) -> None:
        tensors = checkpoint.tensors
        self.task.restore(checkpoint.state)
        for name, network in self.task.networks.items():
            network.load_state_dict(tensors[name])
        self.ema.load_state_dict(tensors["ema"])
        for i, optimizer in enumerate(self.optimizers):
            load_optimizer_tensors(optimizer, tensors.get(f"optimizer_{i}", {}))
        if self.task.adversary is not None and self.adversary_optimizer is not None:
            self.task.adversary.load_state_dict(tensors["adversary"])
            load_optimizer_tensors(self.adversary_optimizer, tensors.get("adversary_optimizer", {}))

    def _draw(self, step: int) -> Iterator[tuple[BatchT, torch.Generator]]:
        """Batches of a step, each with a generator that its noise continues to draw from."""
        accumulate = self.task.config.accumulate
        for number in range(step * accumulate, (step + 1) * accumulate):
            generator = step_generator(self.task.config.seed, number)
            yield self.task.batch(generator), generator

    def _all_optimizers(self) -> list[torch.optim.Optimizer]:
        extra = [] if self.adversary_optimizer is None else [self.adversary_optimizer]
        return [*self.optimizers, *extra]

    def _clip_gradients(self, total: Number) -> list[Tensor]:
        """Divide gradients by the batches' total weight and clip them; return their norms before clipping."""
        networks = [self.trained, *([] if self.task.adversary is None else [self.task.adversary])]
        if total != 1.0:
            for parameter in (p for network in networks for p in network.parameters() if p.grad is not None):
                parameter.grad.div_(total)
        # a network without gradients, such as an adversary before its turn, has its norm 0 on the CPU
        return [nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM).to(self.device) for network in networks]

    def _check_finite(
        self, step: int, losses: Sequence[Loss], norms: Sequence[Tensor], ids: Sequence[str], bad: Set[str]
    ) -> None:
        adversaries = [loss.adversary for loss in losses if loss.adversary is not None]
        values = torch.stack([*(loss.total for loss in losses), *adversaries, *norms])
        if not values.isfinite().all():  # the step's only wait for the device
            for name, parameter in self.trained.named_parameters():
                check_finite({name: parameter}, f"step {step} can't be computed after an earlier step")
            ids = sorted(ids, key=lambda clip: clip not in bad)  # bad ones first
            named = ", ".join(ids[:NUM_NAMED]) + (f" and {len(ids) - NUM_NAMED} more" if len(ids) > NUM_NAMED else "")
            raise FloatingPointError(
                f"step {step}: loss {' and '.join(str(loss.total.item()) for loss in losses)}, gradient norm "
                f"{norms[0].item()}, clips {named}; no weight was changed: lower learning_rate, or check "
                + (f"the data of {', '.join(sorted(bad)[:NUM_NAMED])}, which is not finite" if bad else "these clips")
            )

    def _introduce(self, folder: Path, first_step: int) -> None:
        config, compute = self.task.config, self.task.compute
        num_parameters = sum(parameter.numel() for parameter in self.trained.parameters())
        print(
            f"{self.task.name}: {num_parameters / 1e6:.2f} M parameters on {compute.device} in {compute.precision}, "
            f"{len(self.task.clips)} clips for training and {len(self.task.validation)} for validation, "
            f"steps {first_step + 1} to {config.steps}, run {folder}",
            file=sys.stderr,
            flush=True,
        )


def _bad_ids(batch: Batch) -> set[str]:
    """Ids of clips whose rows in the batch's tensors, which are on the CPU, have NaN or infinity."""
    bad = set[str]()
    for value in vars(batch).values():
        if isinstance(value, Tensor) and value.is_floating_point() and len(value) == len(batch.ids):
            bad |= {clip for clip, row in zip(batch.ids, value, strict=True) if not row.isfinite().all()}
    return bad


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _figures(losses: Sequence[Loss], norm: Tensor, seconds: float, waited: float) -> Figures:
    """Figures of a step: the mean over its batches, the gradient's norm, speed, and the share of waiting for data."""
    values: dict[str, list[float]] = defaultdict(list)
    amounts: dict[str, float] = defaultdict(float)
    for loss in losses:
        for name, value in loss.figures().items():
            values[name].append(value)
        for name, amount in loss.amounts.items():
            amounts[name] += amount
    return {
        **{name: sum(each) / len(each) for name, each in values.items()},
        "gradient": norm.item(),
        **{f"{name}/s": amount / seconds for name, amount in amounts.items()},
        "seconds": seconds,
        "data wait": waited / seconds,
    }


class StatusLine:
    """One line on stderr: step, figures and time left."""

    def __init__(self, first_step: int, steps: int):
        self.first_step, self.steps = first_step, steps
        self.started = self.shown = time.monotonic()

    def tick(self, step: int) -> None:
        """Print the line without figures if nothing was printed for SECONDS_OF_SILENCE."""
        if time.monotonic() - self.shown > SECONDS_OF_SILENCE:
            self.show(step, {})

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        """Print the line; the time left follows from the mean speed so far."""
        self.shown = time.monotonic()
        done = step - self.first_step
        left = (time.monotonic() - self.started) / max(1, done) * (self.steps - step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        line = f"step {step}/{self.steps}  left {timedelta(seconds=round(left))}  {shown}"
        if sys.stderr.isatty():
            line = line[: shutil.get_terminal_size().columns - 1]
        end = "\r" if sys.stderr.isatty() and step < self.steps else "\n"
        print(line, end=end, file=sys.stderr, flush=True)
