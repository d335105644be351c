"""Compare the speed of two checkouts: paired ratios of sampling, decoding and a training step, on one machine.

    git worktree add /tmp/before REVISION
    python scripts/compare_speed.py /tmp/before . --pairs 24

A process of each checkout waits for work; the two run each task in turn, so a slow spell of the machine meets both. The
medians and quartiles of the ratios are printed: above 1, the second checkout is slower.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TASKS = ("sampling", "decoding", "training")


def main() -> int:
    """0 if both checkouts ran every task."""
    parser = argparse.ArgumentParser(description="Compare the speed of two checkouts in paired runs.")
    parser.add_argument("before", type=Path, help="folder of a checkout")
    parser.add_argument("after", type=Path, help="folder of the other checkout")
    parser.add_argument("--pairs", type=int, default=24, metavar="N", help="number of pairs for each task")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    options = parser.parse_args()
    before, after = (start(folder) for folder in (options.before, options.after))
    try:
        for task in options.tasks:
            ratios = sorted(pair(before, after, task, number % 2 == 1) for number in range(options.pairs))
            quarter = len(ratios) // 4
            low, median, high = ratios[quarter], statistics.median(ratios), ratios[-1 - quarter]
            print(f"{task}: {median:.3f} (quartiles {low:.3f} to {high:.3f}, {len(ratios)} pairs)", flush=True)
    finally:
        before.kill()
        after.kill()
    return 0


def start(folder: Path) -> subprocess.Popen[str]:
    """A process that imports the checkout in a folder and waits for the names of tasks."""
    command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
    environment = {**os.environ, "PYTHONPATH": str(folder.resolve())}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    seconds(process, "")  # the first answer: ready
    return process


def pair(before: subprocess.Popen[str], after: subprocess.Popen[str], task: str, swap: bool) -> float:
    """Seconds of `after` for each second of `before`; `swap` runs `after` first."""
    if swap:
        last, first = seconds(after, task), seconds(before, task)
        return last / first
    first, last = seconds(before, task), seconds(after, task)
    return last / first


def seconds(process: subprocess.Popen[str], task: str) -> float:
    """Seconds of a task in a process."""
    assert process.stdin, "its stdin is a pipe"
    assert process.stdout, "its stdout is a pipe"
    print(task, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def serve() -> None:
    """Run the tasks named on stdin and print their seconds."""
    tasks = prepare_tasks()
    for work in tasks.values():
        work()
    for line in sys.stdin:
        began = time.perf_counter()
        if line.strip():
            tasks[line.strip()]()
        print(time.perf_counter() - began, flush=True)


def prepare_tasks() -> dict[str, Callable[[], object]]:
    """The tasks by name: guided steps of the bundled model, 33 frames of a codec, and a step of a transformer."""
    import torch

    import vitascope
    from vitascope.codec.network import Codec, CodecConfig
    from vitascope.codec.streaming import decode_frames
    from vitascope.model.patches import make_sample, pack, token_group
    from vitascope.model.transformer import Transformer, TransformerConfig

    logging.disable(logging.WARNING)  # the size is above the model's: more work for the same overhead
    torch.manual_seed(0)
    pipeline = vitascope.load("playground")
    codec = Codec(CodecConfig(latent_channels=16, base_width=32)).eval().requires_grad_(False)
    latent = torch.randn(16, 9, 16, 16)
    config = TransformerConfig(
        in_channels=16, out_channels=16, num_layers=6, num_heads=6, head_dim=64, ffn_width=1536, text_width=384
    )
    transformer = Transformer(config, torch.Generator().manual_seed(0))
    samples = []
    for num_frames in [5] * 6 + [1] * 6:
        group = token_group(torch.randn(16, num_frames, 8, 8), fps=8, reference_fps=8, patch=(1, 2, 2))
        samples.append(make_sample([group], torch.full((num_frames,), 0.5), torch.randn(20, 384)))
    packed = pack(samples)

    def train() -> None:
        transformer.zero_grad()
        transformer(packed).square().mean().backward()

    return {
        "sampling": lambda: pipeline.generate("a red ball", height=128, width=128, num_frames=17, num_steps=5),
        "decoding": lambda: list(decode_frames(codec, latent, 128, 128, 33)),
        "training": train,
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        serve()
    else:
        sys.exit(main())
