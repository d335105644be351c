"""Kill trainers at moments of every phase, resume them, and compare with runs that were never interrupted.

    python -m benchmarks.robustness.kills --trials 20

A run reports its phases as it reaches them: start, from its first line on stderr; each training step; each validation;
and each file that a checkpoint or an export has written. A trial starts a run in a process of its own, kills it with
SIGKILL after a random report, and runs it again to the end. Trials take the phases in turn. A trial passes if the last
checkpoint, the exported files and the metrics without clocks are equal bit for bit, and nothing temporary is left.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.robustness.small import make_codec, make_dataset, make_text_encoder
from vitascope.judge import train as judge
from vitascope.train import codec, transformer
from vitascope.train.loop import Trainer
from vitascope.train.run import Run, read_checkpoint
from vitascope.worlds.solids.captions import captions
from vitascope.worlds.solids.sampling import sample_scene

STEPS = 12
# by PyTorch and the trainer at their first use; here once, not in each process
IMPORTED_LATE = ("torch._dynamo", "tensorboard.summary.writer.event_file_writer")
PHASES = ("start", "step", "checkpoint", "validation", "export")
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
    parser = argparse.ArgumentParser(description="Kill trainers in every phase and resume them.")
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
    for module in IMPORTED_LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    folder.mkdir()
    finish(training, folder / "warm-up")  # encodes the clips, which all runs share
    with started(training, folder / "whole") as (_, reports):
        reached = [(time.monotonic(), phase) for phase in reports]
    gaps = [after - before for (before, _), (after, _) in pairwise([*reached, (time.monotonic(), "")])]
    moments = defaultdict[str, list[int]](list)
    for number, (_, phase) in enumerate(reached):
        moments[phase].append(number)
    failures, kills = list[str](), Counter[str]()
    for trial in range(trials):
        phase = PHASES[trial % len(PHASES)]
        number, killed = draw.choice(moments[phase]), folder / f"killed-{trial}"
        with started(training, killed) as (process, reports):
            for _ in range(number + 1):
                next(reports)
            time.sleep(gaps[number] * draw.random())
            os.kill(process, signal.SIGKILL)
        checkpoints = sorted((killed / "checkpoints").glob("step_*"))
        kills[phase] += 1
        kills["before the first checkpoint"] += not checkpoints
        kills["while something temporary was there"] += any(killed.rglob(".*tmp*"))
        finish(training, killed)
        place = f"{training.name}, kill {trial} in {phase}, report {number} of {len(reached)}"
        failures += [f"{place}: {each}" for each in differences(folder / "whole", killed)]
        shutil.rmtree(killed)
    counts = ", ".join(f"{count} {name}" for name, count in kills.items())
    print(f"{training.name}: {trials} kills: {counts}; {len(failures)} failures", flush=True)
    return failures


@contextlib.contextmanager
def started(training: Training, out: Path) -> Iterator[tuple[int, Iterator[str]]]:
    """Id of a process that trains, and the phases that it reports; on exit, its end is awaited.

    Raises:
        RuntimeError: the run failed.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        code = 1
        with contextlib.suppress(BaseException):
            os.close(reader)
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            _report_phases(writer)
            training.train(training.config, out)
            code = 0
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="ascii") as lines:
        yield process, (line.strip() for line in lines)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the run {out} of {training.name} failed with code {code}")


def _report_phases(descriptor: int) -> None:
    """Let this process write the name of each phase that it reaches to a pipe."""
    phases = list[str]()

    def report(phase: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens
            os.write(descriptor, f"{phase}\n".encode())

    def within(phase: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            phases.append(phase)
            report(phase)
            try:
                return original(*args, **kwargs)
            finally:
                phases.pop()

        return call

    def introduce(self: Trainer[Any], folder: Path, first_step: int) -> None:
        for name, phase in (("validate", "validation"), ("export", "export")):
            setattr(self.task, name, within(phase, getattr(self.task, name)))
        report("start")

    def fsync(file: int, original: Callable[[int], None] = os.fsync) -> None:
        original(file)
        if phases:
            report(phases[-1])

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    Trainer._introduce, os.fsync = introduce, fsync
    Trainer.step, Run.save = within("step", Trainer.step), within("checkpoint", Run.save)


def finish(training: Training, out: Path) -> None:
    """Train to the end in a process of its own.

    Raises:
        RuntimeError: the run failed.
    """
    with started(training, out) as (_, reports):
        for _ in reports:
            pass


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
