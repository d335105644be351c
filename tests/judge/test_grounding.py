"""Labels of the judge's tokens from the ground truth of rendered clips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vitascope.data.clips import Clip
from vitascope.errors import DatasetError
from vitascope.judge.augment import Window
from vitascope.judge.grounding import UNKNOWN, ActorTrack, GroundingHead, actor_track, known_kinds, labels
from vitascope.judge.mirror import mirrored_attributes
from vitascope.judge.sentence import NONE, VALUES

SIDE, HEIGHT, WIDTH = 16, 32, 64  # tokens of a side of 16 pixels: two rows of four

ATTRIBUTES = {
    "actors": [
        {"kind": "ball", "color": "red", "material": "wood", "accessory": None, "expression": None},
        {"kind": "cat", "color": "blue", "material": "plastic", "accessory": "hat", "expression": "sad"},
    ],
    "shots": [
        {"setting": "grass", "camera": "still", "motions": ["right", "jump"], "partners": [None, None]},
        {"setting": "snow", "camera": "pan_left", "motions": ["spin", "wave"], "partners": [None, None]},
    ],
    "time": "day",
    "weather": "clear",
    "style": "plain",
}


def where(shots: list[int], places: list[tuple[float, float]], areas: list[float]) -> ActorTrack:
    """Two actors that stay where they are, in rows and columns from 0 to 1."""
    num = len(shots)
    place, area = np.float32([places] * num), np.float32([areas] * num)
    return ActorTrack(np.array(shots), place, area)


def word(name: str, found: dict[str, torch.Tensor], *at: int) -> str | None:
    number = int(found[name][at])
    return None if number == UNKNOWN else VALUES[name][number]


def test_each_token_is_told_who_is_there_and_each_moment_where_it_is():
    """Fails when rows are taken for columns, an actor for another, or a shot for the one before it."""
    seen = where([0, 0, 1, 1], [(0.75, 0.1), (0.2, 0.9)], [0.1, 0.05])
    found = labels(ATTRIBUTES, seen, 4, HEIGHT, WIDTH, SIDE)
    assert found["presence"].tolist() == [[[0, 0, 0, 1], [1, 0, 0, 0]]] * 2
    assert [word("kind", found, 0, *at) for at in ((1, 0), (0, 3), (0, 0))] == ["ball", "cat", None]
    assert [word("colour", found, 0, *at) for at in ((1, 0), (0, 3))] == ["red", "blue"]
    assert [word("accessory", found, 1, *at) for at in ((1, 0), (0, 3))] == [NONE, "hat"]
    assert [word("motion", found, moment, 0, 3) for moment in range(2)] == ["jump", "wave"]
    assert [word("setting", found, moment) for moment in range(2)] == ["grass", "snow"]
    assert [word("camera", found, moment) for moment in range(2)] == ["still", "pan_left"]
    assert found["cut"].tolist() == [0, 1]


def test_a_cut_between_the_frames_of_a_moment_is_one_and_nobody_is_anywhere():
    found = labels(ATTRIBUTES, where([0, 1, 1], [(0.7, 0.1), (0.2, 0.9)], [0.1, 0.1]), 3, HEIGHT, WIDTH, SIDE)
    assert found["cut"].tolist() == [1, 0]
    assert (found["presence"][0] == UNKNOWN).all()
    assert (found["kind"][0] == UNKNOWN).all()
    assert word("kind", found, 1, 1, 0) == "ball"


def test_who_is_hidden_or_outside_is_nowhere_and_the_larger_of_two_is_in_front():
    for places, areas, shown in (
        ([(0.7, 0.1), (0.7, 0.1)], [0.1, 0.2], "cat"),
        ([(0.7, 0.1), (0.7, 0.1)], [0.2, 0.1], "ball"),
        ([(0.7, 0.1), (0.7, 0.1)], [0.2, 0.0], "ball"),
        ([(0.7, 1.1), (-0.1, 0.1)], [0.2, 0.2], None),
        ([(0.7, 0.1), (0.2, 0.9)], [0.0, 0.0], None),
    ):
        found = labels(ATTRIBUTES, where([0, 0], places, areas), 2, HEIGHT, WIDTH, SIDE)
        assert word("kind", found, 0, 1, 0) == shown
        assert int(found["presence"].sum()) == (shown is not None)


def test_what_cannot_be_seen_is_not_asked_for():
    noir = {**ATTRIBUTES, "style": "noir"}
    picture = labels(noir, where([0], [(0.7, 0.1), (0.2, 0.9)], [0.1, 0.1]), 1, HEIGHT, WIDTH, SIDE)
    assert word("colour", picture, 0, 1, 0) == NONE
    for name in ("motion", "camera", "cut"):
        assert (picture[name] == UNKNOWN).all()
    nothing = labels(ATTRIBUTES, None, 4, HEIGHT, WIDTH, SIDE)
    assert all((each == UNKNOWN).all() for each in nothing.values())
    assert {name: each.shape for name, each in nothing.items()} == {
        name: each.shape
        for name, each in labels(ATTRIBUTES, where([0] * 4, [(0, 0)] * 2, [1, 1]), 4, 32, 64, 16).items()
    }


def test_the_mirror_changes_places_and_words():
    """Fails when places are mirrored and motions are not, or rows are."""
    seen = where([0, 0], [(0.75, 0.1), (0.2, 0.9)], [0.1, 0.05]).mirrored()
    found = labels(mirrored_attributes(ATTRIBUTES), seen, 2, HEIGHT, WIDTH, SIDE)
    assert word("kind", found, 0, 1, 3) == "ball"
    assert word("motion", found, 0, 1, 3) == "left"
    assert word("kind", found, 0, 0, 0) == "cat"


def test_a_window_shows_actors_where_it_has_them():
    """Fails when places stay where they were in the whole picture."""
    seen = where([0, 0], [(0.75, 0.1), (0.2, 0.9)], [0.1, 0.05])
    found = labels(ATTRIBUTES, seen.framed(Window(0.5, 0.0, 0.4)), 2, HEIGHT, WIDTH, SIDE)
    assert int(found["presence"].sum()) == 1
    assert word("kind", found, 0, 1, 1) == "ball"
    small = where([0, 0], [(0.75, 0.1), (0.2, 0.9)], [0.0009, 0.0])
    assert small.framed(Window(0.5, 0.0, 0.5)).area.max() == pytest.approx(0.0036)


def test_a_head_learns_to_read_tokens():
    """Fails when tokens are taken in another order than the encoder's: labels then fit no token."""
    torch.manual_seed(0)
    found = labels(ATTRIBUTES, where([0, 0, 1, 1], [(0.75, 0.1), (0.2, 0.9)], [0.1, 0.05]), 4, HEIGHT, WIDTH, SIDE)
    batch = {name: each[None] for name, each in found.items()}
    place = torch.eye(16).view(2, 2, 4, 16)  # time, row, column: each token tells its own
    head = GroundingHead(16)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        loss = head(place.reshape(1, 16, 16), batch, known_kinds(batch))
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    logits = head.token_logits(place[0, 1, 0])
    assert logits[2 : 2 + len(VALUES["kind"])].argmax() == VALUES["kind"].index("ball")
    unknown = {name: torch.full_like(each, UNKNOWN) for name, each in batch.items()}
    assert head(place.reshape(1, 16, 16), unknown, known_kinds(unknown)) == 0


def test_whereabouts_come_from_a_record(tmp_path: Path):
    """Fails when other frames are taken than the judge sees, or pixels are shares of the wrong side."""
    frames = [
        {"shot": k // 2, "actors": [{"pixel": [4.0 * k, 8.0], "area": 51.2, "position": [], "turn": []}]}
        for k in range(4)
    ]
    record = tmp_path / "7.json"
    record.write_text(json.dumps({"truth": {"fps": 8, "frames": frames}}), encoding="utf-8")
    clip = Clip("7", record.with_suffix(".mp4"), 4, 16, 32, 8.0, {})
    seen = actor_track(clip, np.array([0, 3]))
    assert seen is not None
    assert seen.shot.tolist() == [0, 1]
    assert seen.place[:, 0].tolist() == [[0.0, 0.25], [0.75, 0.25]]
    assert seen.area[:, 0].tolist() == pytest.approx([0.1, 0.1])
    with pytest.raises(DatasetError, match="clip 7: a truth that is not the world's"):
        actor_track(clip, np.array([4]))
    record.write_text("{}", encoding="utf-8")
    assert actor_track(clip, np.array([0])) is None
    with pytest.raises(DatasetError, match="the record of clip 7 can't be read"):
        actor_track(replace(clip, path=tmp_path / "8.mp4"), np.array([0]))
