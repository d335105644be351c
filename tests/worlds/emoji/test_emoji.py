"""The emoji corpus: names, captions, motion and drawing match each other."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.worlds.emoji.packages import scene_of
from vitascope.video.shape import VideoShape
from vitascope.worlds.emoji import drawing
from vitascope.worlds.emoji.animation import read_animation
from vitascope.worlds.emoji.backdrops import Light, PaintedBackdrop, paint
from vitascope.worlds.emoji.captions import captions
from vitascope.worlds.emoji.drawing import draw_frames
from vitascope.worlds.emoji.names import name_of
from vitascope.worlds.emoji.scene import (
    BACKDROPS,
    CAMERA_MOVES,
    MOTIONS,
    pose,
    sample_scene,
    viewport,
)


def test_characters_are_the_animated_ones_that_have_a_name(characters):
    """No skin tones, no stills, nothing that can't be counted. Checked to fail: without either of the first two."""
    assert [character.name.en for character in characters] == [
        "cat",
        "frog",
        "slightly smiling face",
        "rocket",
        "astronaut",
    ]


@pytest.mark.parametrize(
    ("labels", "subgroup", "a_en", "plural", "a_zh"),
    [
        (("frog", "青蛙"), 36, "a frog", "frogs", "一只青蛙"),
        (("mouse", "老鼠"), 34, "a mouse", "mice", "一只老鼠"),
        (("orangutan", "红毛猩猩"), 34, "an orangutan", "orangutans", "一只红毛猩猩"),
        (("unicorn", "独角兽"), 34, "a unicorn", "unicorns", "一只独角兽"),
        (("horse", "马"), 34, "a horse", "horses", "一匹马"),
        (("butterfly", "蝴蝶"), 39, "a butterfly", "butterflies", "一只蝴蝶"),
        (("ferry", "渡轮"), 55, "a ferry", "ferries", "一艘渡轮"),
        (("hourglass done", "沙漏"), 58, "an hourglass", "hourglasses", "一个沙漏"),
        (("one o’clock", "一点"), 58, "a clock", "clocks", "一个时钟"),
        (("face with tears of joy", "笑哭了"), 0, "a face with tears of joy", None, "一张笑哭的脸"),
        (("worried face", "担心"), 9, "a worried face", "worried faces", "一张担心的脸"),
        (("man: red hair", "男人: 红发"), 23, "a man with red hair", None, "一个红发的男人"),
        (("woman: bald", "女人: 秃顶"), 23, "a bald woman", "bald women", "一个秃顶的女人"),
        (("man judge", "男法官"), 25, "a male judge", "male judges", "一个男法官"),
        (("person in tuxedo", "穿燕尾服的人"), 25, "a person in a tuxedo", None, "一个穿燕尾服的人"),
        (("woman bowing", "女生鞠躬"), 24, "a woman bowing", None, "一个鞠躬的女生"),
        (("person frowning", "皱眉"), 24, "a person frowning", None, "一个皱眉的人"),
        (("man frowning", "皱眉男"), 24, "a man frowning", None, "一个皱眉的男人"),
        (("ear with hearing aid", "戴助听器的耳朵"), 22, "an ear with a hearing aid", None, "一只戴助听器的耳朵"),
    ],
)
def test_names_are_nouns_in_both_languages(labels, subgroup, a_en, plural, a_zh):
    name = name_of(*labels, subgroup)
    assert name is not None
    assert (name.a_en, name.plural, name.a_zh) == (a_en, plural, a_zh)


@pytest.mark.parametrize("label", ["two hearts", "family: man, boy", "middle finger", "fog"])
def test_what_no_caption_can_count_has_no_name(label):
    assert name_of(label, "某物", 30 if ":" in label else 14) is None


def test_an_animation_keeps_its_own_speed(characters):
    """Four frames of 100 ms: the L has the same height at 1.05 s and 0.25 s, at any rate of the clip."""
    animation = read_animation(characters[0].path)
    assert animation.ends == pytest.approx((0.1, 0.2, 0.3, 0.4))
    tops = [animation.at(seconds).box[0] for seconds in (0.05, 0.15, 0.25, 0.35, 0.45, 1.05)]
    assert tops == [30, 26, 22, 18, 30, 22]
    assert animation.box == (18, 12, 58, 52)


def test_captions_say_who_and_how_many_in_both_languages(characters):
    """Checked to fail: with 一只 for groups, and with "to the left of" whose two things are swapped."""
    numbers = {2: ("two", "两"), 3: ("three", "三")}
    groups = pairs = 0
    for seed in range(200):
        scene = sample_scene(characters, seed)
        names = [actor.character.name for actor in scene.actors]
        for is_image in (False, True):
            written = captions(scene, is_image=is_image)
            assert {language: len(texts) for language, texts in written.items()} == {"en": 4, "zh": 4}
            for en, zh in zip(written["en"], written["zh"], strict=True):
                if scene.is_group:
                    groups += 1
                    assert f"{numbers[len(names)][0]} {names[0].plural}" in en.lower()
                    assert f"{numbers[len(names)][1]}{names[0].measure}{names[0].zh}" in zh
                    continue
                assert all(name.a_en.lower() in en.lower() for name in names), en
                assert all(name.a_zh in zh for name in names), zh
                pairs += _says_who_is_beside_whom(en, zh, names)
            assert not re.search(r"[\u3400-\u9fff]|  |\{| ,", " ".join(written["en"]))
            assert not any(re.search(r" |，，|。.|有在|：，", text) for text in written["zh"])
    assert groups > 100
    assert pairs > 100


def _says_who_is_beside_whom(en: str, zh: str, names: list[Any]) -> int:
    """Number of captions that mention relative positions, which must be right; names are from left to right."""
    said = 0
    if len(names) == 2 and re.search(r"to the (left|right) of an? ", en):
        left, right = (name.a_en.lower() for name in names)
        assert f"{left} to the left of {right}" in en.lower() or f"{right} to the right of {left}" in en.lower(), en
        said += 1
    if len(names) == 2 and re.search(r"在一.*?[左右]边", zh):
        left, right = (name.a_zh for name in names)
        assert f"{left}在{right}左边" in zh or f"{right}在{left}右边" in zh, zh
        said += 1
    return said


@pytest.mark.parametrize("motion", MOTIONS)
def test_captions_say_the_motion_in_both_languages(characters, motion):
    words = {
        "stay": ("stay|stand", "原地|一动不动"),
        "right": ("right", "右"),
        "left": ("left", "左"),
        "approach": ("clos|towards|approach", "近|朝镜头"),
        "recede": ("away", "远"),
        "hop": ("hop|jump", "跳"),
        "rise": ("float|ris", "飘|升"),
        "fall": ("fall|drop", "落|掉"),
        "circle": ("circl", "圈"),
        "sway": ("sway|rock|swing", "左右|来回"),
        "spin": ("spin|wheel|turn", "转"),
    }[motion]
    for number in (1, 2):
        written = captions(scene_of(*[(characters[1], motion)] * number), is_image=False)
        for language, pattern in zip(("en", "zh"), words, strict=True):
            assert all(re.search(pattern, text) for text in written[language]), written[language]


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.7])
def test_who_is_left_of_whom_never_changes(characters, aspect):
    """Checked to fail: with a reach of half the frame in every slot."""
    for seed in range(300):
        scene = sample_scene(characters, seed)
        for seconds in np.linspace(0, 8, 33):
            poses = [pose(scene, actor, float(seconds), aspect) for actor in scene.actors]
            columns = [at.x / at.depth for at in poses]
            assert all(b - a > 0.04 for a, b in pairwise(columns)), (seed, seconds)


def test_movements_go_where_their_names_say(characters):
    ways = {}
    for motion in MOTIONS:
        scene = scene_of((characters[0], motion))
        ways[motion] = [pose(scene, scene.actors[0], seconds, 1.0) for seconds in (0.0, 1.0, 2.0, 9.0)]
    assert [at.x for at in ways["right"]] == sorted(at.x for at in ways["right"])
    assert [-at.x for at in ways["left"]] == sorted(-at.x for at in ways["left"])
    assert [-at.depth for at in ways["approach"]] == sorted(-at.depth for at in ways["approach"])
    assert [at.depth for at in ways["recede"]] == sorted(at.depth for at in ways["recede"])
    assert [at.lift for at in ways["rise"]] == sorted(at.lift for at in ways["rise"])
    assert ways["fall"][0].lift > 0.3
    assert ways["fall"][-1].lift == 0.0
    assert len({(at.x, at.depth, at.lift, at.angle) for at in ways["stay"]}) == 1


@pytest.mark.parametrize("shot", CAMERA_MOVES)
def test_the_camera_moves_as_its_name_says(characters, shot):
    begin, end = (viewport(scene_of((characters[0], "stay"), shot=shot), seconds, 1.0) for seconds in (0.0, 3.0))
    assert np.sign(end.x - begin.x) == {"pan_left": -1, "pan_right": 1}.get(shot, 0)
    assert np.sign(end.zoom - begin.zoom) == {"zoom_in": 1, "zoom_out": -1}.get(shot, 0)


@pytest.mark.parametrize("shot", CAMERA_MOVES)
@pytest.mark.parametrize("motion", MOTIONS)
def test_truth_is_where_the_picture_differs(characters, monkeypatch, motion, shot):
    """The centre of mass of what an actor adds to a plain setting, and its bounds.

    Checked to fail: with a truth 1.5 pixels off, pictures on whole pixels, pictures that turn the other way, and
    Pillow's Hamming filter.
    """

    def plain(place: str, seed: int, x: np.ndarray, y: np.ndarray) -> PaintedBackdrop:
        return PaintedBackdrop(np.full((y.size, x.size, 3), 128, np.uint8), Light(shadow=0.0))

    monkeypatch.setattr(drawing, "paint", plain)
    scene = scene_of((characters[0], motion), shot=shot)
    shape = VideoShape(num_frames=5, fps=3.0, height=80, width=112, start=0.1)
    for frame in draw_frames(scene, shape):
        (truth,) = frame.truth["actors"]
        added = np.abs(frame.pixels.astype(float) - 128).sum(axis=2)
        top, left, bottom, right = truth["box"]
        if min(top, left) < 1 or bottom > 79 or right > 111:
            continue  # partly outside
        rows, columns = np.mgrid[0:80, 0:112] + 0.5
        found = [(added * rows).sum() / added.sum(), (added * columns).sum() / added.sum()]
        assert found == pytest.approx(truth["pixel"], abs=0.15)
        assert truth["visible"]
        seen = np.argwhere(added > 40)
        if motion not in ("sway", "spin"):  # whose boxes hold the turned corners of what may be round
            assert [*seen.min(axis=0), *(seen.max(axis=0) + 1)] == pytest.approx(truth["box"], abs=1.2)


def test_a_shadow_lies_beneath_who_stands_and_fades_beneath_who_floats(characters):
    darkness = {}
    for motion in ("stay", "rise"):
        scene = scene_of((characters[0], motion))
        shape = VideoShape(1, 8.0, 96, 96, 9.0)
        (frame,) = draw_frames(scene, shape)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drawing, "_cast_shadow", lambda *_: None)
            (without,) = draw_frames(scene, shape)
        lost = (without.pixels.astype(int) - frame.pixels).sum(axis=2)
        assert lost.min() >= -3
        rows, columns = np.mgrid[0:96, 0:96] + 0.5
        _, left, bottom, right = frame.truth["actors"][0]["box"]
        assert left < (lost * columns).sum() / lost.sum() < right
        assert (lost * rows).sum() / lost.sum() > bottom - 6
        darkness[motion] = lost.max()
    assert darkness["stay"] > 1.3 * darkness["rise"] > 0


@pytest.mark.parametrize("place", BACKDROPS)
def test_every_place_is_painted_in_several_ways(place):
    x, y = np.linspace(-1, 1, 60), np.linspace(-0.8, 0.6, 42)
    pictures = [paint(place, seed, x, y) for seed in (0, 0, 1, 2, 3)]
    assert np.array_equal(pictures[0].pixels, pictures[1].pixels)
    assert len({picture.pixels.tobytes() for picture in pictures}) == 4
    means = [picture.pixels.mean() for picture in pictures]
    assert all(15 < mean < 245 for mean in means)
    edges = np.abs(np.diff(pictures[0].pixels.astype(int), axis=1))
    assert edges.mean() < 12  # soft, nothing that flickers


def test_a_character_may_be_larger_than_the_frame_or_outside_it(characters):
    actor = replace(scene_of((characters[0], "stay")).actors[0], depth=0.05)
    for slot in (0.0, 5.0):
        scene = replace(scene_of((characters[0], "stay")), actors=(replace(actor, slot=slot),))
        (frame,) = draw_frames(scene, VideoShape(1, 8.0, 32, 48, 0.0))
        assert frame.pixels.shape == (32, 48, 3)
        assert math.isfinite(frame.truth["actors"][0]["pixel"][0])
