"""Motions: actions match their names, and mechanics obeys its laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.worlds.solids.stages import fall, own_act, scenes, shot_of
from vitascope.worlds.solids.camera import project, view
from vitascope.worlds.solids.motion import ShotMotion, pose
from vitascope.worlds.solids.rotations import about_x, about_y, about_z, from_quaternion, to_quaternion
from vitascope.worlds.solids.scene import Action, Actor, Scene, Shot
from vitascope.worlds.solids.words import CHARACTERS, OBJECTS, SOLO, Kind, Motion

DRAWS = [np.random.default_rng(seed) for seed in range(12)]
STILL = shot_of(Action("spin"))
TIMES = np.arange(0, 2.11, 0.05)  # a clip of 17 frames at 8 a second


def middle(actor: Actor, act: Action, seconds: float) -> np.ndarray:
    at = pose(actor, act, seconds)
    return at.foot + at.turn @ (0.0, 0.0, 0.5 * actor.height)


def track(actor: Actor, act: Action, times: np.ndarray = TIMES, size: int = 64) -> np.ndarray:
    """(row, column, depth) of an actor's middle at each time, before a still camera."""
    look = view(STILL, 0.0, 1.0, (0.0, 1.0))
    return np.array([project(tuple(middle(actor, act, t).tolist()), look, size, size) for t in times.tolist()])


def first_story(motion: Motion) -> tuple[Scene, Shot]:
    return next((s, shot) for s in scenes(500) for shot in s.shots if shot.acts[0].motion == motion)


def centres(motion: Motion, times: np.ndarray) -> np.ndarray:
    """[times, actors, 3] of the first scene in which the first actor does this."""
    scene, shot = first_story(motion)
    shot_motion = ShotMotion(scene.actors, shot, float(times[-1]))
    return np.array(
        [
            [p.foot + p.turn @ (0, 0, 0.5 * a.height) for p, a in zip(shot_motion.poses(t), scene.actors, strict=True)]
            for t in times.tolist()
        ]
    )


@pytest.mark.parametrize("turn", [about_x(0.3), about_y(2.9), about_z(-3.1), about_x(math.pi) @ about_z(1.0)])
def test_quaternions_are_the_same_turns(turn: np.ndarray) -> None:
    quaternion = to_quaternion(turn)
    assert from_quaternion(quaternion) == pytest.approx(turn, abs=1e-12)
    assert np.linalg.norm(quaternion) == pytest.approx(1)


@pytest.mark.parametrize("kind", [*CHARACTERS, *OBJECTS])
@pytest.mark.parametrize(("motion", "sign"), [("right", 1), ("left", -1)])
def test_right_and_left_are_the_picture_s(motion: Motion, sign: int, kind: Kind) -> None:
    """For 2.1 s every actor goes one way; it turns back later. Checked to fail: with the sign swapped in `pose`."""
    for draw in DRAWS:
        columns = track(Actor(kind, "red", 1.0), own_act(draw, motion))[:, 1]
        assert (sign * np.diff(columns) > 0).all()


def test_what_goes_right_looks_right() -> None:
    for motion, sign in (("right", 1), ("left", -1)):
        facing = pose(Actor("cat", "red", 1.0), own_act(DRAWS[0], motion), 0.5).turn @ (0, -1, 0)
        assert sign * facing[0] > 0.5


def test_a_jump_leaves_the_ground_and_lands_again() -> None:
    for draw in DRAWS:
        act = own_act(draw, "jump")
        rows, columns, _ = track(Actor("bear", "red", 1.1), act, np.linspace(0, act.period, 40)).T
        assert np.ptp(rows) > 64 / 8
        assert np.ptp(columns) < 1.5  # the camera looks a little down, so height changes the distance
        assert {-1.0, 1.0} <= set(np.sign(np.diff(rows)))


@pytest.mark.parametrize("motion", ["right", "left", "circle", "sway", "approach", "leave"])
def test_a_ball_rolls_without_sliding(motion: Motion) -> None:
    """The point that touches the ground is at rest. Checked to fail: when the rolled distance is negated."""
    ball, act = Actor("ball", "red", 1.0), own_act(np.random.default_rng(3), motion)
    step = 1e-5
    for seconds in (0.2, 0.7, 1.3):
        now, after = pose(ball, act, seconds), pose(ball, act, seconds + step)
        centre = middle(ball, act, seconds)
        ground = now.turn.T @ (np.array([centre[0], centre[1], 0.0]) - now.foot)
        slip = (after.foot + after.turn @ ground - now.foot - now.turn @ ground) / step
        speed = np.linalg.norm(middle(ball, act, seconds + step) - centre) / step
        turning = 0.5 * abs(2 * math.pi / act.period) if motion == "circle" else 0.0  # it also turns its heading
        assert speed > 0.05
        assert np.linalg.norm(slip) < 0.02 * speed + 1e-3 * turning


def test_a_spin_turns_in_place() -> None:
    cat, act = Actor("cat", "red", 1.0), own_act(DRAWS[0], "spin")
    assert np.ptp(track(cat, act), axis=0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert pose(cat, act, act.period).turn == pytest.approx(pose(cat, act, 0.0).turn)
    assert pose(cat, act, act.period / 2).turn @ (0, -1, 0) == pytest.approx(-pose(cat, act, 0.0).turn @ (0, -1, 0))


@pytest.mark.parametrize("motion", ["circle", "chase", "flee", "orbit"])
def test_who_goes_round_comes_back_and_faces_its_way(motion: Motion) -> None:
    robot, act = Actor("robot", "red", 1.0), Action(motion, (0.0, 0.1), 0.7, period=2.5, phase=0.3)
    around = track(robot, act, np.linspace(0, act.period, 60))
    assert around[0, 1] == pytest.approx(around[-1, 1], abs=0.5)
    assert (np.ptp(around, axis=0)[1:] > (64 / 10, 0.2)).all()  # from side to side, and in depth
    before, now, after = (pose(robot, act, seconds) for seconds in (0.499, 0.5, 0.501))
    speed = (after.foot - before.foot)[:2]
    assert (now.turn @ (0, -1, 0))[:2] @ speed / np.linalg.norm(speed) > 0.99


def test_a_sway_goes_both_ways_and_stays_at_home() -> None:
    for draw in DRAWS:
        act = own_act(draw, "sway")
        rights = np.array([pose(Actor("cone", "red", 1.0), act, t).foot[0] for t in np.linspace(0, act.period, 50)])
        assert rights.min() == pytest.approx(-rights.max(), rel=0.05)
        assert abs(rights.mean()) < 0.1 * rights.max()


@pytest.mark.parametrize(("motion", "sign"), [("approach", -1), ("leave", 1)])
def test_who_approaches_grows_and_who_leaves_shrinks(motion: Motion, sign: int) -> None:
    """Checked to fail: with the sign of the travel swapped in `pose`."""
    for draw in DRAWS:
        depths = track(Actor("bear", "red", 1.0), own_act(draw, motion), np.arange(0, 1.5, 0.05))[:, 2]
        assert (sign * np.diff(depths) > 0).all()
        assert abs(depths[-1] - depths[0]) > 0.3


def test_who_walks_moves_its_legs_and_who_waves_an_arm() -> None:
    cat = Actor("cat", "red", 1.0)
    walking = pose(cat, own_act(DRAWS[0], "right"), 0.6).limbs
    assert walking["left_leg"] == pytest.approx(walking["right_leg"].T)
    assert not np.allclose(walking["left_leg"], np.eye(3))
    waving = [pose(cat, own_act(np.random.default_rng(0), "wave"), t).limbs["right_arm"] for t in (0.0, 0.2)]
    hand = [turn @ (0, 0, -1) for turn in waving]
    assert min(each[2] for each in hand) > 0.3  # up
    assert not np.allclose(hand[0], hand[1])
    assert pose(Actor("snowman", "red", 1.0), own_act(DRAWS[0], "right"), 0.6).limbs == {}


@pytest.mark.parametrize("kind", ["ball", "cube", "cylinder", "cone", "cat"])
def test_a_fall_is_simulated_and_ends_on_the_ground(kind: Kind) -> None:
    """It starts within the picture, lands, bounces, and never sinks in. Checked to fail: without gravity."""
    actor = Actor(kind, "red", 1.0, material="rubber" if kind not in CHARACTERS else "plastic")
    event = fall(np.random.default_rng(1), actor)
    shot = replace(STILL, acts=event.acts, experiment=event.experiment)
    shot_motion = ShotMotion(event.actors, shot, 4.0)
    times = np.arange(0, 4, 0.02)
    heights = np.array([(p.foot + p.turn @ (0, 0, 0.5))[2] for t in times.tolist() for p in shot_motion.poses(t)])
    assert heights[0] == pytest.approx(1.6, abs=0.02)
    landing = int((np.diff(heights) > 0).argmax())
    assert 0.5 < times[landing] < 0.9
    assert heights[landing:].max() > heights[landing] + 0.15
    assert heights.min() > 0.25
    look = view(shot, 0.0, 1.0, (0.0, 1.0))
    assert project((0.0, 0.0, heights[0]), look, 64, 64)[0] >= 0


def test_a_chaser_stays_behind_whom_it_chases() -> None:
    places = centres("chase", np.arange(0, 4, 0.1))
    gaps = np.linalg.norm(places[:, 0] - places[:, 1], axis=-1)
    assert 0.5 < gaps.min() <= gaps.max() < 1.9
    heading = places[1:, 0] - places[:-1, 0]
    towards = places[:-1, 1] - places[:-1, 0]
    assert ((heading * towards).sum(axis=-1) > 0).all()


def test_who_circles_something_keeps_its_distance() -> None:
    places = centres("orbit", np.arange(0, 3, 0.1))
    assert np.ptp(places[:, 1], axis=0) == pytest.approx([0, 0, 0])
    distance = np.linalg.norm((places[:, 0] - places[:, 1])[:, :2], axis=-1)
    assert distance == pytest.approx(1.05, abs=1e-6)


def test_who_hides_is_behind_the_wall_in_between() -> None:
    scene, shot = first_story("hide")
    period = shot.acts[0].period
    places = centres("hide", np.array([0.0, 0.3, 0.5, 0.7, 0.99]) * period)
    aside = (places[:, 0] - places[:, 1])[:, 0]
    assert aside[2] == pytest.approx(0, abs=1e-6)
    assert aside[0] * aside[-1] < -1.0  # in at one side, out at the other
    assert (places[:, 0, 1] > places[:, 1, 1] + 0.3).all()
    assert scene.actors[1].kind == "wall"


def test_a_gift_goes_from_hand_to_hand_and_back() -> None:
    scene, shot = first_story("give")
    period = shot.acts[0].period
    places = centres("give", np.array([0.0, 0.45, 0.95]) * period)
    nearest = np.linalg.norm(places[:, :2] - places[:, 2:], axis=-1).argmin(axis=1)
    assert nearest.tolist() == [0, 1, 0]
    assert scene.actors[2].height < 0.4


def test_what_is_struck_moves_only_then() -> None:
    """By true mechanics. Checked to fail: when the second body is left where it stands."""
    scene, shot = first_story("collide")
    shot_motion = ShotMotion(scene.actors, shot, 2.0)
    assert shot_motion.trajectory is not None
    struck = next(c.seconds for c in shot_motion.trajectory.contacts if c.other is not None)
    places = centres("collide", np.array([0.0, struck - 0.05, struck + 0.4]))
    assert places[1, 1] == pytest.approx(places[0, 1], abs=1e-3)
    assert abs(places[2, 1, 0] - places[0, 1, 0]) > 0.05


@pytest.mark.parametrize(("motion", "falls"), [("ramp", 0.15), ("topple", 0.1), ("swing", 0.02)])
def test_weight_pulls_down(motion: Motion, falls: float) -> None:
    heights = centres(motion, np.arange(0, 2, 0.05))[:, :, 2]
    assert (heights[0] - heights.min(axis=0)).max() > falls


@pytest.mark.parametrize("motion", SOLO)
def test_every_motion_is_for_everybody(motion: Motion) -> None:
    if motion == "fall":
        return
    for kind in (*CHARACTERS, *OBJECTS):
        at = pose(Actor(kind, "red", 1.0), own_act(DRAWS[0], motion), 60.0)
        assert np.isfinite(at.foot).all()
        assert at.turn @ at.turn.T == pytest.approx(np.eye(3), abs=1e-9)
