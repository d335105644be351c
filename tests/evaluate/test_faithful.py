"""The bundled judge on rendered scenes: renders score at its own accuracy, another scene's readings near chance."""

import pytest

from vitascope.evaluate.faithful import evaluate_faithful
from vitascope.evaluate.measures.questions import Question, make_questions, render_question
from vitascope.judge.bundled import find_judge
from vitascope.judge.network import Judge
from vitascope.video import Video
from vitascope.video.shape import VideoShape

pytestmark = pytest.mark.rendering
SHAPE = VideoShape(17, 8.0, 64, 64, 0.0)


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return make_questions(16, seed=3)


@pytest.fixture(scope="module")
def renders(questions: list[Question]) -> dict[str, Video]:
    """The simulator's video of each."""
    return {question.name: render_question(question, SHAPE) for question in questions}


def test_renders_score_at_the_judges_accuracy_and_shuffled_ones_near_chance(questions, renders):
    """Fails when the judge's words, its weights or the world's drawing drift apart."""
    judge = Judge.load(find_judge())
    report = evaluate_faithful(questions, judge.read, render=lambda question: renders[question.name])
    tables, own = report.tables(), judge.config.accuracy["overall"]
    assert abs(tables["renders"]["overall"].accuracy - own) < 0.08
    assert tables["shuffled"]["overall"].accuracy < own - 0.3
    for attribute in ("kind", "colour", "motion", "setting", "camera"):
        assert tables["renders"][attribute].accuracy > tables["shuffled"][attribute].accuracy + 0.3


def test_captions_name_what_is_seen(questions, renders):
    judge = Judge.load(find_judge())
    right = [
        question.scene.actors[0].colour in judge.caption(renders[question.name], "en")
        for question in questions[:10]
        if question.scene.style != "noir"  # black and white
    ]
    assert sum(right) >= 0.75 * len(right)
