"""The measures of coherence: rendered clips pass them all, and each kind of damage fails the one meant to see it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vitascope.errors import SizeError
from vitascope.evaluate.coherence import MEASURES, evaluate_coherence, list_files, measure
from vitascope.evaluate.measures.confidence import confidence
from vitascope.evaluate.measures.media import list_media
from vitascope.evaluate.measures.plots import bars
from vitascope.video import Video, write_video
from vitascope.worlds.solids.cast import BUILDS, PALETTE, RGB
from vitascope.worlds.solids.laboratory import laboratory_view, render_experiment
from vitascope.worlds.solids.physics import Body, Experiment, simulate
from vitascope.worlds.solids.render import render_scene
from vitascope.worlds.solids.rotations import about_y
from vitascope.worlds.solids.sampling import sample_scene
from vitascope.worlds.solids.stage import Lighting, Solid, solid, stage_of

pytestmark = pytest.mark.rendering

GREY: RGB = (0.30, 0.36, 0.42)
ROLL_FPS, SPEED, RADIUS = 12.0, 1.2, 0.35  # frames a second, metres a second, metres


def roll(
    *, colour: RGB = PALETTE["red"], num_frames: int = 33, wall: bool = True, gone_from: int | None = None
) -> Video:
    """A ball that rolls to the right through a room, behind a wall, and is taken away from some frame on."""
    look, stage, lighting = laboratory_view(1.0), stage_of("room"), Lighting((1.0, 1.0, 1.0), 0.4, 0.9)
    frames = []
    for index in range(num_frames):
        way = SPEED * index / ROLL_FPS
        parts = [Solid("box", np.array((0.3, 0.05, 0.8)), np.array((0.1, -0.6, 0.8)), np.eye(3), GREY)] if wall else []
        if gone_from is None or index < gone_from:
            rotation, foot = about_y(way / RADIUS), np.array((-1.5 + way, 0.0, RADIUS))
            foot = foot - rotation @ (0.0, 0.0, RADIUS)
            parts += [solid(part, foot, rotation, scale=2 * RADIUS) for part in BUILDS["ball"].parts(colour)]
        stage.arrange(parts, lighting, look, 1.0)
        frames.append(stage.picture(64, 64))
    return Video(np.stack(frames), ROLL_FPS)


@pytest.fixture(scope="module")
def behind() -> Video:
    """A ball that rolls behind a wall and comes out again."""
    return roll()


@pytest.fixture(scope="module")
def bounce() -> Video:
    """A ball that falls and bounces, at 24 frames a second."""
    ball = Body("sphere", (0.3, 0.3, 0.3), (0.2, 0.0, 1.4))
    experiment = Experiment("bounce", (ball,), restitution=0.75)
    motion = simulate(experiment, num_samples=49, rate=24.0)
    return render_experiment(experiment, motion, height=64, width=64).video


@pytest.fixture(scope="module")
def worlds() -> list[Video]:
    """Scenes of several places, cameras and motions."""
    scenes = [sample_scene(seed, variety=0.0) for seed in range(9000, 9006)]
    return [render_scene(scene, num_frames=25, fps=12.0, height=64, width=64).video for scene in scenes]


def altered(video: Video, factors: np.ndarray) -> Video:
    """The video times factors that are broadcast to its frames."""
    return Video(np.clip(video.frames * factors + 0.5, 0, 255).astype(np.uint8), video.fps)


def over_time(video: Video, factors: np.ndarray) -> np.ndarray:
    return factors[:, None, None, None]


def test_rendered_clips_pass(worlds, behind, bounce):
    for number, video in enumerate([*worlds, behind, bounce]):
        score = measure(video, name=str(number))
        assert score.failed == [], score


def test_a_ball_that_does_not_come_out_from_behind_a_wall_has_vanished():
    """Fails when the ball's due time is ignored: it disappears gradually in both clips."""
    assert measure(roll(gone_from=17)).failed == ["vanished"]
    assert measure(roll(num_frames=20)).failed == []  # not due yet


def test_a_ball_that_goes_at_once_has_vanished():
    assert measure(roll(wall=False, gone_from=12)).failed == ["vanished"]


def test_a_ball_that_rolls_out_of_the_picture_has_not_vanished():
    video = roll(wall=False, num_frames=41)
    assert measure(video).failed == []
    assert measure(Video(video.frames[::-1], video.fps)).failed == []


def test_a_blink_of_a_few_frames_is_a_vanishing(behind):
    frames = roll(wall=False).frames.copy()
    frames[10:14] = roll(wall=False, gone_from=0, num_frames=4).frames
    assert measure(Video(frames, ROLL_FPS)).failed == ["vanished"]


@pytest.mark.parametrize("tint", [(1, 0, 0), (0, 1, 0), (0, -1, 0), (1, 0, -1)])
def test_a_colour_drift_of_five_percent_a_second_is_seen(tint, behind, bounce):
    for video in (behind, bounce):
        seconds = np.arange(video.num_frames) / video.fps
        drifting = altered(video, 1 + 0.05 * seconds[:, None, None, None] * np.array(tint))
        score = measure(drifting)
        assert score.failed == ["colour"]
        assert score.colour == pytest.approx(5, abs=1.5)


def test_a_contrast_drift_is_seen(behind):
    seconds = np.arange(behind.num_frames)[:, None, None, None] / behind.fps
    middle = np.median(behind.frames)
    frames = middle + (behind.frames - middle) * (1 - 0.05 * seconds)
    score = measure(Video(np.clip(frames + 0.5, 0, 255).astype(np.uint8), behind.fps))
    assert score.failed == ["contrast"]
    assert score.contrast == pytest.approx(5, abs=1.5)


def test_a_hidden_cut_is_seen_and_one_that_was_asked_for_is_not(worlds, bounce):
    spliced = Video(np.concatenate([worlds[0].frames[:12], worlds[1].frames[5:17]]), 12.0)
    assert measure(spliced).failed == ["cuts"]
    assert "cuts" not in measure(spliced, num_cuts=1).failed


def test_a_flash_is_no_cut(bounce):
    factors = np.ones(bounce.num_frames)
    factors[20] = 1.3
    assert measure(altered(bounce, over_time(bounce, factors))).cuts == 0


def test_a_bounce_that_gains_height_is_seen(bounce):
    assert measure(Video(bounce.frames[::-1], bounce.fps)).failed == ["rebound"]


def test_flicker_is_seen_in_the_whole_picture_or_a_part(behind, bounce):
    for video in (behind, bounce):
        gains = 1 + 0.03 * np.random.default_rng(1).standard_normal(video.num_frames)
        assert measure(altered(video, over_time(video, gains))).failed == ["flicker"]
        beat = np.ones((video.num_frames, 64, 64, 1))
        beat[::2, :32] = 1.03
        assert measure(altered(video, beat)).failed == ["flicker"]


def with_steps(video: Video, stride: int, first: int = 1) -> Video:
    """Half of the motion within each latent frame is moved to its border: frames lean towards the latent's middle."""
    frames = video.frames.astype(np.float64)
    for start in range(first, len(frames), stride):
        latent = frames[start : start + stride]
        latent += 0.5 * (latent.mean(axis=0) - latent)
    return Video((frames + 0.5).astype(np.uint8), video.fps)


def test_steps_at_every_latent_border_are_seen(worlds, behind, bounce):
    """And their share is reported with an interval, and named in the verdict."""
    for number, video in enumerate([*worlds, behind, bounce]):
        before, score = measure(video), measure(with_steps(video, 4), name=f"clip {number}")
        if np.isnan(before.cadence):
            continue
        assert score.cadence > 1.2 * before.cadence
        assert score.failed == ["cadence"], score
        assert 1 < score.cadence_low < score.cadence < score.cadence_high
        assert score.verdict.startswith(f"clip {number}: cadence ({score.cadence:.2f} times even, ")
    assert np.isfinite(measure(behind).cadence)


def test_a_report_says_that_the_picture_steps(behind, worlds):
    named = [("a", lambda: with_steps(behind, 4)), ("b", lambda: with_steps(worlds[0], 4))]
    lines = evaluate_coherence(named).lines()
    assert any(line.startswith("the picture steps at the borders of latent frames: change there is ") for line in lines)
    assert not any("steps at" in line for line in evaluate_coherence([("a", lambda: behind)]).lines())


def test_a_held_picture_per_latent_frame_is_seen_at_any_phase(behind):
    """All change falls on borders: four times an even share. Also if the video has lost its first frames."""
    held = behind.frames[[min(max(0, (index + 3) // 4 * 4 - 3), 32) for index in range(33)]]
    for lost in range(4):
        score = measure(Video(held[lost:], ROLL_FPS))
        assert score.cadence == pytest.approx(4)
        assert "cadence" in score.failed
    assert np.isnan(measure(Video(held, ROLL_FPS), time_stride=1).cadence)
    pairs = behind.frames[[(index + 1) // 2 * 2 - min(index, 1) for index in range(33)]]
    assert measure(Video(pairs, ROLL_FPS), time_stride=2).cadence == pytest.approx(2)


def test_one_step_is_no_cadence(behind):
    """A jump at one border is neither certain nor regular. Fails without the interval."""
    frames = behind.frames.copy()
    frames[13:] = np.clip(frames[13:].astype(int) + 30, 0, 255).astype(np.uint8)
    score = measure(Video(frames, ROLL_FPS))
    assert score.cadence > 1.2
    assert "cadence" not in score.failed


def test_the_noise_of_a_file_is_neither_flicker_nor_anything_else(tmp_path, worlds, bounce):
    for number, video in enumerate([worlds[2], bounce]):
        write_video(video, tmp_path / f"{number}.mp4")
    report = evaluate_coherence(list_files([tmp_path], 99))
    assert [score.failed for score in report.scores] == [[], []]


def test_another_hue_after_a_cut_is_another_actor(behind):
    """The second shot shows another place, and the ball again or another one."""
    first = roll(wall=False, num_frames=12)
    for colour, failed in (("red", []), ("blue", ["identity"]), ("purple", ["identity"])):
        second = roll(colour=PALETTE[colour], wall=False, num_frames=24).frames[12:]
        second = np.clip(second[:, ::-1] * 0.75, 0, 255).astype(np.uint8)
        both = Video(np.concatenate([first.frames, second]), ROLL_FPS)
        assert measure(both, num_cuts=1).failed == failed, colour
        assert measure(both).failed == ["cuts"]


def test_a_loop_closes(behind):
    there = behind.frames[:12]
    loop = np.concatenate([there, there[-2:0:-1]])
    assert measure(Video(loop, ROLL_FPS), loops=True).failed == []
    score = measure(Video(there, ROLL_FPS), loops=True)
    assert score.failed == ["loop"]
    assert score.loop > 3
    assert np.isnan(measure(Video(there, ROLL_FPS)).loop)


def test_a_large_video_scores_as_a_small_one(bounce):
    large = Video(bounce.frames.repeat(3, axis=1).repeat(3, axis=2), bounce.fps)
    assert measure(large).failed == []
    assert measure(Video(large.frames[::-1], large.fps)).failed == ["rebound"]


def test_a_report_has_intervals_and_is_written(tmp_path, behind, bounce):
    clips = {"behind": behind, "bounce": bounce, "backwards": Video(bounce.frames[::-1], bounce.fps)}
    clips["short"] = Video(behind.frames[:3], behind.fps)
    report = evaluate_coherence([(name, lambda video=video: video) for name, video in clips.items()])
    lines = report.lines()
    assert lines[-2:] == ["backwards: rebound", "left out: 1 with fewer than 6 frames"]
    assert len(lines) == 1 + len(MEASURES) + 2
    report.write(tmp_path)
    tree = json.loads((tmp_path / "coherence.json").read_text())
    assert [clip["name"] for clip in tree["clips"]] == ["behind", "bounce", "backwards"]
    assert tree["measures"]["rebound"]["clips"] == 2
    assert tree["measures"]["rebound"]["fails"] == [0.5, 0.0, 1.0]
    assert tree["measures"]["identity"]["mean"] == [None, None, None]
    assert (tmp_path / "coherence.png").exists()


def test_what_is_too_short_is_refused(behind):
    short = Video(behind.frames[:5], behind.fps)
    with pytest.raises(SizeError, match="has 5 frames; coherence needs at least 6"):
        measure(short)
    with pytest.raises(SizeError, match="none of 1 videos"):
        evaluate_coherence([("short", lambda: short)])


def test_a_still_picture_passes():
    assert measure(Video(np.full((8, 64, 64, 3), 90, np.uint8), 8.0)).failed == []


def test_confidence_narrows_with_more_clips():
    draw = np.random.default_rng(3)
    few, many = (confidence(draw.standard_normal(num)) for num in (10, 1000))
    assert few[0] < 0 < few[1]
    assert many[1] - many[0] == pytest.approx(2 * 1.96 / np.sqrt(1000), rel=0.15)
    assert np.isnan(confidence(np.array([]))).all()


def test_bars_show_values_against_the_limit():
    picture = bars([3.0, float("nan"), 1.0], limit=2.0, height=40, width=20).frames[0]
    blue = (picture == (70, 110, 170)).all(axis=2).sum(axis=0)
    assert blue[0] < blue[-1]
    assert (picture == (200, 40, 40)).all(axis=2).any(axis=1).sum() == 2


def test_videos_are_found_in_files_and_folders(tmp_path: Path, behind):
    for name in ("b.mp4", "a.avi"):
        write_video(Video(behind.frames[:2], ROLL_FPS), tmp_path / name)
    (tmp_path / "note.txt").touch()
    assert [name for name, _ in list_media(tmp_path)] == ["a.avi", "b.mp4"]
    assert [name for name, _ in list_media(tmp_path / "b.mp4")] == ["b.mp4"]
