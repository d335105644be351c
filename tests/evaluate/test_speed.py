"""Races against diffusers: both sides do the same work, and a side that doesn't is noticed."""

import json
import os
from dataclasses import replace
from functools import partial

import pytest
import torch

from vitascope.errors import ModelError
from vitascope.evaluate.speed import Contest, difference_beyond_rounding, evaluate_speed, race

diffusers = pytest.importorskip("diffusers")

from vitascope.evaluate import speed_processes  # noqa: E402
from vitascope.evaluate.speed_contests import SCALES, Contests  # noqa: E402
from vitascope.evaluate.speed_sides import apart  # noqa: E402


@pytest.mark.parametrize(
    "name", ["steps", "images", "decode-4", "encode-4", "pipeline", "training", "length", "steps-int8"]
)
def test_both_sides_of_a_contest_give_the_same(name, tmp_path):
    """Fails when weights, noise, prompts, guidance or the order of the mix differ."""
    contest = Contests(SCALES["tiny"], tmp_path).all()[name]()
    result = race(contest, 1)
    assert contest.ours().abs().max() > 0.1
    assert result.difference <= contest.tolerance
    assert min(result.ours, result.peer, result.ratio) > 0
    shifted = race(replace(contest, ours=lambda: contest.ours() + 1), 1)
    assert shifted.verdict == "DIFFERS"


def test_both_sides_decode_as_many_frames_as_growth_asks_for(tmp_path):
    contests = Contests(SCALES["tiny"], tmp_path)
    short, long = SCALES["tiny"].lengths
    assert [contests.decoding("ours", num_frames)() for num_frames in (short, long)] == [short, long]
    assert [contests.decoding("peer", num_frames)().shape[2] for num_frames in (short, long)] == [short, long]


def test_the_bundled_model_is_raced_with_its_own_weights(tmp_path):
    """In float32 both sides predict the same; in 8 bits nearly so."""
    contests = Contests(SCALES["tiny"], tmp_path)
    exact, rough = (race(contests.trained(int8=int8), 1) for int8 in (False, True))
    assert exact.difference <= 1e-4
    assert 1e-3 < rough.difference < 0.03


def test_a_difference_beyond_rounding_is_one_of_numbers():
    levels = torch.tensor([0.0, 7.0, 254.6, 255.0])
    assert difference_beyond_rounding(levels.round() / 255, levels / 255) == pytest.approx(0, abs=1e-7)
    assert difference_beyond_rounding((levels.round() - 1).abs() / 255, levels / 255) == pytest.approx(0.5 / 255)


def test_decoding_in_8_bits_is_nearly_the_peers(tmp_path):
    """Four channels round more roughly than any real codec's, so the tolerance of 40 dB isn't reached."""
    contest = Contests(SCALES["tiny"], tmp_path).all()["decode-4-int8"]()
    assert 1e-3 < race(contest, 1).difference < 0.05


def test_processes_are_run_and_their_failures_told(tmp_path, monkeypatch):
    """The peer's side of `start` takes its own imports, so it is run by hand and not here."""
    monkeypatch.setattr(speed_processes, "PEER_STEP", "raise SystemExit('no such thing')")
    contest = speed_processes.start(tmp_path)
    contest.ours()
    assert (tmp_path / "start.png").stat().st_size > 100
    with pytest.raises(ModelError, match="no such thing"):
        contest.peer()


def test_report_has_every_contest_and_its_verdict(tmp_path):
    def sleeping(milliseconds: int):
        import time

        return lambda: time.sleep(milliseconds / 1000) or torch.zeros(1)

    fast = Contest("fast", sleeping(1), sleeping(20), 0.0, 2.0)
    slow = Contest("slow", sleeping(20), sleeping(20), 0.0, 2.0)
    report = evaluate_speed([lambda: fast, lambda: slow], 3)
    assert [result.verdict for result in report.results] == ["reached", "not reached"]
    assert 0.5 < report.results[1].ratio < 2
    report.write(tmp_path)
    tree = json.loads((tmp_path / "speed.json").read_text())
    assert [row["verdict"] for row in tree["results"]] == ["reached", "not reached"]
    assert "| fast |" in (tmp_path / "speed.md").read_text()
    assert len(report.lines()) > 3


def test_the_ceiling_is_the_most_that_the_machine_reached():
    contest = Contest("busy", lambda: torch.zeros(1), lambda: torch.zeros(1), 0.0, 1.0, flops=1000)
    result = race(contest, 3, rate_now=iter([1e6, 4e6, 2e6]).__next__)
    assert result.share_of_ceiling == pytest.approx(1000 / result.ours / 4e6)


def make_pid_contest(outcome: str) -> Contest:
    """Each side gives the number of its process, and how often it has run."""
    calls = []

    def work() -> torch.Tensor:
        calls.append(1)
        if outcome == "raises":
            raise ModelError("no such thing")
        if outcome == "dies":
            os._exit(3)
        return torch.tensor([os.getpid(), len(calls)], dtype=torch.float64)

    return Contest("pid", work, work, 1e9, 1.0)


def test_sides_apart_are_processes_that_stay():
    with apart(partial(make_pid_contest, "works")) as contest:
        numbers = [side().tolist() for side in (contest.ours, contest.peer, contest.ours)]
        assert contest.name == "pid"
        assert race(contest, 1).difference > 0
    assert len({os.getpid(), numbers[0][0], numbers[1][0]}) == 3
    assert numbers[2] == [numbers[0][0], 2]


@pytest.mark.parametrize(("outcome", "message"), [("raises", "no such thing"), ("dies", "exit code 3")])
def test_a_side_that_fails_apart_is_told(outcome, message):
    with pytest.raises(ModelError, match=message), apart(partial(make_pid_contest, outcome)) as contest:
        contest.peer()


def test_a_contest_apart_is_the_one_in_place(tmp_path):
    """Fails when one side's networks are written over the other's, or a contest can't be sent to a process."""
    with apart(Contests(SCALES["tiny"], tmp_path).all()["steps"]) as contest:
        result = race(contest, 1)
    assert result.difference <= contest.tolerance
    assert result.goal == 1.5
