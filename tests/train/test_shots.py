"""A clip's cuts in latent frames: at most half of one away, with mixed latent frames listed."""

from __future__ import annotations

import pytest

from vitascope.model.canvas import Shot
from vitascope.train.shots import latent_shots


@pytest.mark.parametrize(
    ("cut", "start", "mixed"),
    [(1, 1, ()), (2, 1, (1,)), (3, 1, (1,)), (4, 2, (1,)), (5, 2, ()), (6, 2, (2,)), (8, 3, (2,)), (13, 4, ())],
)
def test_a_shot_begins_with_the_latent_frame_that_shows_most_of_it(cut, start, mixed):
    """Latent frame k shows frames 4k - 3 to 4k: a cut before the first of them, or the second or third, begins it."""
    assert latent_shots([cut], 5, 4) == ((Shot(), Shot(start, is_cut=True)), mixed)
    assert abs(4 * start - 3 - cut) <= 2


def test_several_cuts():
    found = latent_shots([6, 11], 5, 4)
    assert found == ((Shot(), Shot(2, is_cut=True), Shot(3, is_cut=True)), (2, 3))


def test_shots_beyond_the_end_of_a_clip_that_was_cut_short_are_none():
    assert latent_shots([6, 11], 3, 4) == ((Shot(), Shot(2, is_cut=True)), (2,))
    assert latent_shots([6, 11], 1, 4) == ((Shot(),), ())


def test_a_shot_without_a_latent_frame_of_its_own_makes_it_no_storyboard():
    assert latent_shots([2, 3], 2, 4) is None
