"""Owner masks, depth and flow of emoji clips agree with the pixels and with one another."""

from __future__ import annotations

import numpy as np
import pytest

from tests.worlds.warping import warp_error
from vitascope.video.shape import VideoShape
from vitascope.worlds.emoji import drawing
from vitascope.worlds.emoji.backdrops import Light, PaintedBackdrop
from vitascope.worlds.emoji.drawing import draw_frames, draw_scene
from vitascope.worlds.emoji.names import Name
from vitascope.worlds.emoji.scene import Actor, Character, Motion, Scene
from vitascope.worlds.frame import TRUTH_MAPS
from vitascope.worlds.language import CameraMove

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def character(tmp_path_factory: pytest.TempPathFactory) -> Character:
    """A patterned square, the same in both of its frames."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[6:58, 6:58] = (40, 60, 200, 255)
    pixels[12:28, 12:40] = (230, 200, 40, 255)
    pixels[36:50, 30:54] = (200, 40, 60, 255)
    path = tmp_path_factory.mktemp("emoji") / "square.webp"
    image = Image.fromarray(pixels)
    image.save(path, save_all=True, append_images=[image], duration=100, lossless=True)
    return Character("1f7e6", Name("square", "squares", "方块", "个"), path)


def scene_of(character: Character, *cast: tuple[Motion, float, float], shot: CameraMove = "still") -> Scene:
    """Actors of (motion, slot, depth) before a room."""
    actors = tuple(Actor(character, motion, slot, depth, 0.9, 1.0, 0.0) for motion, slot, depth in cast)
    return Scene(0, actors, "room", 3, shot, 1.0)


def test_maps_change_neither_pixels_nor_truth(character: Character) -> None:
    scene, shape = scene_of(character, ("right", 0.0, 1.0), shot="zoom_in"), VideoShape(3, 8.0, 48, 64, 0.0)
    plain, mapped = list(draw_frames(scene, shape)), list(draw_frames(scene, shape, TRUTH_MAPS))
    for one, other in zip(plain, mapped, strict=True):
        assert (one.pixels == other.pixels).all()
        assert one.truth == other.truth
        assert one.maps == (None, None, None)


def test_a_mask_holds_the_pixels_of_its_actor(character: Character, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearer of two owns the pixels where they overlap. Checked to fail: with the layers in reverse order."""

    def plain(place: str, seed: int, x: np.ndarray, y: np.ndarray) -> PaintedBackdrop:
        return PaintedBackdrop(np.full((y.size, x.size, 3), 128, np.uint8), Light(shadow=0.0))

    monkeypatch.setattr(drawing, "paint", plain)
    shape = VideoShape(1, 8.0, 96, 96, 0.0)
    near = ("stay", 0.1, 1.0)
    both = draw_scene(scene_of(character, ("stay", 0.0, 1.6), near), shape, TRUTH_MAPS)
    apart = draw_scene(scene_of(character, ("stay", -0.4, 1.6), near), shape, TRUTH_MAPS)
    assert both.maps.masks is not None
    assert both.maps.depth is not None
    mask, depth = both.maps.masks[0], both.maps.depth[0]
    assert apart.maps.masks is not None
    assert set(np.unique(mask)) == {0, 1, 2}
    assert ((mask == 2) == (apart.maps.masks[0] == 2)).all()
    assert 0 < (mask == 1).sum() < 0.9 * (apart.maps.masks[0] == 1).sum()
    changed = np.abs(both.video.frames[0].astype(int) - 128).max(axis=-1) > 40
    assert ((mask > 0) == changed).mean() > 0.98
    assert depth[mask == 1] == pytest.approx(1.6)
    assert depth[mask == 2] == pytest.approx(1.0)
    assert np.isinf(depth[mask == 0]).all()


@pytest.mark.parametrize("motion", ["right", "spin", "approach", "hop"])
@pytest.mark.parametrize("shot", ["still", "pan_left", "zoom_out"])
def test_flow_finds_each_visible_point_in_the_next_frame(
    character: Character, motion: Motion, shot: CameraMove
) -> None:
    """Checked to fail: with pictures that turn the other way, and with the axes of flow exchanged."""
    clip = draw_scene(scene_of(character, (motion, 0.0, 1.0), shot=shot), VideoShape(4, 8.0, 80, 80, 0.2), TRUTH_MAPS)
    moved, still, share = warp_error(clip.video.frames, clip.maps)
    assert share > 0.7
    assert moved < 0.6 * still
