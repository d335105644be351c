"""Attribute sentences: reading inverts writing, for any order of a scene's actors."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from tests.worlds.solids.stages import scenes
from vitascope.errors import DatasetError
from vitascope.judge.sentence import UNREAD, VALUES, Slot, attributes_of, describe, next_slot, parse, write
from vitascope.judge.vocabulary import Vocabulary, collect, join, split
from vitascope.worlds.solids.captions import captions


def actors(attributes: dict[str, Any]) -> Counter[tuple[Any, ...]]:
    """Counts of (looks, actions, partner), independent of order. In noir, actors have no colour."""
    noir = attributes["style"] == "noir"
    cast = [
        tuple(None if noir and key == "color" else actor[key] for key in sorted(actor))
        for actor in attributes["actors"]
    ]
    doing = [
        [(shot["motions"][k], None if partner is None else cast[partner]) for shot in attributes["shots"]]
        for k in range(len(cast))
        for partner in [attributes["shots"][0]["partners"][k]]
    ]
    return Counter((*actor, *acts) for actor, acts in zip(cast, doing, strict=True))


def shuffled(attributes: dict[str, Any], order: list[int]) -> dict[str, Any]:
    """The same scene with its actors listed in another order."""
    place = {old: new for new, old in enumerate(order)}
    shots = [
        shot
        | {
            "motions": [shot["motions"][k] for k in order],
            "partners": [None if p is None else place[p] for p in (shot["partners"][k] for k in order)],
        }
        for shot in attributes["shots"]
    ]
    return {**attributes, "actors": [attributes["actors"][k] for k in order], "shots": shots}


def test_five_hundred_scenes_come_back_from_their_sentences() -> None:
    """Fails when an attribute is left out, a partner points elsewhere, or the order of slots differs."""
    for scene in scenes(500):
        attributes = scene.attributes()
        sentence = describe(attributes)
        assert next_slot(sentence) is None
        assert parse(write(sentence)) == sentence
        back = attributes_of(sentence)
        assert describe(back) == sentence
        assert actors(back) == actors(attributes)
        for key in ("time", "weather", "style"):
            assert back[key] == attributes[key]
        for shot, true in zip(back["shots"], attributes["shots"], strict=True):
            assert (shot["setting"], shot["camera"]) == (true["setting"], true["camera"])


def test_the_order_of_a_scenes_actors_leaves_no_trace() -> None:
    """Fails without the sorting: nothing in the picture tells who was drawn first."""
    draw = random.Random(0)
    several = [scene for scene in scenes(500) if len(scene.actors) > 1]
    assert len(several) > 100
    for scene in several:
        order = list(range(len(scene.actors)))
        draw.shuffle(order)
        assert describe(shuffled(scene.attributes(), order)) == describe(scene.attributes())


def test_a_picture_has_neither_motion_nor_camera() -> None:
    for scene in scenes(100):
        sentence = describe(scene.attributes(), is_image=True)
        assert sentence[Slot("shots")] == "1"
        assert {v for slot, v in sentence.items() if slot.attribute in ("motion", "partner", "camera")} == {"none"}
        assert describe(attributes_of(sentence), is_image=True) == sentence


def test_no_sequence_of_tokens_breaks_the_parser() -> None:
    """Cut short, out of order, or nonsense: what can't be read is unread, and attributes still come out."""
    draw = random.Random(1)
    every = [f"{attribute}:{value}" for attribute, values in VALUES.items() for value in values]
    whole = write(describe(scenes(1)[0].attributes()))
    for number in range(500):
        tokens = draw.choices([*every, "", "cat", "kind:", "shots:9999999", "groups:²", ":::"], k=draw.randrange(60))
        if number % 2:
            tokens = whole[: draw.randrange(len(whole))] + tokens[:3]
        sentence = parse(tokens)
        assert next_slot(sentence) is None
        attributes_of(sentence)
    assert set(parse([]).values()) == {UNREAD}
    damaged = parse([*whole[:6], "camera:still", *whole[7:]])
    assert [slot.attribute for slot, value in damaged.items() if value == UNREAD] == ["colour"]
    assert attributes_of(damaged)["actors"][0]["color"] == UNREAD


@pytest.mark.parametrize("damage", [{"actors": [{"kind": "cat"}]}, {"shots": 3}, {"time": "noon"}, {"style": None}])
def test_attributes_of_another_form_are_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(DatasetError):
        describe({**scenes(1)[0].attributes(), **damage})


def test_captions_come_back_from_their_words() -> None:
    """Fails when a language's joiner is the other's."""
    told = [captions(scene, is_image=scene.seed % 4 == 0) for scene in scenes(100)]
    for each in told:
        for language in ("en", "zh"):
            assert [join(split(text), language) for text in each[language]] == each[language]
    vocabulary = Vocabulary(collect(text for each in told for texts in each.values() for text in texts))
    mark, *words, end = vocabulary.encode_caption(told[0]["zh"][0], "zh")
    assert (vocabulary.tokens[mark], vocabulary.tokens[end]) == ("<zh>", "<end>")
    assert vocabulary.decode_caption(words, "zh") == told[0]["zh"][0]
    assert vocabulary.encode_caption("zyzzyva", "en")[1] == vocabulary.unknown
    assert len(set(vocabulary.tokens)) == len(vocabulary) < 700
