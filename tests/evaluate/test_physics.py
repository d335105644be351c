"""The measure of mechanics: what is right scores the tracker's noise, and each way of being wrong is seen."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from vitascope.errors import SizeError
from vitascope.evaluate.measures.tracking import track
from vitascope.evaluate.physics import (
    TRACKED_COLOURS,
    TRACKED_LAWS,
    Trial,
    evaluate_physics,
    extend_request,
    extrapolated,
    frozen,
    make_trials,
    observe,
    score,
)
from vitascope.video import Video
from vitascope.worlds.solids.cast import PALETTE
from vitascope.worlds.solids.laboratory import render_experiment
from vitascope.worlds.solids.physics import simulate

pytestmark = pytest.mark.rendering


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return make_trials(1)


def of(trials: list[Trial], law: str, widened: bool = False) -> Trial:
    return next(trial for trial in trials if trial.law == law and trial.widened == widened)


def test_the_truth_scores_nothing_and_its_clip_the_trackers_noise(trials):
    for trial in trials:
        perfect = score(trial, trial.truth)
        assert (perfect.position, perfect.velocity, perfect.energy_gain, perfect.lost) == (0, 0, 0, 0)
        seen = score(trial, observe(trial, trial.clip))
        assert seen.position < 0.025, trial.name
        assert seen.velocity < 0.12, trial.name
        assert seen.energy_gain < 0.1, trial.name
        assert seen.lost == 0, trial.name


def test_each_baseline_fails_where_it_should(trials):
    """A still picture fails every law; a straight line obeys the uniform one alone."""
    for trial in trials:
        floor = score(trial, observe(trial, trial.clip)).position
        assert score(trial, frozen(trial)).position > 5 * floor, trial.name
        straight = score(trial, extrapolated(trial)).position
        assert straight < 0.06 if trial.law == "uniform" else straight > 5 * floor, trial.name


def test_another_gravity_is_seen(trials):
    trial = of(trials, "bounce")
    heavier = replace(trial.experiment, gravity=2 * trial.experiment.gravity)
    motion = simulate(heavier, num_samples=len(trial.truth), rate=trial.clip.fps)
    shown = render_experiment(heavier, motion, height=64, width=64, colours=TRACKED_COLOURS)
    assert score(trial, observe(trial, shown.video)).position > 0.1


def test_energy_from_nowhere_is_seen(trials):
    trial = of(trials, "bounce")
    higher = trial.truth.copy()
    higher[trial.num_given :, :, 1] += 1.0
    assert score(trial, higher).energy_gain > 0.3
    backwards = np.flip(trial.truth, axis=0)  # as fast as forwards, but where a step straddles a bounce
    assert score(trial, backwards).energy_gain < 0.15


def test_a_body_that_vanishes_is_lost_and_counts_as_standing_still(trials):
    trial = of(trials, "uniform")
    frames = trial.clip.frames.copy()
    frames[trial.num_given :] = frames[:1, :1, :1]  # the wall everywhere
    seen = score(trial, observe(trial, Video(frames, trial.clip.fps)))
    assert seen.lost == 1
    assert seen.position == pytest.approx(score(trial, frozen(trial)).position, abs=0.01)


def test_a_video_that_is_too_short_is_refused(trials):
    with pytest.raises(SizeError, match="has 5 frames; it needs 17"):
        score(trials[0], observe(trials[0], trials[0].given))
    with pytest.raises(SizeError, match="and leave at least 1"):
        make_trials(1, num_frames=9, num_given=9)


def test_trials_follow_from_their_seed_and_lie_within_or_beyond(trials):
    again = make_trials(1, laws=("uniform",))
    assert [trial.name for trial in again] == ["uniform_within_000", "uniform_beyond_000"]
    np.testing.assert_array_equal(again[0].clip.frames, of(trials, "uniform").clip.frames)
    speeds = {t.widened: abs(t.experiment.bodies[0].velocity[0]) for t in trials if t.law == "uniform"}
    assert speeds[False] <= 1.4 <= speeds[True]


def test_each_trial_is_continued_by_a_seed_of_its_own(trials):
    """The request continues the given frames to the trial's length, with a seed of the trial's name and the run's."""
    requests = [extend_request(trial, seed) for seed in (0, 1) for trial in trials[:3]]
    assert len({request.seed for request in requests}) == 6
    assert extend_request(trials[1], 0).seed == requests[1].seed
    assert extend_request(replace(trials[1], name=trials[0].name), 0).seed == requests[0].seed
    assert {request.seconds for request in requests} == {12 / 8}
    assert all(request.video.num_frames == 5 for request in requests)


def test_a_report_holds_every_contestant_and_is_written(trials, tmp_path):
    part = [trial for trial in trials if trial.law in ("uniform", "pendulum")]
    report = evaluate_physics(part, lambda trial: Video(np.flip(trial.clip.frames, axis=0), trial.clip.fps))
    assert list(report.scores) == ["simulator", "frozen", "straight line", "model"]
    lines = report.lines()
    assert len(lines) == 1 + 3 * 2 * 4  # the two laws and all
    assert lines[-1].split()[:3] == ["all", "beyond", "model"]
    for row in report.rows():
        for mean, low, high in row.means.values():
            assert low <= mean <= high
    assert len(set(report.rows()[-1].means["position"])) == 3  # an interval that isn't a point
    report.write(tmp_path)
    tree = json.loads((tmp_path / "physics.json").read_text())
    moved = {who: [trial["position"] for trial in trials] for who, trials in tree["trials"].items()}
    assert len(moved["model"]) == len(part)
    assert np.mean(moved["model"]) > 5 * np.mean(moved["simulator"])
    everything = next(
        row for row in tree["rows"] if (row["law"], row["range"], row["source"]) == ("all", "within", "simulator")
    )
    assert everything["means"]["position"][0] == pytest.approx(np.mean(moved["simulator"][::2]))
    assert moved["simulator"][0] != moved["simulator"][2]
    assert (tmp_path / "physics.png").exists()


def test_colours_are_tracked_by_their_hue():
    """A dark and a light disc of two colours among grey, and nothing of a third."""
    frames = np.full((1, 40, 60, 3), 128, np.uint8)
    for (row, column), name, light in (((10, 12), "red", 0.5), ((30, 45), "blue", 1.0)):
        frames[0, row - 4 : row + 4, column - 4 : column + 4] = np.array(PALETTE[name]) * 255 * light
    found = track(frames, [PALETTE["red"], PALETTE["blue"], PALETTE["green"]])
    np.testing.assert_allclose(found[0, :2], [[10, 12], [30, 45]], atol=0.01)
    assert np.isnan(found[0, 2]).all()


def test_every_tracked_law_is_there(trials):
    assert {trial.law for trial in trials} == set(TRACKED_LAWS)
    assert len(trials) == 2 * len(TRACKED_LAWS)
