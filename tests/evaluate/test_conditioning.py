"""`evaluate abilities` on an oracle that returns the ground truth, and on a model that ignores its input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitascope.errors import SizeError
from vitascope.evaluate.conditioning import (
    ORACLE_CASES,
    ConditioningReport,
    EditScore,
    Outcome,
    evaluate_conditioning,
    judge_outcome,
    motion_correlation,
)
from vitascope.evaluate.measures.questions import Question, render_question
from vitascope.evaluate.measures.tasks import Given, Subject, Task, make_subjects, make_tasks, recoloured
from vitascope.generate.requests import Connect, Edit, Extend, Fill, Generate, Loop, Request
from vitascope.judge.network import Reading
from vitascope.judge.sentence import describe
from vitascope.video import Video
from vitascope.video.shape import VideoShape

pytestmark = pytest.mark.rendering
SHAPE, STEP = VideoShape(17, 8.0, 48, 48, 0.0), 4


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return make_subjects(3, 5, SHAPE)


def codec(video: Video) -> Video:
    """A codec that keeps the upper five bits."""
    return Video(video.frames // 8 * 8 + 4, video.fps)


class Simulator:
    """Runs requests from the ground truth: missing frames come back, edits are rendered."""

    def __init__(self, subjects: list[Subject]):
        self.clips = {subject.question.prompt: subject.video for subject in subjects}
        self.edits = {asked.prompt: asked for asked in (recoloured(subject.question) for subject in subjects)}

    def _whole(self, prompt: str) -> Video:
        return codec(self.clips[prompt])

    def run(self, request: Request) -> Video:
        """The video of a request."""
        if isinstance(request, Generate):
            assert request.num_frames == 17
            return self._whole(request.prompt)
        if isinstance(request, Fill):
            assert request.missing == ((5 / 8, 13 / 8),)
            return self._whole(request.prompt)
        methods = {Extend: self.extend, Connect: self.connect, Loop: self.loop, Edit: self.edit}
        return methods[type(request)](request)

    def extend(self, request: Extend) -> Video:
        video = request.video
        clip, num, made = self._whole(request.prompt), video.num_frames, round(request.seconds * 8)
        places = range(clip.num_frames - num + 1)
        start = min(places, key=lambda k: np.abs(clip.frames[k : k + num].astype(int) - video.frames).mean())
        before, after = clip.frames[start - made : start + num], clip.frames[start:][: num + made]
        return Video(before if request.backward else after, 8.0)

    def connect(self, request: Connect) -> Video:
        """The first video's last frame, repeated; the step to the second video is not smoothed."""
        before = request.before
        held = np.repeat(before.frames[-1:], round(request.seconds * before.fps), axis=0)
        return codec(Video(np.concatenate([before.frames, held, request.after.frames]), before.fps))

    def loop(self, request: Loop) -> Video:
        """Backwards to the beginning."""
        video = request.video
        back = video.frames[-2::-1][: round(request.seconds * video.fps)]
        return codec(Video(np.concatenate([video.frames, back]), video.fps))

    def edit(self, request: Edit) -> Video:
        return render_question(self.edits[request.prompt], SHAPE)


class Forgetful(Simulator):
    """Returns another clip for every request, with every other frame black; edits change nothing."""

    def _whole(self, prompt: str) -> Video:
        (other, *_) = (clip for words, clip in self.clips.items() if words != prompt)
        return Video((other.frames * (np.arange(17) % 2)[:, None, None, None]).astype(np.uint8), other.fps)

    def extend(self, request: Extend) -> Video:
        return Video(self._whole(request.prompt).frames[: request.video.num_frames + round(request.seconds * 8)], 8.0)

    def edit(self, request: Edit) -> Video:
        return request.video


def reader(subjects: list[Subject]) -> Any:
    """A judge that knows the renders of the clips and of their edits, and nothing else."""
    known: list[tuple[Video, Question]] = []
    for question, video in subjects:
        asked = recoloured(question)
        known += [(video, question), (render_question(asked, SHAPE), asked)]

    def read(video: Video) -> Reading:
        nearest = min(known, key=lambda pair: np.abs(pair[0].frames.astype(int) - video.frames).mean())
        return Reading(describe(nearest[1].scene.attributes()), {})

    return read


def report_of(model: Simulator, subjects: list[Subject]) -> ConditioningReport:
    tasks = make_tasks(subjects, STEP, strength=0.8, seed=0)
    oracle = Simulator(subjects).run
    return evaluate_conditioning(
        subjects, tasks, lambda task: task.make(model.run), codec, reader(subjects), step=STEP, oracle=oracle
    )


def test_the_truth_is_all_right(subjects: list[Subject], tmp_path: Path) -> None:
    report = report_of(Simulator(subjects), subjects)
    assert len(report.outcomes) == 3 * 7
    assert report.oracle == [outcome for outcome in report.outcomes if outcome.case in ORACLE_CASES]
    assert max(outcome.loss or 0.0 for outcome in report.outcomes) == pytest.approx(0, abs=0.3)
    smooth = [o for o in report.outcomes if o.case in ("first frame", "extend", "backward", "both ways", "fill")]
    assert np.median([join for o in smooth for join in o.joins]) <= 1
    assert all(join < 1.5 for o in smooth for join in o.joins)  # one step in twenty is larger than the 95th percentile
    jumps = [o.joins[1] for o in report.outcomes if o.case == "connect"]
    assert min(jumps) > 1.5  # from one clip to another without a way between
    assert all(fill["model"] == fill["codec"] for fill in report.fills.values())
    assert all(fill["model"] > max(fill["cross-fade"], fill["frozen frame"]) for fill in report.fills.values())
    assert all(edit.colour and not edit.colour_before and edit.kind for edit in report.edits)
    assert all(edit.motion > 0.9 > edit.elsewhere for edit in report.edits)
    report.write(tmp_path)
    assert (tmp_path / "abilities.json").stat().st_size > 1000
    assert (tmp_path / "abilities.png").stat().st_size > 1000


def test_one_who_forgets_fails_each_measure(subjects: list[Subject]) -> None:
    report = report_of(Forgetful(subjects), subjects)
    given = [o for o in report.outcomes if o.case in ("first frame", "extend", "backward", "fill")]
    assert min(outcome.loss or 0.0 for outcome in given) > 5
    both_ways = [o for o in report.outcomes if o.case == "both ways"]
    assert min(join for outcome in [*given, *both_ways] for join in outcome.joins) > 2
    assert all(fill["model"] < min(fill["cross-fade"], fill["frozen frame"]) for fill in report.fills.values())
    assert not any(edit.colour for edit in report.edits)


def test_a_join_is_compared_with_the_clip_that_is_given_there() -> None:
    """Joins 3 and 0 are of clip 1, whose steps are the smaller ones; 0 is the step from the last frame to the first."""
    levels = np.array([0, 0, 0, 10, 10, 20], np.uint8)
    made = Video(np.broadcast_to(levels[:, None, None, None], (6, 16, 16, 3)).copy(), 8.0)
    task = Task("connect", 0, "", "", lambda run: made, {}, {3: 1, 5: 0, 0: 1})
    outcome = judge_outcome(task, "", made, codec, [10.0, 5.0].__getitem__)
    assert outcome.joins == (2.0, 1.0, 4.0)
    assert outcome.loss is None


def test_what_is_given_is_compared_with_the_codec_of_all_that_is_given() -> None:
    """A codec that keeps first frames better is no better where the given frames are later ones."""
    levels = np.array([0, 0, 40, 40], np.uint8)
    video = Video(np.broadcast_to(levels[:, None, None, None], (4, 16, 16, 3)).copy(), 8.0)

    def first_frame_is_better(video: Video) -> Video:
        return Video(video.frames + np.array([1, 10, 10, 10], np.uint8)[: video.num_frames, None, None, None], 8.0)

    made = Video(video.frames + np.uint8(10), 8.0)
    for start, lost in ((0, 20 * np.log10(10)), (2, 0.0)):
        task = Task("fill", 0, "", "", lambda run: made, {start: Given(video, start, start + 1)}, {})
        assert judge_outcome(task, "", made, first_frame_is_better, lambda clip: 1.0).loss == pytest.approx(lost)


def test_each_video_is_made_of_the_same_clips_however_many_there_are(subjects: list[Subject]) -> None:
    """Otherwise cached videos of a few clips couldn't be reused in a run with more."""
    run = Simulator(subjects).run
    few, many = (make_tasks(subjects[:num], STEP, strength=0.8, seed=0) for num in (2, 3))
    assert [task.name for task in many[: len(few)]] == [task.name for task in few]
    assert len({task.name for task in many}) == len(many)
    for one, other in zip(few, many, strict=False):
        assert np.array_equal(one.make(run).frames, other.make(run).frames)


def test_the_table_says_how_sure_it_is() -> None:
    """Shares and means are of clips, whose joins hang together; what wasn't given has no dB to lose."""
    outcomes = [Outcome("loop", f"{k}", 0.1 * k, (0.5, 2.0 * k)) for k in range(4)]
    outcomes += [Outcome("both ways", f"{k}", None, (0.8, 0.9)) for k in range(4)]
    fills = {f"{k}": {"codec": 30.0, "model": 25.0, "cross-fade": 24.0, "frozen frame": 26.0 - k} for k in range(4)}
    edits = [EditScore("", "", k > 0, False, True, True, 0.5, 0.1) for k in range(4)]
    known = [Outcome("loop", f"{k}", None, (0.5, 0.6 + 0.1 * k)) for k in range(3)]
    lines = ConditioningReport(outcomes, known, fills, edits, Video(np.zeros((1, 16, 16, 3), np.uint8), 1.0)).lines()
    rows = {line[:14].strip(): " ".join(line[14:].split()) for line in lines}
    assert rows["loop"] == "0.15 (0.05 to 0.25) 0.30 50 62 (50 to 88) 55"
    assert rows["both ways"] == "- - 85 100 (100 to 100) -"
    assert rows["codec"] == "30.0 (30.0 to 30.0) -5.0 (-5.0 to -5.0) 0 of 4"
    assert rows["cross-fade"] == "24.0 (24.0 to 24.0) 1.0 (1.0 to 1.0) 4 of 4"
    assert rows["frozen frame"].endswith("2 of 4")
    assert "75.0 (25.0 to 100.0)" in next(line for line in lines if line.startswith("requested colours"))
    assert lines[-1].endswith("0.50 (0.50 to 0.50) with the source, 0.10 (0.10 to 0.10) with another clip")


def test_motion_is_correlated_with_itself_and_stillness_with_nothing(subjects: list[Subject]) -> None:
    video = subjects[0].video
    still = replace(video, frames=np.repeat(video.frames[:1], 17, axis=0))
    assert motion_correlation(video, video) == pytest.approx(1)
    assert motion_correlation(video, still) == 0


def test_one_clip_is_too_few_and_three_latent_frames_are_needed(subjects: list[Subject]) -> None:
    with pytest.raises(SizeError, match="1 clips"):
        make_tasks(subjects[:1], STEP, strength=0.8, seed=0)
    short = [Subject(q, Video(video.frames[:9], video.fps)) for q, video in subjects]
    with pytest.raises(SizeError, match="clips of 9 frames"):
        make_tasks(short, STEP, strength=0.8, seed=0)
