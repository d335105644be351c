"""Compare training steps of two checkouts or two settings: tokens per second in paired runs, on one machine.

    git worktree add /tmp/before REVISION
    python scripts/compare_training.py /tmp/before . --pairs 12 --after compile=true
    python scripts/compare_training.py . . --after accumulate=4 --set transformer.num_heads=6 transformer.ffn_width=1536

Both train the bundled transformer's config on the same random latents, packed and noised as in a run. A process of each
checkout waits for work and the two take steps in turn, so a slow spell of the machine meets both. Printed are the
median and quartiles of tokens a second, of tokens a processor second, and of their ratios; and how far losses differ.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SHAPES = ((5, 8, 8),) * 14 + ((5, 6, 10),) * 3 + ((5, 10, 6),) * 2 + ((1, 8, 8),)  # latents, most of 320 tokens
NUM_CLIPS = 400
BASE = ("vae=playground", "text_encoder=playground", "precision=float32", "pack_tokens=4096")


def main() -> int:
    """0 if both checkouts took all steps."""
    parser = argparse.ArgumentParser(description="Compare training steps of two checkouts in paired runs.")
    parser.add_argument("first", type=Path, help="folder of a checkout")
    parser.add_argument("second", type=Path, help="folder of the other checkout, or of the same one")
    parser.add_argument("--pairs", type=int, default=12, metavar="N", help="number of pairs of steps")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads in each process")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of both")
    parser.add_argument("--before", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the first one")
    parser.add_argument("--after", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the second one")
    options = parser.parse_args()
    workers = [
        start(folder, [*BASE, *options.set, *extra], options.threads)
        for folder, extra in ((options.first, options.before), (options.second, options.after))
    ]
    try:
        for worker in workers:  # the first steps compile and fill caches
            step(worker)
        pairs = []
        for number in range(options.pairs):
            order = workers if number % 2 == 0 else workers[::-1]
            found = {id(worker): step(worker) for worker in order}
            pairs.append([found[id(worker)] for worker in workers])
            print(json.dumps(pairs[-1]), file=sys.stderr, flush=True)
    finally:
        for worker in workers:
            worker.kill()
    report(pairs)
    return 0


def report(pairs: Sequence[Sequence[dict[str, float]]]) -> None:
    """Print the figures of both sides and their ratios."""
    for unit in ("seconds", "processor seconds"):
        rates = [[one["tokens"] / one[unit] for one in pair] for pair in pairs]
        for name, values in (("first", [a for a, _ in rates]), ("second", [b for _, b in rates])):
            print(f"{name}: tokens / {unit}: {quartiles(values, '.0f')}")
        print(f"ratio: {quartiles([b / a for a, b in rates], '.3f')}, {len(rates)} pairs")
    differences = [abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in pairs]
    print(f"losses differ by {differences[0]:.1e} in the first pair and at most {max(differences):.1e}")


def quartiles(values: Sequence[float], form: str) -> str:
    """Median (lower to upper quartile)."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def start(folder: Path, settings: Sequence[str], threads: int) -> subprocess.Popen[str]:
    """A process that imports the checkout in a folder and takes a step for each line it reads."""
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(threads), *settings]
    environment = {**os.environ, "PYTHONPATH": str(folder.resolve()), "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def step(worker: subprocess.Popen[str]) -> dict[str, float]:
    """Figures of the worker's next step."""
    assert worker.stdin, "its stdin is a pipe"
    assert worker.stdout, "its stdout is a pipe"
    print(file=worker.stdin, flush=True)
    return json.loads(worker.stdout.readline())


def serve(threads: int, settings: Sequence[str]) -> None:
    """Take a step of the trainer for every line on stdin and print its figures."""
    import torch

    from vitascope.config import load_config
    from vitascope.data.caches import EncodedClip
    from vitascope.data.packing import PackLoader
    from vitascope.kernels.allocator import keep_freed_memory
    from vitascope.train.loop import Trainer
    from vitascope.train.packs import BatchMaker
    from vitascope.train.transformer import TransformerTask
    from vitascope.train.transformer_config import TransformerTrainConfig

    keep_freed_memory()  # as the command does
    torch.set_num_threads(threads)
    config = load_config("playground-transformer", TransformerTrainConfig, settings)
    task = TransformerTask(config, [])
    trainer = Trainer(task)
    generator = torch.Generator().manual_seed(0)
    clips = []
    for number in range(NUM_CLIPS):
        latent = torch.randn(config.transformer.in_channels, *SHAPES[number % len(SHAPES)], generator=generator)
        length = int(torch.randint(10, 40, (), generator=generator))
        text = torch.randn(length, config.transformer.text_width, generator=generator)
        clips.append(EncodedClip(latent, [text], 8.0, id=str(number)))
    task.maker = BatchMaker(clips, task.text_encoder.encode([""])[0], config, task.codec.stride.time)
    task.loader = PackLoader(task.maker.lengths, config.pack_tokens, config.seed)
    task.packs = iter(task.loader)
    if config.compile:
        task.model.compile_blocks()
    for number, _ in enumerate(sys.stdin):
        began, used = time.perf_counter(), time.process_time()
        figures = trainer.step(number)()
        found = {"seconds": time.perf_counter() - began, "processor seconds": time.process_time() - used}
        found["tokens"] = config.accumulate * figures["filled"] * config.pack_tokens
        print(json.dumps({**found, "loss": figures["loss"]}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        serve(int(sys.argv[2]), sys.argv[3:])
    else:
        sys.exit(main())
