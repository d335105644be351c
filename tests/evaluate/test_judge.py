"""Scores of readings: exact readers, liars and guessers get what they deserve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vitascope.errors import DatasetError, SizeError
from vitascope.evaluate.faithful import RIGHT, WRONG, evaluate_faithful
from vitascope.evaluate.judge import evaluate_judge
from vitascope.evaluate.measures.questions import make_questions, render_shape
from vitascope.evaluate.measures.rates import OVERALL, rate, rates
from vitascope.judge.network import Reading
from vitascope.judge.scoring import REPORTED, Verdict
from vitascope.judge.sentence import VALUES, Sentence, Slot, describe
from vitascope.video import Video, write_video
from vitascope.worlds.solids.sampling import is_held_out, sample_scene

NUM = 24


def numbered(number: int) -> Video:
    """A video whose pixels are its number."""
    return Video(np.full((2, 16, 16, 3), 10 * number, np.uint8), 8.0)


def number_of(video: Video) -> int:
    return round(float(video.frames.mean()) / 10)


class Oracle:
    """Returns a numbered video's sentence with one wrong attribute."""

    def __init__(self, truths: list[Sentence], lie: str = "", confidence: float = 1.0):
        self.truths, self.lie, self.confidence = truths, lie, confidence

    def read(self, video: Video) -> Reading:
        """The truth, or the next value after it."""
        told = {slot: self._told(slot, value) for slot, value in self.truths[number_of(video)].items()}
        return Reading(told, dict.fromkeys(told, self.confidence))

    def _told(self, slot: Slot, value: str) -> str:
        values = VALUES[slot.attribute]
        return values[(values.index(value) + 1) % len(values)] if slot.attribute == self.lie else value


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty-four numbered clips with records."""
    (tmp_path / "clips").mkdir()
    for number in range(NUM):
        path = tmp_path / "clips" / f"{number:06d}"
        write_video(numbered(number), path.with_suffix(".mp4"))
        record = {"id": path.name, "num_frames": 2, "height": 16, "width": 16, "fps": 8.0, "captions": {}}
        record |= {"attributes": sample_scene(number).attributes()}
        path.with_suffix(".json").write_text(json.dumps(record))
    return tmp_path


def test_a_lie_about_one_attribute_shows_in_its_row_alone(data: Path, tmp_path: Path) -> None:
    """Fails when attributes are mixed up, or chance is the score itself."""
    truths = [describe(sample_scene(number).attributes()) for number in range(NUM)]
    report = evaluate_judge(Oracle(truths, lie="setting", confidence=0.75).read, data)
    assert {name: r.accuracy for name, r in report.rates.items() if r.accuracy < 1}.keys() == {"setting", OVERALL}
    assert report.rates["setting"].accuracy == 0.0
    assert report.chance["kind"].accuracy < 0.5
    assert report.calibration_error == pytest.approx(abs(report.rates[OVERALL].accuracy - 0.75))
    assert len(report.lines()) == len(report.rates) + 2
    report.write(tmp_path / "out")
    tree = json.loads((tmp_path / "out" / "judge.json").read_text())
    assert tree["clips"] == NUM
    assert tree["attributes"]["setting"]["accuracy"] == 0.0
    assert (tmp_path / "out" / "judge.png").stat().st_size > 0


def test_some_of_the_clips_are_drawn_and_too_few_refused(data: Path) -> None:
    oracle = Oracle([describe(sample_scene(number).attributes()) for number in range(NUM)])
    assert evaluate_judge(oracle.read, data, num_clips=5).num_clips == 5
    with pytest.raises(DatasetError, match="at least two"):
        evaluate_judge(oracle.read, data, num_clips=1)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """95 % of the intervals hold the true share, about; fails when verdicts of one clip are drawn apart."""
    draw, covered = np.random.default_rng(0), 0
    for seed in range(100):
        alike = draw.random(60) < 0.7
        found = [[Verdict("kind", bool(right))] * 5 for right in alike]
        each = rate(found, seed)
        covered += each.low <= 0.7 <= each.high
    assert covered >= 88
    assert (rate([]).num, rates([[]])[OVERALL].num) == (0, 0)


def test_questions_ask_for_seen_and_unseen_combinations_in_both_languages() -> None:
    questions = make_questions(8)
    assert questions == make_questions(8)
    assert {(q.language, q.split) for q in questions} == {(a, b) for a in ("en", "zh") for b in ("train", "held_out")}
    for question in questions:
        actor, shot = question.scene.actors[0], question.scene.shots[0]
        unseen = is_held_out(actor.colour, actor.kind, shot.acts[0].motion, shot.place, 0.1)
        assert unseen == (question.split == "held_out")
        assert question.prompt.isascii() == (question.language == "en")
    assert len({question.prompt for question in questions}) == 8
    with pytest.raises(SizeError, match="at least two"):
        make_questions(1)


def test_a_faithful_model_scores_the_ceiling_and_one_that_ignores_prompts_scores_chance(tmp_path: Path) -> None:
    """Fails when the model's videos are compared with what was rendered, or with the wrong question."""
    questions = make_questions(NUM)
    oracle = Oracle([question.truth for question in questions], lie="camera")
    place = {question.name: number for number, question in enumerate(questions)}
    half = NUM // 2
    faithful = evaluate_faithful(
        questions, oracle.read, render=lambda q: numbered(place[q.name]), make=lambda q: numbered(place[q.name])
    ).tables()
    assert faithful["model"] == faithful["renders"]
    assert faithful["renders"]["camera"].accuracy == 0.0
    assert faithful["renders"]["kind"].accuracy == 1.0

    report = evaluate_faithful(
        questions,
        oracle.read,
        render=lambda q: numbered(place[q.name]),
        make=lambda q: numbered((place[q.name] + half) % NUM),
        judge={"kind": 0.875},
    )
    ignoring = report.tables()
    assert ignoring["model"] == ignoring["shuffled"]
    assert ignoring["model"]["kind"].accuracy < 0.5
    assert {"English", "Chinese", "combinations seen", "combinations unseen"} <= ignoring["model"].keys()
    assert set(ignoring["renders"]) - {
        "English",
        "Chinese",
        "combinations seen",
        "combinations unseen",
        OVERALL,
    } <= set(REPORTED)
    assert report.lines()[0].split() == ["correct,", "%", "(95", "%)", "judge", "renders", "shuffled", "model"]
    rows = {line[:20].strip(): line[20:28].strip() for line in report.lines()}
    assert (rows["kind"], rows["colour"]) == ("87.5", "-")
    report.write(tmp_path)
    tree = json.loads((tmp_path / "faithful.json").read_text())
    assert tree["scores"]["model"]["kind"]["num"] > 0
    assert (len(tree["clips"]), tree["judge"]) == (NUM, {"kind": 0.875})
    camera = next(verdict for verdict in tree["clips"][0]["renders"] if verdict["attribute"] == "camera")
    assert camera["wanted"] == questions[0].scene.shots[0].camera
    assert (camera["right"], camera["read"] == camera["wanted"]) == (False, False)
    assert (tmp_path / "faithful.png").stat().st_size > 0


def test_a_contestant_that_is_not_there_has_no_column() -> None:
    questions = make_questions(4)
    oracle = Oracle([question.truth for question in questions])
    place = {question.name: number for number, question in enumerate(questions)}
    alone = evaluate_faithful(questions, oracle.read, render=lambda q: numbered(place[q.name]))
    assert list(alone.tables()) == ["renders", "shuffled"]
    steps: list[tuple[int, int]] = []
    bare = evaluate_faithful(
        questions, oracle.read, make=lambda q: numbered(place[q.name]), on_progress=lambda *done: steps.append(done)
    )
    assert list(bare.tables()) == ["model"]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_picture_frames_what_is_wrong_in_red() -> None:
    """Fails when the frame's colour goes by another clip, or by nothing."""
    questions = make_questions(2)
    oracle = Oracle([question.truth for question in questions])
    pixels = evaluate_faithful(questions, oracle.read, make=lambda _: numbered(0)).sheet.frames[0]
    green, red = ((pixels == np.array(colour)).all(axis=2) for colour in (RIGHT, WRONG))
    assert green.any()
    assert red.any()
    assert np.flatnonzero(green.any(axis=0)).max() < np.flatnonzero(red.any(axis=0)).min()


def test_renders_are_as_long_as_the_video_and_no_larger_than_the_judge_can_see() -> None:
    large = Video(np.zeros((48, 270, 480, 3), np.uint8), 24.0)
    assert render_shape(large) == (16, 8.0, 96, 170, 0.0)
    assert render_shape(Video(np.zeros((17, 48, 80, 3), np.uint8), 8.0)) == (17, 8.0, 48, 80, 0.0)
