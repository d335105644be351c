"""The bundled judge against the world: renders score as it says of itself, another scene's readings near chance."""

import pytest

from vitascope.evaluate.faithful import evaluate_faithful
from vitascope.evaluate.measures.questions import make_questions, render_question
from vitascope.judge.bundled import find_judge
from vitascope.judge.network import Judge
from vitascope.video.shape import VideoShape

pytestmark = pytest.mark.rendering
SHAPE = VideoShape(17, 8.0, 64, 64, 0.0)


def test_renders_score_at_the_judges_accuracy_and_shuffled_ones_near_chance():
    """Fails when the judge's words, its weights or the world's drawing drift apart."""
    judge, questions = Judge.load(find_judge()), make_questions(16, seed=3)
    report = evaluate_faithful(questions, judge.read, render=lambda question: render_question(question, SHAPE))
    tables, own = report.tables(), judge.config.accuracy["overall"]
    assert abs(tables["renders"]["overall"].accuracy - own) < 0.08
    assert tables["shuffled"]["overall"].accuracy < own - 0.3
    for attribute in ("kind", "colour", "motion", "setting", "camera"):
        assert tables["renders"][attribute].accuracy > tables["shuffled"][attribute].accuracy + 0.3


def test_captions_name_what_is_seen():
    judge, questions = Judge.load(find_judge()), make_questions(8, seed=4, variety=0.0)
    videos = [render_question(question, SHAPE) for question in questions]
    right = [
        question.scene.actors[0].colour in judge.caption(video, "en")
        for question, video in zip(questions, videos, strict=True)
    ]
    assert sum(right) >= 6
