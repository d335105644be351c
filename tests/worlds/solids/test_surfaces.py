"""Owner masks, depth and flow agree with the pixels, with one another and with the scene's geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.worlds.solids.stages import alone
from tests.worlds.warping import warp_error
from vitascope.errors import ConfigError
from vitascope.worlds.frame import TRUTH_MAPS, RenderedClip, check_maps
from vitascope.worlds.language import CameraMove
from vitascope.worlds.solids.camera import project
from vitascope.worlds.solids.camera import view as camera_view
from vitascope.worlds.solids.render import render_scene
from vitascope.worlds.solids.scene import Action, Actor, Scene
from vitascope.worlds.solids.words import Kind, Material

pytestmark = pytest.mark.rendering
ROLL = Action("right", (0.0, 0.1), 0.8, period=4.4)


def drawn(scene: Scene, num_frames: int = 2, size: int = 96, start: float = 0.0) -> RenderedClip:
    return render_scene(scene, num_frames=num_frames, fps=8.0, height=size, width=size, start=start, maps=TRUTH_MAPS)


def test_maps_change_neither_pixels_nor_truth() -> None:
    """Of a scene in the rain, with glass and a cut."""
    scene = alone(Actor("cat", "red", 0.9, material="glass"), ROLL)
    scene = replace(scene, weather="rain", shots=scene.shots * 2, cuts=(0.5,))
    plain = render_scene(scene, num_frames=3, fps=8.0, height=48, width=64)
    clip = render_scene(scene, num_frames=3, fps=8.0, height=48, width=64, maps=TRUTH_MAPS)
    assert (plain.video.frames == clip.video.frames).all()
    assert plain.truth == clip.truth
    assert plain.maps == (None, None, None)
    assert clip.maps.masks is not None
    assert clip.maps.flow is not None
    assert clip.maps.masks.shape == (3, 48, 64)
    assert clip.maps.flow.shape == (3, 48, 64, 2)


@pytest.mark.parametrize("material", ["plastic", "glass"])
def test_a_mask_holds_the_pixels_that_change_with_the_actor(material: Material) -> None:
    """Checked to fail: with the mask upside down."""
    scene = alone(Actor("cat", "red", 0.9, material=material), Action("stand", (0.3, 0.1)))
    away = replace(scene, shots=(replace(scene.shots[0], acts=(Action("stand", (90.0, 0.0)),)),))
    clip, empty = drawn(scene, 1), drawn(away, 1)
    assert clip.maps.masks is not None
    assert empty.maps.masks is not None
    mask, outside = clip.maps.masks[0] == 1, empty.maps.masks[0]
    changed = np.abs(clip.video.frames[0].astype(int) - empty.video.frames[0]).max(axis=-1) > 25
    assert not outside.any()
    assert changed[mask].mean() > 0.9
    assert mask.sum() == pytest.approx(clip.truth["frames"][0]["actors"][0]["area"], rel=0.05)


@pytest.mark.parametrize("camera", ["still", "pan_right", "orbit", "zoom_in", "rise", "follow"])
def test_flow_finds_each_visible_point_in_the_next_frame(camera: CameraMove) -> None:
    """The rolling ball's stripes, the ground and the props. Checked to fail: with the axes of flow exchanged."""
    scene = alone(Actor("ball", "red", 1.0), ROLL, "street", camera)
    clip = drawn(scene, 3, start=0.4)
    moved, still, share = warp_error(clip.video.frames, clip.maps)
    assert share > 0.8
    assert moved < 0.6 * still


@pytest.mark.parametrize("act", [Action("spin", period=4.0), Action("wave", period=2.0)])
def test_flow_follows_rotations_of_actors_and_limbs(act: Action) -> None:
    """The spinning cube's marks, or the robot's arm. Checked to fail: with the shift of a solid's centre alone."""
    kind: Kind = "cube" if act.motion == "spin" else "robot"
    clip = drawn(alone(Actor(kind, "blue", 1.2), act), 3, start=0.2)
    moved, still, share = warp_error(clip.video.frames, clip.maps)
    assert share > 0.5
    assert moved < 0.8 * still  # faces change their shade as they turn


def test_flow_in_a_shots_last_frame_continues_the_shot() -> None:
    scene = alone(Actor("ball", "red", 0.8), ROLL)
    short, long = drawn(scene, 1), drawn(scene, 2)
    assert short.maps.flow is not None
    assert long.maps.flow is not None
    assert (short.maps.flow[0] == long.maps.flow[0]).all()
    assert np.abs(short.maps.flow[0]).max() > 2


def test_depth_is_the_distance_along_the_axis_and_the_nearer_actor_is_in_front() -> None:
    """Checked to fail: with the depth buffer read upside down."""
    scene = alone(Actor("cube", "red", 0.7), Action("stand", (0.4, 0.1)))
    shot = replace(scene.shots[0], acts=(*scene.shots[0].acts, Action("stand", (0.45, 1.2))))
    scene = replace(scene, actors=(scene.actors[0], Actor("cube", "blue", 1.4)), shots=(shot,))
    maps = drawn(scene, 1).maps
    assert maps.depth is not None
    assert maps.masks is not None
    depth, mask = maps.depth[0], maps.masks[0]
    look = camera_view(shot, 0.0, 1.0, (0.4, 0.7))
    row, column, distance = project((0.4, 0.1 - 0.35, 0.35), look, 96, 96)  # middle of the near cube's front
    assert mask[int(row), int(column)] == 1
    assert depth[int(row), int(column)] == pytest.approx(distance, abs=0.02)
    row, column, distance = project((-0.7, -0.6, 0.0), look, 96, 96)  # a point of the ground
    assert mask[int(row), int(column)] == 0
    assert depth[int(row), int(column)] == pytest.approx(distance, abs=0.06)
    assert depth[mask == 1].max() < depth[mask == 2].min()
    assert np.isinf(depth[0]).any()
    glass = tuple(replace(actor, material="glass") for actor in scene.actors)
    clear = drawn(replace(scene, actors=glass), 1).maps  # as opaque as any other
    assert clear.depth is not None
    assert (clear.masks == maps.masks).all()
    assert clear.depth[0] == pytest.approx(depth)


def test_an_unknown_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="'normals'; choose from masks, depth, flow"):
        check_maps(("masks", "normals"))
