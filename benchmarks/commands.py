"""Benchmarks of whole commands: time from start to exit."""

from __future__ import annotations

import importlib.util
import os
import string
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.compare import Benchmark, Work
from vitascope.errors import ModelError

PEER_STEP = """
import sys
from diffusers import WanPipeline
pipeline = WanPipeline.from_pretrained(sys.argv[1])
frames = pipeline("a ball", height=32, width=32, num_frames=1, num_inference_steps=1, output_type="pil").frames[0]
frames[0].save(sys.argv[2])
"""


def command_benchmarks(folder: Path) -> dict[str, Callable[[], Benchmark]]:
    """A builder for each benchmark's name; `folder` takes a small pipeline that diffusers writes.

    diffusers needs transformers and accelerate to load it; without these, `start` is left out.
    """
    loads = all(importlib.util.find_spec(name) for name in ("transformers", "accelerate"))
    return {"help": help_text, **({"start": partial(start, folder)} if loads else {})}


def help_text() -> Benchmark:
    """Print the help of the command line."""
    theirs = [str(Path(sysconfig.get_path("scripts")) / "diffusers-cli"), "--help"]
    return _benchmark("--help", [sys.executable, "-m", "vitascope", "--help"], theirs, 40.0)


def start(folder: Path) -> Benchmark:
    """Load a small pipeline from one folder and sample an image in one step."""
    small_pipeline().save_pretrained(folder / "start")
    model = str(folder / "start")
    options = ["--size", "32x32", "--frames", "1", "--steps", "1", "--model", model, "-o", str(folder / "start.png")]
    ours = [sys.executable, "-m", "vitascope", "generate", "a ball", *options]
    return _benchmark(
        "load, and one step", ours, [sys.executable, "-c", PEER_STEP, model, str(folder / "peer.png")], 3.0
    )


def small_pipeline() -> Any:
    """A minimal diffusers pipeline of Wan 2.1's form with random weights."""
    diffusers, transformers = (importlib.import_module(name) for name in ("diffusers", "transformers"))
    statistics = {"latents_mean": [0.0] * 16, "latents_std": [1.0] * 16}
    words = transformers.UMT5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    shape = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16, "ffn_dim": 64, "text_dim": 32}
    return diffusers.WanPipeline(
        vae=diffusers.AutoencoderKLWan(base_dim=4, z_dim=16, **statistics),
        transformer=diffusers.WanTransformer3DModel(**shape, in_channels=16, out_channels=16),
        text_encoder=transformers.UMT5EncoderModel(words),
        tokenizer=_letters(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def _letters() -> Any:
    """A tokenizer with one token per letter."""
    tokenizers, transformers = (importlib.import_module(name) for name in ("tokenizers", "transformers"))
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), *((letter, -5.0) for letter in string.ascii_letters)]
    fast = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=2))
    end = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast.post_processor = end
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def _benchmark(name: str, ours: Sequence[str], theirs: Sequence[str], goal: float) -> Benchmark:
    return Benchmark(name, _run(ours), _run(theirs), 0.0, goal, difference=None)


def _run(command: Sequence[str]) -> Work:
    # the warm-up compiles modules once, as an installation does
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def work() -> Tensor:
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        except OSError as error:
            raise ModelError(f"can't run {command[0]}: {error.strerror}") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ModelError(f"{' '.join(command)[:80]}: exit code {done.returncode}: {last[:200]}")
        return torch.zeros(1)

    return work
