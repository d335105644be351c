"""Cameras: actors stay in the picture, and moves go in the direction of their name."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.worlds.solids.stages import scenes, shot_of
from vitascope.worlds.language import CameraMove
from vitascope.worlds.solids.camera import project, unproject, view
from vitascope.worlds.solids.motion import Pose, ShotMotion
from vitascope.worlds.solids.scene import Action, Scene

SIZES = ((64, 64), (48, 80), (80, 48), (48, 64), (64, 48))  # (height, width)
SHOT = shot_of(Action("spin"))


@cache
def first_poses(scene: Scene, times: tuple[float, ...]) -> list[Pose]:
    """The first actor's poses in the first shot, which no picture's size changes."""
    shot_motion = ShotMotion(scene.actors, scene.shots[0], times[-1])
    return [shot_motion.poses(seconds)[0] for seconds in times]


def visible(scene: Scene, times: np.ndarray, height: int, width: int) -> list[bool]:
    """For each time: True if the first actor's centre is inside the picture of the first shot."""
    shot, found = scene.shots[0], []
    for seconds, at in zip(times.tolist(), first_poses(scene, tuple(times.tolist())), strict=True):
        centre = at.foot + at.turn @ (0.0, 0.0, 0.5 * scene.actors[0].height)
        look = view(shot, seconds, width / height, (float(at.foot[0]), scene.actors[0].height))
        row, column, depth = project(tuple(centre.tolist()), look, height, width)
        found.append(depth > 0 and 0 <= row < height and 0 <= column < width)
    return found


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_main_actor_is_in_the_picture(height: int, width: int) -> None:
    """Checked to fail: at twice the reach."""
    crossing = [scene for scene in scenes(500) if scene.shots[0].acts[0].motion in ("right", "left")][:40]
    for some in (scenes(500)[:60], crossing):
        seen = [visible(scene, np.arange(0, 17, 4) / 8, height, width) for scene in some]
        assert np.mean(seen) >= 0.9


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (256, 64)])
def test_half_a_minute_keeps_who_acts_in_the_picture(height: int, width: int) -> None:
    """Simulated bodies are excluded, because they roll out of sight."""
    acted = [scene for scene in scenes(500) if scene.shots[0].experiment is None][:30]
    seen = [visible(scene, np.arange(0, 30, 0.9), height, width) for scene in acted]
    assert np.mean(seen) >= 0.9


@pytest.mark.parametrize(
    ("camera", "what", "sign"),
    [
        ("pan_left", 1, 1),
        ("pan_right", 1, -1),
        ("tilt_up", 0, 1),
        ("tilt_down", 0, -1),
        ("zoom_in", 2, -1),
        ("zoom_out", 2, 1),
    ],
)
def test_camera_moves(camera: CameraMove, what: int, sign: int) -> None:
    """A pan to the left moves things to the right, a tilt up moves them down; zooming in brings them nearer.

    Checked to fail: with the two pans exchanged, and the two tilts.
    """
    shot = replace(SHOT, camera=camera)
    appearance = [view(shot, seconds, 1.0, (0.0, 1.0)) for seconds in np.arange(0, 4, 0.1).tolist()]
    places = np.array([project((0.0, 0.0, 0.5), look, 64, 64) for look in appearance])
    assert (sign * np.diff(places[:, what]) > 0).all()


def test_a_rising_camera_rises_and_a_still_one_is_still() -> None:
    heights = [view(replace(SHOT, camera="rise"), t, 1.0, (0.0, 1.0)).eye[2] for t in (0.0, 0.5, 1.0, 3.0)]
    assert heights == sorted(heights)
    assert view(SHOT, 0.0, 1.0, (0.0, 1.0)) == view(SHOT, 9.0, 1.0, (0.7, 1.0))


def test_an_orbit_keeps_its_distance() -> None:
    orbit = replace(SHOT, camera="orbit")
    eyes = np.array([view(orbit, seconds, 1.0, (0.0, 1.0)).eye for seconds in (0.0, 0.5, 1.0, 5.0)])
    distances = np.hypot(eyes[:, 0], eyes[:, 1])
    assert distances == pytest.approx(distances[0])
    assert (np.diff(eyes[:, 0]) > 0).all()


@pytest.mark.parametrize("camera", ["follow", "close"])
def test_some_cameras_keep_the_actor_in_the_middle(camera: CameraMove) -> None:
    shot = replace(SHOT, camera=camera)
    for x in (-1.5, 0.0, 2.0):
        assert project((x, 0.0, 0.5), view(shot, 1.0, 1.0, (x, 1.0)), 64, 64)[1] == pytest.approx(32)


def test_a_close_up_is_close() -> None:
    far, near = (
        project((0.0, 0.0, 0.7), view(replace(SHOT, camera=camera), 0.0, 1.0, (0.0, 1.0)), 64, 64)[2]
        for camera in ("still", "close")
    )
    assert near == pytest.approx(0.5 * far, rel=0.1)


def test_unproject_is_the_inverse_of_project() -> None:
    look = view(SHOT, 0.0, 1.0, (0.0, 1.0))
    points = ((0.3, 0.0, 0.2), (-0.8, 0.0, 1.4))
    pixels = np.array([project(point, look, 64, 64)[:2] for point in points])
    assert unproject(pixels, look, 64, 64) == pytest.approx(np.array(points)[:, [0, 2]])
    assert math.isclose(look.target[1], 0.0)
