"""The reported cost of a video equals its measured cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitascope.codec.streaming import decode_frames, latent_shape
from vitascope.generate.cost import Cost, cost_of

SIZE = {"height": 48, "width": 32}


def cost(pipeline, num_passes: int, num_frames: int):
    return cost_of(
        *(pipeline.codec, pipeline.transformer, pipeline.text_encoder, num_passes),
        **SIZE,
        num_frames=num_frames,
    )


@pytest.mark.parametrize("num_frames", [1, 9, 33])
def test_decoding_is_counted_as_it_is_done(pipeline, num_frames, monkeypatch):
    """Chunk by chunk; 33 frames take five chunks."""
    latent = torch.zeros(pipeline.codec.latent_channels, *latent_shape(pipeline.codec, num_frames, **SIZE))
    monkeypatch.setattr("vitascope.kernels.conv.has_onednn", lambda: False)  # what the counter doesn't know
    monkeypatch.setattr("vitascope.codec.streaming.MAX_CELLS_TO_OVERLAP", 0)  # it counts what its own thread does
    with FlopCounterMode(display=False) as counter:
        list(decode_frames(pipeline.codec, latent, **SIZE, num_frames=num_frames))
    assert cost(pipeline, 0, num_frames).flops == pytest.approx(counter.get_total_flops(), rel=1e-6)


def test_every_pass_and_every_weight_counts(pipeline):
    none, one, three = (cost(pipeline, passes, 9) for passes in (0, 1, 3))
    assert three.flops - none.flops == 3 * (one.flops - none.flops) > 0
    networks = (pipeline.codec, pipeline.transformer)
    numbers = sum(p.numel() for network in networks for p in network.parameters())
    assert one.weight_bytes == pipeline.text_encoder.num_bytes + 4 * numbers


@pytest.mark.parametrize("changes", [{}, {"solver": "heun"}, {"guidance": 1.0}, {"guidance_interval": (0.2, 0.75)}])
def test_a_card_counts_the_passes_that_are_made(pipeline, changes, monkeypatch):
    """Guidance takes two passes within its interval, else one; Heun's solver evaluates 2N - 1 velocities."""
    config = pipeline.config.model_copy(update=changes)
    pipeline = type(pipeline)(pipeline.codec, pipeline.transformer, pipeline.text_encoder, config)
    made = []
    hook = pipeline.transformer.register_forward_hook(lambda *_: made.append(None))
    pipeline.generate("a ball")
    hook.remove()
    monkeypatch.setattr("vitascope.generate.cost.cost_of", lambda *given, **size: Cost(0, 0, flops=given[3]))
    assert pipeline.cost().flops == len(made)


@pytest.mark.parametrize(("threads", "guidance", "at_once"), [(2, 3.0, 2), (2, 1.0, 1), (1, 3.0, 1)])
def test_a_card_counts_the_memory_of_passes_side_by_side(pipeline, threads, guidance, at_once, monkeypatch):
    config = pipeline.config.model_copy(update={"guidance": guidance})
    pipeline = type(pipeline)(pipeline.codec, pipeline.transformer, pipeline.text_encoder, config)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    size = {"height": config.height, "width": config.width, "num_frames": config.num_frames}
    networks = (pipeline.codec, pipeline.transformer, pipeline.text_encoder)
    in_turn, side_by_side = (cost_of(*networks, 1, passes_at_once=num, **size).working_bytes for num in (1, 2))
    assert side_by_side > in_turn
    assert pipeline.cost().working_bytes == (side_by_side if at_once == 2 else in_turn)


def test_a_card_is_the_same_minutes_apart_and_on_a_busy_machine(pipeline, monkeypatch):
    """Fails when a clock is read: a time that depends on other programs is no property of the model."""

    def read_clock() -> float:
        raise AssertionError("a clock was read")

    for name in ("time", "perf_counter", "monotonic", "process_time"):
        monkeypatch.setattr(f"time.{name}", read_clock)
    first, second = pipeline.card(), pipeline.card()
    assert first == second
    assert set(first["a video takes"]) == {"GiB of weights", "GiB of memory, about", "TFLOP"}


def test_text_counts_as_the_encoder_gives_it(pipeline):
    """Fewer states are less arithmetic; the memory is that of the longest prompt."""

    def cost_with(min_tokens: int) -> Cost:
        encoder = SimpleNamespace(
            width=24,
            num_parameters=0,
            num_bytes=0,
            min_tokens=min_tokens,
            max_tokens=512,
            encode=pipeline.text_encoder.encode,
            to=pipeline.text_encoder.to,
        )
        return cost_of(pipeline.codec, pipeline.transformer, encoder, 1, **SIZE, num_frames=9)

    long, short = cost_with(512), cost_with(4)
    config, tokens = pipeline.transformer.config, 3 * 3 * 2
    assert long.flops - short.flops == 2 * config.num_layers * 2 * config.width * tokens * (512 - 4)
    assert long.working_bytes == short.working_bytes
    assert pipeline.text_encoder.min_tokens == len(pipeline.text_encoder.encode([""])[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_memory_is_about_what_the_process_takes():
    program = (
        "import vitascope\n"
        "from vitascope.kernels.allocator import keep_freed_memory\n"
        "keep_freed_memory()\n"  # as the command does
        "pipeline = vitascope.load()\n"
        "size = {'height': 128, 'width': 128, 'num_frames': 17, 'num_steps': 1}\n"
        "pipeline.generate('a ball', **size)\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "pipeline.config = pipeline.config.model_copy(update=size)\n"
        "print(int(peak.split()[1]) * 1024 / pipeline.cost().num_bytes)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert 0.65 < float(done.stdout) < 1.5
