"""Scoring: each wrong word is charged to its own attribute, and to nothing else."""

from __future__ import annotations

import pytest

from vitascope.judge.scoring import REPORTED, accuracy, verdicts
from vitascope.judge.sentence import Sentence, Slot, describe
from vitascope.worlds.solids.sampling import sample_scene

CHASE = {
    "actors": [
        {"kind": "cat", "color": "red", "material": "plastic", "accessory": None, "expression": "happy"},
        {"kind": "bear", "color": "blue", "material": "plastic", "accessory": "hat", "expression": None},
    ],
    "shots": [{"setting": "snow", "camera": "still", "motions": ["chase", "flee"], "partners": [1, None]}],
    "time": "day",
    "weather": "rain",
    "style": "plain",
}


def wrong(truth: Sentence, seen: Sentence) -> list[str]:
    return [verdict.attribute for verdict in verdicts(truth, seen) if not verdict.right]


def test_a_perfect_reading_is_right_everywhere() -> None:
    seen = set()
    for seed in range(200):
        sentence = describe(sample_scene(seed).attributes())
        found = verdicts(sentence, sentence, dict.fromkeys(sentence, 0.7))
        assert all(verdict.right and verdict.confidence == 0.7 for verdict in found)
        seen |= {verdict.attribute for verdict in found}
    assert seen == set(REPORTED)


@pytest.mark.parametrize(
    ("slot", "value", "charged"),
    [
        (Slot("colour", 0), "green", "colour"),
        (Slot("kind", 1), "wall", "kind"),
        (Slot("accessory", 1), "none", "accessory"),
        (Slot("expression", 0), "sad", "expression"),
        (Slot("count", 1), "2", "count"),
        (Slot("motion", 0, 0), "orbit", "motion"),
        (Slot("partner", 0, 0), "none", "relation"),
        (Slot("partner", 1, 0), "1", "relation"),
        (Slot("setting", None, 0), "grass", "setting"),
        (Slot("camera", None, 0), "rise", "camera"),
        (Slot("time"), "night", "time"),
        (Slot("weather"), "fog", "weather"),
        (Slot("style"), "noir", "style"),
    ],
)
def test_one_wrong_word_is_charged_once(slot: Slot, value: str, charged: str) -> None:
    truth = describe(CHASE)
    assert slot in truth
    assert wrong(truth, {**truth, slot: value}) == [charged]


def test_groups_may_be_named_in_another_order() -> None:
    """Fails when groups are compared by their place: everything about both would be wrong."""
    truth = describe(CHASE)
    swapped = {s: truth[s if s.group is None else s._replace(group=1 - s.group)] for s in truth}
    swapped[Slot("partner", 1, 0)] = "1"
    assert wrong(truth, swapped) == []


def test_what_is_missing_is_wrong_and_has_no_confidence() -> None:
    truth = describe(CHASE)
    alone = describe(
        CHASE
        | {"actors": CHASE["actors"][:1], "shots": [CHASE["shots"][0] | {"motions": ["chase"], "partners": [None]}]}
    )
    found = verdicts(truth, alone, dict.fromkeys(alone, 0.5))
    assert {verdict.attribute for verdict in found if verdict.confidence is None} == {
        *("count", "kind", "colour", "material", "accessory", "expression", "motion")
    }
    assert {verdict.attribute for verdict in found if not verdict.right} >= {"groups", "kind", "relation"}
    assert accuracy(found)["setting"] == 1.0
    assert accuracy(found)["kind"] == 0.5
    assert not any(v.right for v in verdicts(truth, {}))


def test_nobody_is_asked_what_cannot_be_seen() -> None:
    """The colours of a black and white clip; motion and camera of a picture."""
    noir = describe(CHASE | {"style": "noir"})
    assert "colour" not in accuracy(verdicts(noir, noir))
    image = describe(CHASE, is_image=True)
    assert not {"motion", "camera", "relation"} & accuracy(verdicts(image, image)).keys()
