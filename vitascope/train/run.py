"""A training run is a folder: config.toml, metrics.jsonl, checkpoints/, samples/. The same command resumes it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitascope.config import Config, dump_toml
from vitascope.errors import ConfigError, ModelError
from vitascope.files import replacing_folder, sha256, write_text


@dataclass
class Checkpoint:
    """All that a run needs to go on: named groups of tensors, and plain values."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


class Run:
    """Owns a run's folder. Opening a folder that another config made is refused."""

    def __init__(self, folder: str | Path, config: Config):
        self.folder = Path(folder)
        text = dump_toml(config)
        saved = self.folder / "config.toml"
        if saved.exists() and saved.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{saved} differs from the config given: choose another --out, or the same config to resume"
            )
        (self.folder / "samples").mkdir(parents=True, exist_ok=True)
        write_text(saved, text)

    def latest_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint whose files are whole, or None at a run's start."""
        for folder in sorted((self.folder / "checkpoints").glob("step_*"), reverse=True):
            try:
                return read_checkpoint(folder)
            except ModelError as error:
                print(f"skipping {folder}: {error}", file=sys.stderr)
        return None

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
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is not a whole checkpoint: {' '.join(str(error).split())}") from None
    return Checkpoint(step=state.pop("step"), tensors=tensors, state=state)


def step_generator(seed: int, step: int) -> torch.Generator:
    """All of a step's randomness: a function of seed and step alone, so that resuming needs no saved state."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def update_ema(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the model's; the average is shorter while the run is young."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), weight)


def learning_rate(step: int, *, peak: float, warmup: int, steps: int, decay_share: float) -> float:
    """Linear warm-up, a plateau, then a linear descent to 2 % of the peak over the last `decay_share` of the steps."""
    decay_steps = max(1, int(steps * decay_share))
    return peak * min(1.0, (step + 1) / max(1, warmup), 0.02 + 0.98 * max(0, steps - step) / decay_steps)


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
        clock = time.strftime("%H:%M:%S", time.gmtime(left))
        end = "\r" if sys.stderr.isatty() and step < self.steps else "\n"
        print(f"step {step}/{self.steps}  {shown}  left {clock}", end=end, file=sys.stderr, flush=True)
