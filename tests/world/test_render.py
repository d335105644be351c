"""Pictures: the same seed gives the same ones anywhere, and the truth says where things are in them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from vitascope.errors import SizeError
from vitascope.world.render import render_frames, render_scene
from vitascope.world.scene import Scene, sample_scene
from vitascope.world.words import COLOURS, KINDS, PLACES, Colour, Kind, Place

rendering = pytest.mark.rendering


def alone(kind: Kind, colour: Colour, place: Place = "grass") -> Scene:
    """One actor that turns on the spot before a still camera, in the lower right of the picture."""
    scene = sample_scene(4)
    actor = replace(scene.actors[0], kind=kind, colour=colour, motion="spin", home=(0.4, 0.1), height=0.6)
    return replace(scene, actors=(actor,), place=place, shot="still")


def painted(scene: Scene, seconds: float = 0.0, size: int = 96) -> np.ndarray:
    """(row, column) of every pixel that changes with the first actor's colour."""
    other: Colour = "green" if scene.actors[0].colour != "green" else "red"
    changed = replace(scene, actors=(replace(scene.actors[0], colour=other), *scene.actors[1:]))
    one, two = (
        render_scene(s, num_frames=1, fps=8.0, height=size, width=size, start=seconds).video.frames[0].astype(int)
        for s in (scene, changed)
    )
    return np.argwhere(np.abs(one - two).max(axis=-1) > 20)


DIGEST = """
import hashlib
from vitascope.world.render import render_scene
from vitascope.world.scene import sample_scene
for seed in (9, 4, 1):
    frames = render_scene(sample_scene(seed), num_frames=2, fps=8.0, height=48, width=64).video.frames
    print(hashlib.sha256(frames.tobytes()).hexdigest())
"""


@rendering
def test_pixels_do_not_depend_on_process_or_order() -> None:
    """Checked to fail: when the light keeps what the scene before left in it."""
    here = []
    for seed in (1, 4, 9):  # the other process draws them backwards, and no other sizes in between
        render_scene(sample_scene(seed + 1), num_frames=1, fps=8.0, height=32, width=96)
        frames = render_scene(sample_scene(seed), num_frames=2, fps=8.0, height=48, width=64).video.frames
        here.append(hashlib.sha256(frames.tobytes()).hexdigest())
    there = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True)
    assert there.stdout.split() == here[::-1]
    assert len(set(here)) == 3


@rendering
def test_a_clip_may_start_anywhere() -> None:
    scene = sample_scene(2)
    whole = render_scene(scene, num_frames=5, fps=8.0, height=48, width=48)
    tail = render_scene(scene, num_frames=2, fps=8.0, height=48, width=48, start=3 / 8)
    assert (tail.video.frames == whole.video.frames[3:]).all()
    assert tail.truth["frames"] == whole.truth["frames"][3:]
    assert whole.truth["fps"] == whole.video.fps == 8.0


@rendering
@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_says_where_an_actor_is(kind: Kind) -> None:
    """The truth's pixel lies in the middle of the actor. Checked to fail: with rows counted from below in `project`."""
    scene = alone(kind, "blue")
    row, column = render_scene(scene, num_frames=1, fps=8.0, height=96, width=96).truth["frames"][0]["actors"][0][
        "pixel"
    ]
    places = painted(scene)
    top, left = places.min(axis=0)
    bottom, right = places.max(axis=0)
    assert abs(row - (top + bottom) / 2) < 0.25 * (bottom - top)
    assert abs(column - (left + right) / 2) < 0.25 * (right - left)
    assert 0.5 < (bottom - top) / (96 * 0.6 / scene.view_width) < 1.3  # about as tall as it says


@rendering
@pytest.mark.parametrize("colour", COLOURS)
def test_an_actor_has_its_colour(colour: Colour) -> None:
    """Of the web's colours of these names, its own is nearest. Checked to fail: with red and blue exchanged."""
    web: dict[Colour, tuple[int, int, int]] = {
        "red": (255, 0, 0),
        "green": (0, 128, 0),
        "blue": (0, 0, 255),
        "yellow": (255, 255, 0),
        "purple": (128, 0, 128),
        "orange": (255, 165, 0),
        "white": (255, 255, 255),
        "pink": (255, 192, 203),
    }
    scene = replace(alone("robot", colour, "snow"), light=(0.0, 0.9))
    frame = render_scene(scene, num_frames=1, fps=8.0, height=96, width=96).video.frames[0]
    places = painted(scene)
    seen = np.median(frame[places[:, 0], places[:, 1]], axis=0)
    likeness = {
        name: float(rgb @ seen / np.linalg.norm(rgb)) for name, rgb in ((n, np.array(c)) for n, c in web.items())
    }
    assert max(likeness, key=lambda name: likeness[name]) == colour


@rendering
def test_truth_and_pixels_move_together() -> None:
    scene = alone("cube", "red")
    scene = replace(scene, actors=(replace(scene.actors[0], motion="right", period=4.4, phase=0.0, reach=0.8),))
    frames = render_scene(scene, num_frames=2, fps=1.0, height=96, width=96).truth["frames"]
    told = frames[1]["actors"][0]["pixel"][1] - frames[0]["actors"][0]["pixel"][1]
    seen = painted(scene, 1.0)[:, 1].mean() - painted(scene, 0.0)[:, 1].mean()
    assert told > 10
    assert seen == pytest.approx(told, abs=3)


@rendering
def test_the_nearer_actor_hides_the_farther() -> None:
    scene = alone("cube", "red")
    behind = replace(scene.actors[0], colour="blue", home=(0.4, 2.5))
    both = replace(scene, actors=(scene.actors[0], behind))
    assert len(painted(both)) == pytest.approx(len(painted(scene)), rel=0.05)
    assert len(painted(replace(both, actors=both.actors[::-1]))) < 0.5 * len(painted(scene))


@rendering
@pytest.mark.parametrize("place", PLACES)
def test_every_place_stands_upright(place: Place) -> None:
    """The sky or wall is above and the ground below, each in its own colour. Checked to fail: upside down."""
    from vitascope.world.places import SETTINGS

    scene = replace(alone("ball", "red", place), ground_shade=(1.0, 1.0, 1.0))
    frame = render_scene(scene, num_frames=1, fps=8.0, height=64, width=64).video.frames[0].astype(float)
    ground = np.mean(SETTINGS[place].ground, axis=0)
    above, below = frame[0].mean(axis=0), frame[-1].mean(axis=0)
    hue = ground / np.linalg.norm(ground)
    assert below @ hue / np.linalg.norm(below) > 0.995
    assert np.abs(above - below).max() > 8


@rendering
@pytest.mark.parametrize(("height", "width"), [(1, 1), (64, 16), (16, 64), (50, 70), (640, 480), (360, 640)])
def test_any_size(height: int, width: int) -> None:
    frames = list(render_frames(sample_scene(3), num_frames=1, fps=24.0, height=height, width=width))
    assert frames[0].pixels.shape == (height, width, 3)
    assert len(frames[0].truth["actors"]) == len(sample_scene(3).actors)


@rendering
def test_a_large_picture_is_the_small_one() -> None:
    small, large = (
        render_scene(sample_scene(8), num_frames=1, fps=8.0, height=side, width=side).video.frames[0].astype(float)
        for side in (48, 480)
    )
    averaged = large.reshape(48, 10, 48, 10, 3).mean(axis=(1, 3))
    assert np.abs(averaged - small).mean() < 3


@pytest.mark.parametrize(("height", "width"), [(16, 8193), (20_000, 16), (0, 16), (16, -2)])
def test_a_picture_that_no_driver_draws_is_refused(height: int, width: int) -> None:
    with pytest.raises(SizeError, match=f"can't draw {width}x{height}"):
        next(render_frames(sample_scene(0), num_frames=1, fps=8.0, height=height, width=width))


@rendering
def test_the_largest_picture_is_drawn_to_its_edges() -> None:
    """Checked to fail: at 20000 pixels the right side is black."""
    pixels = next(render_frames(sample_scene(0), num_frames=1, fps=8.0, height=16, width=8192)).pixels
    assert pixels[:, :100].any()
    assert pixels[:, -100:].any()


@rendering
def test_another_opengl_context_does_not_disturb() -> None:
    """Checked to fail: without making the context current for each frame."""
    import mujoco

    before = render_scene(sample_scene(6), num_frames=1, fps=8.0, height=32, width=32).video.frames
    other = mujoco.GLContext(32, 32)
    other.make_current()
    try:
        after = render_scene(sample_scene(6), num_frames=1, fps=8.0, height=32, width=32).video.frames
    finally:
        other.free()
    assert (after == before).all()


def test_no_opengl_is_one_line() -> None:
    """Whatever is missing, the message says what to install."""
    script = "from vitascope.errors import RenderError\nfrom vitascope.world.stage import check_renderer\n"
    script += "try:\n    check_renderer()\n"
    script += "except RenderError as error:\n    print(error)"
    environment = {**os.environ, "MUJOCO_GL": "disabled"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith("can't render (")
    assert "libegl1" in line
    assert done.stderr == ""
