"""Damage every file of a model folder, a checkpoint and the caches, and load them.

    python -m benchmarks.robustness.bitflips --trials 200

A trial flips a random bit of a file or truncates it. It passes if loading raises one of Vitascope's errors in one line,
or gives the same as before; caches must always give the same.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.robustness.small import make_config, make_dataset, make_transformer
from vitascope.data.caches import cached_latents, cached_text_states
from vitascope.data.clips import Reader, list_clips
from vitascope.errors import VitascopeError
from vitascope.hub.registry import load_codec, load_model, load_text_encoder
from vitascope.train.loop import Checkpoint
from vitascope.train.run import Run, RunConfig, read_checkpoint
from vitascope.train.transformer import export

PROMPTS = ["a red ball", "blue square", ""]


@dataclass(frozen=True)
class Target:
    """A folder to damage, and a function that loads it as bytes that can be compared."""

    name: str
    folder: Path
    load: Callable[[], bytes]
    may_refuse: bool = True


def main() -> int:
    """0, or 1 if damage was accepted or ended in another error."""
    parser = argparse.ArgumentParser(description="Flip bits in every file of models, checkpoints and caches.")
    parser.add_argument("--trials", type=int, default=200, metavar="N", help="damage each folder N times")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="choose the damage by this seed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        failures = run(Path(folder), options.trials, options.seed)
    print(f"{len(failures)} failures")
    for failure in failures[:20]:
        print(f"  {failure}")
    return int(bool(failures))


def run(folder: Path, trials: int, seed: int) -> list[str]:
    """Failures of `trials` cases of damage to each target, one line each."""
    draw = random.Random(seed)
    return [failure for target in make_targets(folder) for failure in run_target(target, trials, draw)]


def run_target(target: Target, trials: int, draw: random.Random) -> list[str]:
    """Failures of `trials` cases of damage to a target's files in turn, one line each."""
    outcomes, failures = Counter[str](), list[str]()
    files = sorted(path for path in target.folder.rglob("*") if path.is_file())
    healthy = target.load()
    for trial in range(trials):
        path = files[trial % len(files)]
        outcome = damage(target, path, healthy, draw)
        outcomes[outcome.partition(":")[0]] += 1
        if outcome.partition(":")[0] not in ("refused", "equal"):
            failures.append(f"{target.name}, {path.relative_to(target.folder)}: {outcome}")
    counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"{target.name}: {trials} cases in {len(files)} files: {counted}", flush=True)
    return failures


def damage(target: Target, path: Path, healthy: bytes, draw: random.Random) -> str:
    """Outcome of one case: refused, equal, or a failure. The folder is repaired afterwards."""
    original = {file: file.read_bytes() for file in target.folder.rglob("*") if file.is_file()}
    content = bytearray(original[path])
    if draw.random() < 0.25:
        path.write_bytes(content[: draw.randrange(len(content))])
    else:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            loaded = target.load()
    except VitascopeError as error:
        if not target.may_refuse:
            return f"refused by a cache: {error}"
        return "refused" if "\n" not in str(error) else f"several lines: {error}"
    except BaseException as error:  # a panic of a Rust library is a BaseException
        return f"untyped error: {type(error).__name__}: {error}"
    finally:
        for file, before in original.items():
            file.write_bytes(before)
    return "equal" if loaded == healthy else "accepted silently: other content"


def make_targets(folder: Path) -> list[Target]:
    """A model, a checkpoint, and caches of latents and text states."""
    config = make_config(folder)
    network = make_transformer(config, seed=0)
    model = export(network, config, folder / "model", {"steps": 1})
    shutil.copy(Path(__file__).parents[2] / "README.md", model / "README.md")
    run = Run(folder / "run", RunConfig(data="clips"))
    checkpoint = run.save(Checkpoint(7, {"model": network.state_dict()}, {"loader": {"epoch": 2}}))
    clips = list_clips(make_dataset(folder / "data", 2, side=16))
    codec, encoder = load_codec(Path(config.vae)), load_text_encoder(Path(config.text_encoder))
    latents, states = folder / "latents", folder / "states"

    def load_latents() -> bytes:
        found = cached_latents(codec, clips, latents, Reader(len(clips), 0.0))
        return _bytes([latent for latent in found if latent is not None])

    def load_states() -> bytes:
        found = cached_text_states(encoder, [[prompt] for prompt in PROMPTS], states)
        return _bytes([state for of_clip in found for state in of_clip])

    load_latents()
    load_states()
    return [
        Target("model", model, lambda: _model_bytes(model)),
        Target("checkpoint", checkpoint, lambda: _checkpoint_bytes(checkpoint)),
        Target("cache of latents", latents, load_latents, may_refuse=False),
        Target("cache of text states", states, load_states, may_refuse=False),
    ]


def _model_bytes(folder: Path) -> bytes:
    model = load_model(folder)
    weights = [*model.codec.state_dict().values(), *model.transformer.state_dict().values()]
    states = model.text_encoder.encode(PROMPTS)
    configs = f"{model.config!r} {model.codec.config!r} {model.transformer.config!r}"
    return _bytes([*weights, *states]) + configs.encode()


def _checkpoint_bytes(folder: Path) -> bytes:
    checkpoint = read_checkpoint(folder)
    tensors = [tensor for _, group in sorted(checkpoint.tensors.items()) for tensor in group.values()]
    return _bytes(tensors) + f"{checkpoint.step} {checkpoint.state}".encode()


def _bytes(tensors: list[torch.Tensor]) -> bytes:
    return b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in tensors)


if __name__ == "__main__":
    sys.exit(main())
