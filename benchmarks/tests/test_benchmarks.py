"""Both backends of a benchmark do the same work, and one that doesn't is noticed."""

import json
import os
from dataclasses import replace
from functools import partial

import pytest
import torch

from benchmarks import commands
from benchmarks.__main__ import main
from benchmarks.compare import Benchmark, compare, compare_all, difference_beyond_rounding
from benchmarks.isolation import isolated
from benchmarks.networks import SCALES
from benchmarks.report import BenchmarkReport, describe_machine
from benchmarks.suite import Suite, supports_int8
from vitascope.errors import ModelError
from vitascope.kernels.device import CPU

needs_int8 = pytest.mark.skipif(not supports_int8(), reason="no 8-bit kernels, or a processor without VNNI")
FLOAT32 = ["steps", "images", "decode-4", "encode-4", "pipeline", "training", "length"]


@pytest.mark.parametrize("name", [*FLOAT32, pytest.param("steps-int8", marks=needs_int8)])
def test_both_backends_return_the_same(name, tmp_path):
    """Fails when weights, noise, prompts, guidance or the order of the mix differ."""
    benchmark = Suite(SCALES["tiny"], tmp_path).all()[name]()
    result = compare(benchmark, 1)
    assert benchmark.ours().abs().max() > 0.1
    assert result.difference <= benchmark.tolerance
    assert min(result.ours, result.peer, result.ratio) > 0
    shifted = compare(replace(benchmark, ours=lambda: benchmark.ours() + 1), 1)
    assert shifted.verdict == "DIFFERS"


def test_both_backends_decode_the_frames_that_growth_asks_for(tmp_path):
    suite = Suite(SCALES["tiny"], tmp_path)
    short, long = SCALES["tiny"].lengths
    assert [suite.decoding("ours", num_frames)() for num_frames in (short, long)] == [short, long]
    assert [suite.decoding("peer", num_frames)().shape[2] for num_frames in (short, long)] == [short, long]


@pytest.mark.parametrize(
    ("int8", "least", "most"), [(False, 0, 1e-4), pytest.param(True, 1e-3, 0.03, marks=needs_int8)]
)
def test_the_bundled_model_is_compared_with_its_own_weights(int8, least, most, tmp_path):
    """In float32 both backends predict the same; in 8 bits nearly so."""
    assert least < compare(Suite(SCALES["tiny"], tmp_path).trained(int8=int8), 1).difference <= most


def test_a_difference_beyond_rounding_is_one_of_numbers():
    levels = torch.tensor([0.0, 7.0, 254.6, 255.0])
    assert difference_beyond_rounding(levels.round() / 255, levels / 255) == pytest.approx(0, abs=1e-7)
    assert difference_beyond_rounding((levels.round() - 1).abs() / 255, levels / 255) == pytest.approx(0.5 / 255)


@needs_int8
def test_decoding_in_8_bits_is_nearly_the_peers(tmp_path):
    """Four channels round more roughly than any real codec's, so the tolerance of 40 dB isn't reached."""
    benchmark = Suite(SCALES["tiny"], tmp_path).all()["decode-4-int8"]()
    assert 1e-3 < compare(benchmark, 1).difference < 0.05


def test_commands_run_and_their_failures_are_raised(tmp_path, monkeypatch):
    """The peer's half of `start` imports for seconds, so a failing program stands in for it."""
    monkeypatch.setattr(commands, "PEER_STEP", "raise SystemExit('no such thing')")
    benchmark = commands.start(tmp_path)
    benchmark.ours()
    assert (tmp_path / "start.png").stat().st_size > 100
    with pytest.raises(ModelError, match="no such thing"):
        benchmark.peer()


def test_a_report_has_every_benchmark_and_its_verdict(tmp_path):
    def sleeping(milliseconds: int):
        import time

        return lambda: time.sleep(milliseconds / 1000) or torch.zeros(1)

    fast = Benchmark("fast", sleeping(1), sleeping(20), 0.0, 2.0)
    slow = Benchmark("slow", sleeping(20), sleeping(20), 0.0, 2.0)
    report = BenchmarkReport(compare_all([lambda: fast, lambda: slow], 3), describe_machine(CPU, torch.float32, 3))
    assert [result.verdict for result in report.results] == ["reached", "not reached"]
    assert 0.5 < report.results[1].ratio < 2
    report.write(tmp_path)
    tree = json.loads((tmp_path / "benchmarks.json").read_text())
    assert [row["verdict"] for row in tree["results"]] == ["reached", "not reached"]
    assert "| fast |" in (tmp_path / "benchmarks.md").read_text()
    assert len(report.lines()) > 3


def test_the_ceiling_is_the_highest_rate_of_the_machine():
    benchmark = Benchmark("busy", lambda: torch.zeros(1), lambda: torch.zeros(1), 0.0, 1.0, flops=1000)
    result = compare(benchmark, 3, rate_now=iter([1e6, 4e6, 2e6]).__next__)
    assert result.share_of_ceiling == pytest.approx(1000 / result.ours / 4e6)


def make_pid_benchmark(outcome: str) -> Benchmark:
    """A benchmark whose work returns the number of its process and of its calls there."""
    calls = []

    def work() -> torch.Tensor:
        calls.append(1)
        if outcome == "raises":
            raise ModelError("no such thing")
        if outcome == "dies":
            os._exit(3)
        return torch.tensor([os.getpid(), len(calls)], dtype=torch.float64)

    return Benchmark("pid", work, work, 1e9, 1.0)


def test_isolated_backends_are_processes_that_stay():
    with isolated(partial(make_pid_benchmark, "works")) as benchmark:
        numbers = [work().tolist() for work in (benchmark.ours, benchmark.peer, benchmark.ours)]
        assert benchmark.name == "pid"
        assert compare(benchmark, 1).difference > 0
    assert len({os.getpid(), numbers[0][0], numbers[1][0]}) == 3
    assert numbers[2] == [numbers[0][0], 2]


@pytest.mark.parametrize(("outcome", "message"), [("raises", "no such thing"), ("dies", "exit code 3")])
def test_an_isolated_backend_that_fails_raises(outcome, message):
    with pytest.raises(ModelError, match=message), isolated(partial(make_pid_benchmark, outcome)) as benchmark:
        benchmark.peer()


def make_bfloat16_benchmark() -> Benchmark:
    def work() -> torch.Tensor:
        return torch.tensor([1.5], dtype=torch.bfloat16)

    return Benchmark("half", work, work, 0.0, 1.0)


def test_results_in_bfloat16_come_back_from_their_process():
    """NumPy has no such format: the benchmark of a CPU with AMX ended in a traceback."""
    with isolated(make_bfloat16_benchmark) as benchmark:
        assert compare(benchmark, 1).difference == 0


def test_an_isolated_benchmark_is_the_one_in_process(tmp_path):
    """Fails when one backend's weights overwrite the other's, or a benchmark can't be pickled."""
    with isolated(Suite(SCALES["tiny"], tmp_path).all()["steps"]) as benchmark:
        result = compare(benchmark, 1)
    assert result.difference <= benchmark.tolerance
    assert result.goal == 1.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["steps", "nonsense"], "no benchmark 'nonsense' at this scale; give steps, images,"),
        (["growth", "--dtype", "bfloat16"], "growth needs a CPU, float32, and no --tuned"),
        (["steps", "--device", "gpu"], "device 'gpu': give auto, cpu, cuda, cuda:N or mps"),
        (["--out", "file"], "--out file: file is a file, not a folder"),
    ],
)
def test_a_mistake_ends_with_exit_code_2(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["benchmarks", *words, "--scale", "tiny"])
    try:
        code = main()
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert said in " ".join(capsys.readouterr().err.split())
