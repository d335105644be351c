"""Kill trainers at random moments, resume them, and compare with runs that were never interrupted.

    python -m benchmarks.robustness.kills --trials 20

A trial starts a run in a process of its own, kills it with SIGKILL after a random time, and runs it again to the end.
It passes if the last checkpoint and the metrics without clocks are equal bit for bit, and nothing temporary is left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.robustness.small import make_codec, make_dataset, make_text_encoder
from vitascope.judge import train as judge
from vitascope.train import codec, transformer
from vitascope.train.run import read_checkpoint
from vitascope.worlds.solids.captions import captions
from vitascope.worlds.solids.sampling import sample_scene

STEPS = 12
CLOCKS = {"seconds", "tokens/s", "GFLOP/s", "data wait"}
COMMON = f"""
data = "{{data}}"
device = "cpu"
steps = {STEPS}
warmup = 1
num_validation = 4
log_every = 1
sample_every = 4
checkpoint_every = 2
"""
CODEC = """
batch_clips = 1
num_frames = [1, 5]
crop = 32
[loss]
perceptual = 0.0
[codec]
latent_channels = 4
base_width = 8
"""
TRANSFORMER = """
vae = "{vae}"
text_encoder = "{text_encoder}"
pack_tokens = 64
captions_per_language = 1
[transformer]
in_channels = 4
out_channels = 4
num_layers = 1
num_heads = 1
head_dim = 16
ffn_width = 16
text_width = 16
[pipeline]
name = "small"
height = 32
width = 32
num_frames = 5
num_steps = 2
"""
JUDGE = """
batch_clips = 2
[judge]
short_side = 16
max_frames = 4
stem_width = 8
width = 48
num_heads = 2
encoder_layers = 1
decoder_layers = 1
"""


@dataclass(frozen=True)
class Training:
    """A trainer and its config."""

    name: str
    train: Callable[[Path, Path], object]
    config: Path


def main() -> int:
    """0, or 1 if a resumed run differs or leaves something temporary."""
    parser = argparse.ArgumentParser(description="Kill trainers at random moments and resume them.")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="kill each trainer N times")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="choose the moments by this seed")
    options = parser.parse_args()
    torch.set_num_threads(1)  # processes are forked, and threads don't survive that
    failures = list[str]()
    with tempfile.TemporaryDirectory() as folder:
        for training in make_trainings(Path(folder)):
            failures += run(training, Path(folder) / training.name, options.trials, random.Random(options.seed))
    print(f"{len(failures)} failures")
    for failure in failures[:20]:
        print(f"  {failure}")
    return int(bool(failures))


def run(training: Training, folder: Path, trials: int, draw: random.Random) -> list[str]:
    """Failures of `trials` kills of one trainer, one line each."""
    folder.mkdir()
    finish(training, folder / "warm-up")  # encodes the clips, which all runs share
    began = time.monotonic()
    finish(training, folder / "whole")
    seconds, failures, steps = time.monotonic() - began, list[str](), list[int]()
    for trial in range(trials):
        killed = folder / f"killed-{trial}"
        process = start(training, killed)
        time.sleep(seconds * (trial + draw.random()) / trials)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        found = sorted((killed / "checkpoints").glob("step_*"))
        steps.append(int(found[-1].name[-8:]) if found else 0)
        finish(training, killed)
        failures += [f"{training.name}, kill {trial}: {each}" for each in differences(folder / "whole", killed)]
        shutil.rmtree(killed)
    print(f"{training.name}: {trials} kills after checkpoints of steps {steps}: {len(failures)} failures", flush=True)
    return failures


def start(training: Training, out: Path) -> int:
    """Id of a process that trains; its output is dropped."""
    if process := os.fork():
        return process
    code = 1
    with contextlib.suppress(BaseException):
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        training.train(training.config, out)
        code = 0
    os._exit(code)


def finish(training: Training, out: Path) -> None:
    """Train to the end in a process of its own.

    Raises:
        RuntimeError: the run failed.
    """
    if os.waitstatus_to_exitcode(os.waitpid(start(training, out), 0)[1]):
        raise RuntimeError(f"the run {out} of {training.name} failed")


def differences(whole: Path, resumed: Path) -> list[str]:
    """Differences between two runs, and leftovers of the second one."""
    found = [f"leftover {path.name}" for path in resumed.rglob(".*")]
    if metrics(whole) != metrics(resumed):
        found.append("metrics differ")
    one, other = (read_checkpoint(run / "checkpoints" / f"step_{STEPS:08d}") for run in (whole, resumed))
    if one.state != other.state or one.tensors.keys() != other.tensors.keys():
        found.append("states differ")
    for group, tensors in one.tensors.items():
        for name, tensor in tensors.items():
            if not torch.equal(tensor, other.tensors[group][name]):
                found.append(f"{group} {name} differs")
    for path in (path for path in whole.rglob("*.safetensors") if "checkpoints" not in path.parts):
        if path.read_bytes() != (resumed / path.relative_to(whole)).read_bytes():
            found.append(f"{path.relative_to(whole)} differs")
    return found


def metrics(run: Path) -> list[dict[str, float]]:
    """Records of a run without clocks."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in record.items() if key not in CLOCKS} for record in records]


def make_trainings(folder: Path) -> list[Training]:
    """Small runs of a codec, a transformer and a judge."""
    data, attributed = make_dataset(folder / "data", 12), make_dataset(folder / "attributed", 12)
    for number, path in enumerate(sorted((attributed / "clips").glob("*.json"))):
        record = json.loads(path.read_text(encoding="utf-8"))
        scene = next(scene for seed in range(number * 100, 10**6) if len((scene := sample_scene(seed)).shots) == 1)
        texts = captions(scene, is_image=record["num_frames"] == 1, num_per_language=1)
        path.write_text(json.dumps({**record, "captions": texts, "attributes": scene.attributes()}), encoding="utf-8")
    parts = {"vae": make_codec(folder), "text_encoder": make_text_encoder(folder)}
    settings = {"codec": CODEC, "transformer": TRANSFORMER.format(**parts), "judge": JUDGE}
    configs = {name: folder / f"{name}.toml" for name in settings}
    for name, text in settings.items():
        common = COMMON.format(data=attributed if name == "judge" else data)
        configs[name].write_text(f"{common}{text}", encoding="utf-8")
    trains = {"codec": codec.train, "transformer": transformer.train, "judge": judge.train}
    return [Training(name, train, configs[name]) for name, train in trains.items()]


if __name__ == "__main__":
    sys.exit(main())
