"""A training run is a folder: config.toml, metrics.jsonl, checkpoints/, samples/. The same command resumes it.

A resumed run equals the uninterrupted one, bit for bit. A step's randomness follows from its number alone. Resuming
drops figures logged after the checkpoint, because those steps run again.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vitascope.config import Config, dump_toml, load_config
from vitascope.data.clips import Clip, counted, list_clips, split_validation
from vitascope.errors import ConfigError, ModelError, reason
from vitascope.files import append_text, load_json, parse_json, replacing_folder, sync, write_tensors, write_text
from vitascope.hub.weights import MANIFEST, check_finite, check_manifest, write_manifest
from vitascope.kernels.device import autocast, is_cpu, resolve_device
from vitascope.progress import announce, progress
from vitascope.types import MAX_SEED, Dtype, TrainingPrecision

# a resumed run may change these settings, which affect computation only
FREE_TO_CHANGE = frozenset({"device", "compile", "recompute_blocks"})
CHECKPOINT_NAME = re.compile("step_([0-9]{8})")
METRICS = "metrics.jsonl"
MAX_STEPS = 99_999_999  # eight digits in the names of checkpoints


class RunConfig(Config):
    """Settings that every training run has. Steps count updates of the weights.

    `device` is auto, cpu, cuda, cuda:N or mps. `precision` auto is bfloat16 on a GPU and float32 on a CPU; weights and
    optimizer states are always float32. `accumulate` batches are averaged into each step. A run stops if more than
    `max_bad_share` of its clips are unreadable.
    """

    data: str
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    steps: int = Field(default=10_000, ge=1, le=MAX_STEPS)
    device: str = "auto"
    precision: TrainingPrecision = "auto"
    accumulate: int = Field(default=1, ge=1, le=4096)
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    warmup: int = Field(default=100, ge=0)
    decay_share: float = Field(default=0.3, ge=0, le=1)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    num_validation: int = Field(default=64, ge=1)
    max_bad_share: float = Field(default=0.01, ge=0, le=1)
    log_every: int = Field(default=20, ge=1)
    sample_every: int = Field(default=500, ge=1)
    checkpoint_every: int = Field(default=250, ge=1)

    def rate(self, step: int) -> float:
        """Learning rate of a step: warm-up, plateau, then a linear decay to 2 % over the last `decay_share`."""
        decay_steps = max(1, int(self.steps * self.decay_share))
        descent = 0.02 + 0.98 * max(0, self.steps - step) / decay_steps
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup), descent)


@dataclass(frozen=True)
class Compute:
    """Device and precision of a run."""

    device: torch.device
    precision: Dtype

    @classmethod
    def of(cls, config: RunConfig) -> Compute:
        """Device and precision of a config, with `auto` resolved.

        Raises:
            DeviceError: a device that this machine doesn't have.
        """
        device = resolve_device(config.device)
        if config.precision == "auto":  # float32 on every CPU, so that results don't depend on its instructions
            return cls(device, "float32" if is_cpu(device) else "bfloat16")
        return cls(device, config.precision)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of matrix products."""
        return getattr(torch, self.precision)

    def autocast(self) -> AbstractContextManager[object]:
        """A context that computes matrix products and convolutions in the run's precision."""
        return autocast(self.device, self.precision)


@dataclass
class Checkpoint:
    """State of a run after `step` steps: named groups of tensors, and JSON values."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


class Run:
    """Owns a run's folder.

    Raises:
        ConfigError: the folder belongs to a run with another config.
    """

    def __init__(self, folder: str | Path, config: RunConfig):
        self.folder, self.config = Path(folder), config
        self._good = set[int]()  # steps of checkpoints that this process wrote or read
        saved = self.folder / "config.toml"
        if saved.exists() and _fixed(load_config(saved, type(config))) != _fixed(config):
            raise ConfigError(
                f"{saved} differs from the config given: choose another --out, or the same config to resume"
            )
        (self.folder / "samples").mkdir(parents=True, exist_ok=True)
        write_text(saved, dump_toml(config))

    def resume(self) -> Checkpoint | None:
        """Newest undamaged checkpoint, or None for a new run. Drops figures that were logged after it."""
        checkpoint = None
        for step, folder in reversed(self._checkpoints()):
            try:
                checkpoint = read_checkpoint(folder)
                if step > self.config.steps:
                    raise ModelError(f"the run ends at step {self.config.steps}")
                self._good.add(step)
                break
            except ModelError as error:
                checkpoint = None
                print(f"skipping {folder}: {error}", file=sys.stderr)
        self._drop_figures_after(checkpoint.step if checkpoint else 0)
        return checkpoint

    def save(self, checkpoint: Checkpoint, keep: int = 2) -> Path:
        """Write a checkpoint, then delete earlier ones that are older than the `keep` newest undamaged ones.

        Raises:
            FloatingPointError: a weight or an optimizer's state is not finite. Nothing is written or deleted.
            OSError: the checkpoint can't be written. Nothing is deleted.
        """
        for name, tensors in checkpoint.tensors.items():
            check_finite(
                {f"{name}.{key}": tensor for key, tensor in tensors.items() if tensor.is_floating_point()},
                f"no checkpoint is written at step {checkpoint.step}",
            )
        path = self.folder / "checkpoints" / f"step_{checkpoint.step:08d}"
        if (self.folder / METRICS).exists():
            sync(self.folder / METRICS)  # a checkpoint's figures are on disk before it
        with replacing_folder(path) as temporary:
            for name, tensors in checkpoint.tensors.items():
                write_tensors(temporary / f"{name}.safetensors", tensors)
            state = {"step": checkpoint.step, **checkpoint.state}
            (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")
            write_manifest(temporary)
        self._good.add(checkpoint.step)
        self._purge(checkpoint.step, keep)
        return path

    def _checkpoints(self) -> list[tuple[int, Path]]:
        """(step, folder) of all checkpoints, sorted. Folders with other names are not checkpoints."""
        folder = self.folder / "checkpoints"
        found = [(CHECKPOINT_NAME.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
        return sorted((int(match[1]), path) for match, path in found if match and path.is_dir())

    def _purge(self, newest: int, keep: int) -> None:
        """Delete checkpoints before the `keep` newest undamaged ones up to step `newest`."""
        num_good = 0
        for step, folder in reversed(self._checkpoints()):
            if step > newest:
                continue
            if num_good >= keep:
                shutil.rmtree(folder)
            elif step in self._good or _is_good(folder):
                num_good += 1

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        append_text(self.folder / METRICS, json.dumps(record) + "\n")

    def _drop_figures_after(self, step: int) -> None:
        path = self.folder / METRICS
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text(path, "".join(line for line in lines if _logged_step(line) <= step))


def _is_good(folder: Path) -> bool:
    try:
        return bool(check_manifest(folder))
    except ModelError:
        return False


def _logged_step(line: str) -> int | float:
    try:
        return parse_json(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf  # a killed run leaves its last line unfinished


def _fixed(config: RunConfig) -> dict[str, Any]:
    """Settings that a resumed run must share with the first one."""
    return config.model_dump(exclude=set(FREE_TO_CHANGE))


def read_checkpoint(folder: Path) -> Checkpoint:
    """Checkpoint in a folder, with every file checked against the manifest.

    Raises:
        ModelError: a file is missing or damaged.
    """
    digests = check_manifest(folder, cure="it is not used")
    if not digests:
        raise ModelError(f"{folder} is not a complete checkpoint: it has no {MANIFEST}")
    try:
        state = load_json(folder / "state.json")
        step = state.pop("step")
        if folder.name != f"step_{step:08d}":
            raise ValueError(f"it holds step {step}")
        tensors = {Path(name).stem: load_file(folder / name) for name in digests if name.endswith(".safetensors")}
        return Checkpoint(step=step, tensors=tensors, state=state)
    except (OSError, ValueError, LookupError, AttributeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder} is not a complete checkpoint: {reason(error)}") from None


def step_generator(seed: int, step: int) -> torch.Generator:
    """Generator of all random numbers of a step. It depends on seed and step alone, so resuming needs no state."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def update_ema(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move averaged weights towards the model's. The first steps average over fewer steps than `decay` implies."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for average, current in zip(ema.parameters(), model.parameters(), strict=True):
            average.lerp_(current, weight)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A context in which layers draw their initial weights from a seed.

    PyTorch's layers take no generator. On exit, its default CPU generator has its former state.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which would seed every GPU too
        yield


def read_dataset(folder: str, num_validation: int = 0) -> tuple[list[Clip], list[Clip]]:
    """(training, validation): records of a dataset's clips, divided by source.

    A line on stderr counts the captions that can't be prompts, which are left out, and the clips without captions.

    Raises:
        DatasetError: no clips, too few for validation, or an unreadable record.
    """
    problems = Counter[str]()
    announce(f"reading the records of {folder}")
    with progress(f"reading the records of {folder}") as show:
        clips = list_clips(folder, show, problems)
    if problems:
        print(f"{folder}: left out {counted(problems)}", file=sys.stderr)
    if silent := sum(not clip.captions and not clip.storyboards for clip in clips):
        print(f"{folder}: {silent} of {len(clips)} clips have no caption and get the empty text", file=sys.stderr)
    return split_validation(clips, num_validation)
