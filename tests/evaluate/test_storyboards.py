"""`evaluate storyboards` on renders, on videos without cuts or with too many, and with another cast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vitascope.errors import SizeError
from vitascope.evaluate.storyboards import (
    Board,
    BoardScore,
    evaluate_storyboards,
    find_cuts_near,
    judge_board,
    make_boards,
)
from vitascope.judge.bundled import find_judge
from vitascope.judge.network import Judge
from vitascope.video import Video
from vitascope.video.shape import VideoShape

pytestmark = pytest.mark.rendering
SHAPE = VideoShape(17, 8.0, 64, 64, 0.0)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(find_judge())


@pytest.fixture(scope="module")
def boards() -> list[Board]:
    """Storyboards of shots in different places: their cuts are seen."""
    return [b for b in make_boards(16, 2, SHAPE) if b.scene.shots[0].place != b.scene.shots[1].place][:6]


@pytest.fixture(scope="module")
def renders(boards: list[Board]) -> dict[str, Video]:
    """The simulator's video of each."""
    return {board.name: board.render(SHAPE) for board in boards}


def test_a_storyboard_lasts_as_long_as_its_scene_and_cuts_where_that_does(boards: list[Board]) -> None:
    for board in boards:
        storyboard = board.request(SHAPE, seed=7)
        assert storyboard.seed == 7
        assert sum(shot.seconds for shot in storyboard.shots) == pytest.approx(17 / 8)
        assert storyboard.shots[0].seconds * 8 == pytest.approx(board.scene.first_frames(17)[1])
        assert len(storyboard.shots) == len(board.scene.shots)
    assert {board.language for board in boards} == {"en", "zh"}


def test_renders_are_all_right_and_videos_without_a_cut_are_not(
    boards: list[Board], renders: dict[str, Video], judge: Judge, tmp_path: Any
) -> None:
    def uncut(board: Board) -> Video:
        return Video(np.repeat(renders[board.name].frames[:1], 17, axis=0), 8.0)

    report = evaluate_storyboards(boards, lambda board: renders[board.name], uncut, judge.read)
    rendered, model = report.scores["renders"], report.scores["model"]
    assert sum(score.cuts_in_place for score in rendered) >= 5
    assert sum(score.no_others for score in rendered) >= 5
    assert sum(score.same_cast for score in rendered) >= 4  # the judge errs
    assert not any(score.cuts_in_place for score in model)
    assert all(score.no_others for score in model)
    assert "same cast" in report.lines()[-2]
    report.write(tmp_path)
    assert (tmp_path / "storyboards.png").stat().st_size > 1000


def test_a_cut_too_many_and_another_cast_are_seen(boards: list[Board], renders: dict[str, Video], judge: Judge) -> None:
    video = renders[boards[0].name]
    other = renders[next(b for b in boards if b.scene.actors[0].colour != boards[0].scene.actors[0].colour).name]
    cut = boards[0].scene.first_frames(17)[1]
    late = Video(np.concatenate([video.frames[:13], other.frames[13:]]), 8.0)
    assert not judge_board(boards[0], late, judge.read).no_others or abs(cut - 13) <= 2
    replaced = Video(np.concatenate([video.frames[:cut], other.frames[cut:]]), 8.0)
    assert not judge_board(boards[0], replaced, judge.read).same_cast


def test_a_faint_cut_is_seen_where_one_looks_for_it() -> None:
    """A step of some 1.3 times those around it: elsewhere a camera's move may have as much."""
    tiles = np.random.default_rng(0).choice([-1.0, 1.0], (8, 8, 3))
    levels = np.cumsum([0.0, *[3.0] * 7, 10.0, *[3.0] * 7])  # the large step leads to frame 8
    frames = np.stack([(128 + level * tiles / 2).repeat(8, 0).repeat(8, 1) for level in levels]).astype(np.uint8)
    assert find_cuts_near(frames, []) == []
    assert find_cuts_near(frames, [7]) == find_cuts_near(frames, [10]) == [8]
    assert find_cuts_near(frames, [12]) == []


def test_clips_too_short_for_two_shots_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitascope.evaluate.storyboards.DRAWS", 20)
    with pytest.raises(SizeError, match="too short"):
        make_boards(2, 0, VideoShape(5, 8.0, 64, 64, 0.0))
    with pytest.raises(SizeError, match="this model makes images"):
        make_boards(2, 0, VideoShape(1, 8.0, 64, 64, 0.0))


@pytest.mark.parametrize(
    ("asked", "found", "in_place", "no_others"),
    [
        ([8], [10], True, True),
        ([8], [11], False, False),
        ([8], [], False, True),
        ([8], [7, 9], True, False),  # one of them was asked for
        ([6, 9], [8], False, True),  # one cut doesn't stand for two
    ],
)
def test_each_cut_asked_for_is_answered_by_one(
    asked: list[int], found: list[int], in_place: bool, no_others: bool
) -> None:
    score = BoardScore("", asked, found, "", [[]])
    assert (score.cuts_in_place, score.no_others) == (in_place, no_others)


def test_who_is_in_every_shot_is_the_cast() -> None:
    """The cast doesn't depend on the order in a reading. `first_actor_kept` requires the text's first actor."""
    score = BoardScore("", [8], [8], "red cube", [["red cube", "blue ball"], ["blue ball"]])
    assert (score.same_cast, score.first_actor_kept) == (True, False)
    score = BoardScore("", [8], [8], "red cube", [["red cube"], ["blue ball", "red cube"]])
    assert (score.same_cast, score.first_actor_kept) == (True, True)
    score = BoardScore("", [8], [8], "red cube", [["red cube"], ["blue ball"]])
    assert (score.same_cast, score.first_actor_kept) == (False, False)
