"""A training run is a folder: config.toml, metrics.jsonl, checkpoints/, samples/. The same command resumes it.

A resumed run is the uninterrupted one, bit for bit: a step's randomness follows from its number, and what was logged
after the checkpoint is forgotten, since it will be logged again.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitascope.config import Config, dump_toml, load_config
from vitascope.errors import ConfigError, ModelError, reason
from vitascope.files import replacing_folder, sha256, write_text


class RunConfig(Config):
    """What every training run has: its data, its length, its learning rate and when it reports. Counted in steps.

    Clips that can't be read are left out; a larger share of them than `max_bad_share` stops the run.
    """

    data: str
    seed: int = 0
    steps: int = Field(default=10_000, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    warmup: int = Field(default=100, ge=0)
    decay_share: float = Field(default=0.3, ge=0, le=1)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    num_validation: int = Field(default=64, ge=1)
    max_bad_share: float = Field(default=0.01, ge=0, le=1)
    log_every: int = Field(default=20, ge=1)
    sample_every: int = Field(default=500, ge=1)
    checkpoint_every: int = Field(default=250, ge=1)

    def rate(self, step: int) -> float:
        """The learning rate of a step: warm-up, plateau, and over the last `decay_share` a linear descent to 2 %."""
        decay_steps = max(1, int(self.steps * self.decay_share))
        descent = 0.02 + 0.98 * max(0, self.steps - step) / decay_steps
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup), descent)


@dataclass
class Checkpoint:
    """All that a run needs to go on: named groups of tensors, and plain values."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


class Run:
    """Owns a run's folder. Opening a folder that another config made is refused."""

    def __init__(self, folder: str | Path, config: RunConfig):
        self.folder, self.config = Path(folder), config
        saved = self.folder / "config.toml"
        if saved.exists() and load_config(saved, type(config)) != config:
            raise ConfigError(
                f"{saved} differs from the config given: choose another --out, or the same config to resume"
            )
        (self.folder / "samples").mkdir(parents=True, exist_ok=True)
        write_text(saved, dump_toml(config))

    def resume(self) -> Checkpoint | None:
        """The newest checkpoint whose files are whole, or None at a start; what was logged after it is dropped."""
        checkpoint = None
        for folder in sorted((self.folder / "checkpoints").glob("step_*"), reverse=True):
            try:
                checkpoint = read_checkpoint(folder)
                break
            except ModelError as error:
                print(f"skipping {folder}: {error}", file=sys.stderr)
        self._forget_after(checkpoint.step if checkpoint else 0)
        return checkpoint

    def train(
        self,
        first_step: int,
        *,
        step: Callable[[int], dict[str, float]],
        validate: Callable[[Path], dict[str, float]],
        checkpoint: Callable[[int], Checkpoint],
    ) -> None:
        """Call `step` with every step's number from `first_step` on; report, validate and save when it is time to.

        `step` and `validate` return figures to log; `validate` is given the path of a picture to write, `checkpoint`
        the number of steps done. All three also happen after the last step.
        """
        config = self.config
        progress = Progress(first_step, config.steps)
        for done in range(first_step + 1, config.steps + 1):
            figures = step(done - 1)
            if done % config.log_every == 0 or done == config.steps:
                self.log({"step": done, **figures})
                progress.show(done, figures)
            if done % config.sample_every == 0 or done == config.steps:
                scores = validate(self.folder / "samples" / f"step_{done:08d}.png")
                self.log({"step": done, **scores})
                progress.show(done, scores)
            if done % config.checkpoint_every == 0 or done == config.steps:
                self.save(checkpoint(done))

    def save(self, checkpoint: Checkpoint, keep: int = 2) -> Path:
        """Write a checkpoint, then drop all but the newest `keep`."""
        path = self.folder / "checkpoints" / f"step_{checkpoint.step:08d}"
        with replacing_folder(path) as temporary:
            for name, tensors in checkpoint.tensors.items():
                save_file(
                    {key: value.contiguous() for key, value in tensors.items()}, temporary / f"{name}.safetensors"
                )
            state = {"step": checkpoint.step, **checkpoint.state}
            (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")
            manifest = {file.name: sha256(file) for file in sorted(temporary.iterdir())}
            (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for old in sorted(path.parent.glob("step_*"))[:-keep]:
            shutil.rmtree(old)
        return path

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _forget_after(self, step: int) -> None:
        path = self.folder / "metrics.jsonl"
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text(path, "".join(line for line in lines if _logged_step(line) <= step))


def _logged_step(line: str) -> int | float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf  # the line that a killed run left unfinished


def read_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint, each file checked against the manifest.

    Raises:
        ModelError: a file is missing or its bytes have changed.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        for name, digest in manifest.items():
            if sha256(folder / name) != digest:
                raise ModelError(f"{folder / name} has been changed since it was written")
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        tensors = {Path(name).stem: load_file(folder / name) for name in manifest if name.endswith(".safetensors")}
        return Checkpoint(step=state.pop("step"), tensors=tensors, state=state)
    except (OSError, ValueError, LookupError, AttributeError, SafetensorError) as error:
        raise ModelError(f"{folder} is not a whole checkpoint: {reason(error)}") from None


def step_generator(seed: int, step: int) -> torch.Generator:
    """All of a step's randomness: a function of seed and step alone, so that resuming needs no saved state."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def update_ema(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the model's; the average is shorter while the run is young."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for average, current in zip(ema.parameters(), model.parameters(), strict=True):
            average.lerp_(current, weight)


class Progress:
    """One line on stderr that says where a run is and how long it has to go."""

    def __init__(self, first_step: int, steps: int):
        self.first_step, self.steps = first_step, steps
        self.started = time.monotonic()

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        """Print the step, the figures and the time left at the mean speed so far."""
        done = step - self.first_step
        left = (time.monotonic() - self.started) / max(1, done) * (self.steps - step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        line = f"step {step}/{self.steps}  left {timedelta(seconds=round(left))}  {shown}"
        if sys.stderr.isatty():
            line = line[: shutil.get_terminal_size().columns - 1]
        end = "\r" if sys.stderr.isatty() and step < self.steps else "\n"
        print(line, end=end, file=sys.stderr, flush=True)
