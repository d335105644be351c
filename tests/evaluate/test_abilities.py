"""What `evaluate abilities` says of a simulator that goes on as the truth does, and of one that forgets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from vitascope.errors import SizeError
from vitascope.evaluate.abilities import (
    AbilitiesReport,
    Subject,
    evaluate_abilities,
    make_subjects,
    motion_correlation,
    recoloured,
)
from vitascope.evaluate.faithful import Question, render_question
from vitascope.judge.network import Reading
from vitascope.judge.sentence import describe
from vitascope.production import ClipShape
from vitascope.video import Video

pytestmark = pytest.mark.rendering
SHAPE, STEP = ClipShape(17, 8.0, 48, 48, 0.0), 4


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return make_subjects(3, 5, SHAPE)


def codec(video: Video) -> Video:
    """A codec that keeps the upper five bits."""
    return Video(video.frames // 8 * 8 + 4, video.fps)


class Simulator:
    """Every ability by someone who knows the clips: what was taken away comes back, an edit is rendered anew."""

    def __init__(self, subjects: list[Subject]):
        self.clips = {subject.question.prompt: subject.video for subject in subjects}
        self.edits = {asked.prompt: asked for asked in (recoloured(subject.question) for subject in subjects)}

    def _whole(self, prompt: str) -> Video:
        return codec(self.clips[prompt])

    def generate(self, prompt: str, **options: Any) -> Video:
        return self._whole(prompt)

    def extend(self, video: Video, prompt: str, **options: Any) -> Video:
        return self._whole(prompt)

    def fill(self, video: Video, missing: list[tuple[float, float]], prompt: str, **options: Any) -> Video:
        assert missing == [(5 / 8, 13 / 8)]
        return self._whole(prompt)

    def connect(self, before: Video, after: Video, prompt: str, seconds: float, seed: int) -> Video:
        """The first video's last frame held; the step to the other is as large as it is."""
        held = np.repeat(before.frames[-1:], round(seconds * before.fps), axis=0)
        return codec(Video(np.concatenate([before.frames, held, after.frames]), before.fps))

    def loop(self, video: Video, prompt: str, seconds: float, seed: int) -> Video:
        """Backwards to the beginning."""
        back = video.frames[-2::-1][: round(seconds * video.fps)]
        return codec(Video(np.concatenate([video.frames, back]), video.fps))

    def edit(self, video: Video, prompt: str, **options: Any) -> Video:
        return render_question(self.edits[prompt], SHAPE)


class Forgetful(Simulator):
    """Of everything it is given, and asked to change, it makes another clip, darker from frame to frame."""

    def _whole(self, prompt: str) -> Video:
        (other, *_) = (clip for words, clip in self.clips.items() if words != prompt)
        return Video((other.frames * (np.arange(17) % 2)[:, None, None, None]).astype(np.uint8), other.fps)

    def edit(self, video: Video, prompt: str, **options: Any) -> Video:
        return video


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


def report_of(maker: Simulator, subjects: list[Subject]) -> AbilitiesReport:
    return evaluate_abilities(maker, subjects, codec, reader(subjects), step=STEP)


def test_the_truth_is_all_right(subjects: list[Subject]) -> None:
    report = report_of(Simulator(subjects), subjects)
    assert len(report.outcomes) == 3 * 6
    assert max(outcome.lost for outcome in report.outcomes) == pytest.approx(0, abs=0.3)
    smooth = [o for o in report.outcomes if o.ability in ("first frame", "extend", "backward", "fill")]
    assert np.median([seam for o in smooth for seam in o.seams]) <= 1
    assert all(seam < 1.5 for o in smooth for seam in o.seams)  # one step in twenty is larger than the 95th percentile
    jumps = [o.seams[1] for o in report.outcomes if o.ability == "connect"]
    assert min(jumps) > 1.5  # from one clip to another without a way between
    assert all(hole["model"] > max(hole["cross-fade"], hole["held frame"]) for hole in report.holes)
    assert all(edit.colour and not edit.colour_before and edit.kind for edit in report.edits)
    assert all(edit.motion > 0.9 > edit.elsewhere for edit in report.edits)
    assert "extend" in "\n".join(report.lines())


def test_one_who_forgets_fails_each_measure(subjects: list[Subject]) -> None:
    report = report_of(Forgetful(subjects), subjects)
    given = [o for o in report.outcomes if o.ability in ("first frame", "extend", "backward", "fill")]
    assert min(outcome.lost for outcome in given) > 5
    assert min(seam for outcome in given for seam in outcome.seams) > 2
    assert all(hole["model"] < min(hole["cross-fade"], hole["held frame"]) for hole in report.holes)
    assert not any(edit.colour for edit in report.edits)


def test_the_report_is_written(subjects: list[Subject], tmp_path: Any) -> None:
    report_of(Simulator(subjects), subjects).write(tmp_path)
    assert (tmp_path / "abilities.json").stat().st_size > 1000
    assert (tmp_path / "abilities.png").stat().st_size > 1000


def test_motion_is_correlated_with_itself_and_stillness_with_nothing(subjects: list[Subject]) -> None:
    video = subjects[0].video
    still = replace(video, frames=np.repeat(video.frames[:1], 17, axis=0))
    assert motion_correlation(video, video) == pytest.approx(1)
    assert motion_correlation(video, still) == 0


def test_one_clip_is_too_few_and_three_latent_frames_are_needed(subjects: list[Subject]) -> None:
    measure = partial(evaluate_abilities, Simulator(subjects), codec=codec, read=reader(subjects), step=STEP)
    with pytest.raises(SizeError, match="1 clips"):
        measure(subjects[:1])
    short = [Subject(q, Video(video.frames[:9], video.fps)) for q, video in subjects]
    with pytest.raises(SizeError, match="clips of 9 frames"):
        measure(short)
