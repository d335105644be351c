"""Two passes at once equal two in turn, leave no threads behind, and run only where they can."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitascope.kernels.device import CPU
from vitascope.kernels.threads import can_run_pairs, pair_runner
from vitascope.model.canvas import given_frames, make_canvas


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """PyTorch's number of threads during a test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


two_threads = pytest.mark.parametrize("threads", [2], indirect=True)


def number_of_a_new_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def sample(pipeline, **options: object) -> Tensor:
    latent = torch.randn(4, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    mask = given_frames(latent, [0])
    canvas = make_canvas(latent, mask, fps=8.0, reference_fps=8.0, patch=(1, 2, 2), time_stride=4)
    return pipeline.sample(canvas, "a red ball rolls", **{"num_steps": 4, "guidance": 3.0, **options})


@pytest.mark.parametrize("threads", [1, 2, 3, 4], indirect=True)
def test_passes_run_at_once_on_an_even_number_of_threads(threads):
    """Both start before either ends, each on half of the threads; otherwise they run in turn, on all threads."""
    met = threading.Barrier(2)

    def work() -> Tensor:
        if threads % 2 == 0:
            met.wait(timeout=30)
        return torch.tensor([torch.get_num_threads(), threading.get_ident()])

    assert can_run_pairs(CPU) == (threads % 2 == 0)
    with pair_runner(CPU) as run_pair:
        numbers, idents = torch.stack(run_pair(work, work)).T.tolist()
    assert numbers == [threads // 2 if threads % 2 == 0 else threads] * 2
    assert (len(set(idents)) == 2) == (threads % 2 == 0)


@two_threads
def test_other_devices_and_autocast_run_in_turn(threads):
    assert not can_run_pairs(torch.device("cuda"))
    with torch.autocast("cpu", torch.bfloat16), pair_runner(CPU) as run_pair:
        halves = run_pair(lambda: torch.ones(2, 2) @ torch.ones(2, 2), lambda: torch.ones(1))
    assert halves[0].dtype == torch.bfloat16


@two_threads
def test_results_are_those_of_passes_in_turn(pipeline, threads, monkeypatch):
    """Equal bits in every run; the interval leaves a step without guidance."""
    config = pipeline.config.model_copy(update={"guidance_interval": (0.0, 0.9), "guidance_rescale": 0.5})
    pipeline = type(pipeline)(pipeline.codec, pipeline.transformer, pipeline.text_encoder, config)
    seen: set[int] = set()
    hook = pipeline.transformer.register_forward_hook(lambda *_: seen.add(threading.get_ident()))
    first, second = sample(pipeline), sample(pipeline)
    assert len(seen) > 1
    hook.remove()
    monkeypatch.setattr("vitascope.kernels.threads.can_run_pairs", lambda device: False)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, sample(pipeline), rtol=0, atol=1e-6)
    assert not torch.allclose(first, sample(pipeline, guidance=2.0), atol=1e-3)


@two_threads
def test_nothing_is_left_behind(pipeline, threads):
    """No thread, and no other number of threads for the caller or for threads started during or after."""
    running = threading.active_count()
    numbers: list[int] = []
    sample(pipeline, on_progress=lambda *_: numbers.append(number_of_a_new_thread()))
    assert numbers == [2] * 4
    assert (torch.get_num_threads(), number_of_a_new_thread()) == (2, 2)
    assert threading.active_count() == running


@two_threads
@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_one_pass_is_raised_when_the_other_has_ended(threads, failing):
    ended: list[bool] = []

    def fail() -> Tensor:
        raise RuntimeError("out of memory")

    def last() -> Tensor:
        time.sleep(0.05)
        ended.append(True)
        return torch.zeros(1)

    running = threading.active_count()
    with pytest.raises(RuntimeError, match="out of memory"), pair_runner(CPU) as run_pair:
        run_pair(*((fail, last) if failing == 0 else (last, fail)))
    assert ended
    assert threading.active_count() == running
    assert torch.get_num_threads() == 2


@two_threads
def test_passes_run_in_their_callers_gradient_mode(threads):
    with pair_runner(CPU) as run_pair:
        assert not any(x.is_inference() for x in run_pair(lambda: torch.zeros(1), lambda: torch.zeros(1)))
        with torch.inference_mode():
            assert all(x.is_inference() for x in run_pair(lambda: torch.zeros(1), lambda: torch.zeros(1)))


INTERRUPTED = """
import itertools, os, signal, threading, time, torch
from vitascope.kernels.threads import pair_runner
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it is ignored
torch.set_num_threads(2)
passes, numbers = [], itertools.count(1)
def work():
    passes.append(None)
    if next(numbers) == 4:  # a counter of its own: both passes may be appended before either checks
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    return torch.zeros(1)
try:
    with pair_runner(torch.device("cpu")) as run_pair:
        while True:
            run_pair(work, work)
except KeyboardInterrupt:
    print(len(passes), threading.active_count(), torch.get_num_threads())
"""


def test_an_interrupt_stops_after_the_passes_under_way():
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert (done.stdout.split(), done.stderr) == (["4", "1", "2"], "")
