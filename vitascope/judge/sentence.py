"""Attribute sentences: a clip's attributes as words in a fixed order, and back.

    style time weather  shots groups | of each group: kind colour material accessory expression count
                                     | of each shot: setting camera, and of each group: motion partner

A group is a set of actors with equal looks and motions. The numbers of shots and groups determine the position of every
word; a position is a `Slot`. Invisible attributes are `none`, such as colours in black and white, or motion and camera
in an image. Missing words are `unread`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vitascope.errors import DatasetError
from vitascope.worlds.language import CAMERA_MOVES
from vitascope.worlds.solids.words import (
    ACCESSORIES,
    COLOURS,
    EXPRESSIONS,
    KINDS,
    MATERIALS,
    MOTIONS,
    PASSIVE,
    SETTINGS,
    STYLES,
    TIMES,
    WEATHERS,
)

NONE, UNREAD = "none", "unread"
MAX_SHOTS, MAX_GROUPS, MAX_COUNT = 3, 3, 5

CLIP = ("style", "time", "weather", "shots", "groups")
LOOKS = ("kind", "colour", "material", "accessory", "expression", "count")  # count last: it depends on the looks
SHOT = ("setting", "camera")
ACT = ("motion", "partner")


def _numbers(last: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, last + 1))


VALUES: dict[str, tuple[str, ...]] = {  # words of each attribute's slots
    "style": STYLES,
    "time": TIMES,
    "weather": WEATHERS,
    "shots": _numbers(MAX_SHOTS),
    "groups": _numbers(MAX_GROUPS),
    "count": _numbers(MAX_COUNT),
    "kind": KINDS,
    "colour": (NONE, *COLOURS),
    "material": MATERIALS,
    "accessory": (NONE, *ACCESSORIES),
    "expression": (NONE, *EXPRESSIONS),
    "setting": SETTINGS,
    "camera": (NONE, *CAMERA_MOVES),
    "motion": (NONE, *MOTIONS),
    "partner": (NONE, *_numbers(MAX_GROUPS)),  # the group's number in the sentence, from 1
}


class Slot(NamedTuple):
    """Position in a sentence: attribute, and the group and shot it belongs to, counted from 0."""

    attribute: str
    group: int | None = None
    shot: int | None = None


Sentence = dict[Slot, str]  # the value in each slot, in order


def slots(num_shots: int, num_groups: int) -> tuple[Slot, ...]:
    """Every slot of a sentence, in order."""
    groups, shots = range(num_groups), range(num_shots)
    acts = [[Slot(name, group, shot) for group in groups for name in ACT] for shot in shots]
    return (
        *(Slot(name) for name in CLIP),
        *(Slot(name, group) for group in groups for name in LOOKS),
        *(slot for shot in shots for slot in (*(Slot(name, None, shot) for name in SHOT), *acts[shot])),
    )


def next_slot(sentence: Sentence) -> Slot | None:
    """First open slot of a sentence; None if it is complete."""
    order = slots(_number(sentence.get(Slot("shots"))), _number(sentence.get(Slot("groups"))))
    return order[len(sentence)] if len(sentence) < len(order) else None


def describe(attributes: Mapping[str, Any], *, is_image: bool = False) -> Sentence:
    """Sentence of a record's `attributes`. An image has its first shot, without motion.

    Groups are sorted by visible properties, not by the record's order: active ones first, then by looks and motions.

    Raises:
        DatasetError: attributes that don't have the world's form, or words outside of its vocabulary.
    """
    try:
        sentence = _describe(attributes, is_image)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        message = f"attributes that are not the world's ({type(error).__name__} {error}); render the dataset again"
        raise DatasetError(message) from None
    for slot, value in sentence.items():
        if value not in VALUES[slot.attribute]:
            raise DatasetError(f"{slot.attribute} {value!r} is not in the world's vocabulary: render the dataset again")
    return sentence


def _describe(attributes: Mapping[str, Any], is_image: bool) -> Sentence:
    shots = attributes["shots"][: 1 if is_image else None]
    cast = [_looks(actor, attributes["style"]) for actor in attributes["actors"]]
    acts = [
        tuple((NONE, None) if is_image else (_word(shot["motions"][k]), shot["partners"][k]) for shot in shots)
        for k in range(len(cast))
    ]
    members: dict[tuple[Any, ...], list[int]] = {}
    for number, key in enumerate(zip(cast, acts, strict=True)):
        members.setdefault(key, []).append(number)
    groups = sorted(members, key=lambda key: _rank(*key))
    place = {number: str(k + 1) for k, key in enumerate(groups) for number in members[key]}

    clip = (attributes["style"], attributes["time"], attributes["weather"], str(len(shots)), str(len(groups)))
    looks = [word for key in groups for word in (*key[0], str(len(members[key])))]
    acted = []
    for k, shot in enumerate(shots):
        acted += [shot["setting"], NONE if is_image else _word(shot["camera"])]
        for _, doing in groups:
            motion, partner = doing[k]
            acted += [motion, NONE if partner is None else place[partner]]
    return dict(zip(slots(len(shots), len(groups)), (*clip, *looks, *acted), strict=True))


def _looks(actor: Mapping[str, Any], style: str) -> tuple[str, ...]:
    colour = None if style == "noir" else actor["color"]
    return tuple(
        _word(word) for word in (actor["kind"], colour, actor["material"], actor["accessory"], actor["expression"])
    )


def _rank(looks: tuple[str, ...], acts: tuple[tuple[str, int | None], ...]) -> tuple[Any, ...]:
    motions = tuple(motion for motion, _ in acts)
    return any(motion in PASSIVE for motion in motions), looks, motions


def _word(value: str | None) -> str:
    return NONE if value is None else value


def attributes_of(sentence: Sentence) -> dict[str, Any]:
    """Attributes in a record's form: the inverse of `describe`, except for the order of actors and unseen attributes.

    Unseen attributes are None, missing ones "unread". Without a number of shots or groups there are none.
    """
    num_shots, num_groups = (_number(sentence.get(Slot(name))) for name in ("shots", "groups"))
    counts = [_number(sentence.get(Slot("count", group))) or 1 for group in range(num_groups)]
    owner = [group for group, count in enumerate(counts) for _ in range(count)]

    def value(attribute: str, group: int | None = None, shot: int | None = None) -> str | None:
        word = sentence.get(Slot(attribute, group, shot), UNREAD)
        return None if word == NONE else word

    def partner(group: int, shot: int) -> int | str | None:
        place = value("partner", group, shot)
        if place is None or place == UNREAD:
            return place
        return owner.index(int(place) - 1) if int(place) <= num_groups else UNREAD

    actors = [
        {"kind": value("kind", g), "color": value("colour", g), "material": value("material", g)}
        | {"accessory": value("accessory", g), "expression": value("expression", g)}
        for g in owner
    ]
    shots = [
        {"setting": value("setting", shot=shot), "camera": value("camera", shot=shot)}
        | {"motions": [value("motion", g, shot) for g in owner], "partners": [partner(g, shot) for g in owner]}
        for shot in range(num_shots)
    ]
    whole = {name: value(name) for name in ("time", "weather", "style")}
    return {"actors": actors, "shots": shots, **whole}


def write(sentence: Sentence) -> list[str]:
    """Tokens of a sentence, each attribute:value."""
    return [f"{slot.attribute}:{value}" for slot, value in sentence.items()]


def parse(tokens: Sequence[str]) -> Sentence:
    """Sentence of tokens: the inverse of `write`. It accepts any tokens.

    A missing or unknown token, or one of another attribute than the slot's, leaves the slot unread.
    """
    sentence: Sentence = {}
    while (slot := next_slot(sentence)) is not None:
        token = tokens[len(sentence)] if len(sentence) < len(tokens) else ""
        attribute, _, value = token.partition(":")
        known = attribute == slot.attribute and value in VALUES[attribute]
        sentence[slot] = value if known else UNREAD
    return sentence


def _number(value: str | None) -> int:
    """Number that a word stands for; 0 for other words."""
    return int(value) if value is not None and value.isdecimal() else 0
