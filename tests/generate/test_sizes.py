"""Sizes that a model knows, and how others are brought to them."""

from __future__ import annotations

import pytest

from vitascope.generate.sizes import fitted_size, outside_training


@pytest.mark.parametrize(
    ("given", "fitted"),
    [
        ((64, 64), (64, 64)),
        ((48, 80), (48, 80)),  # about as many pixels
        ((50, 62), (50, 62)),
        ((1080, 1920), (48, 88)),
        ((32, 32), (64, 64)),
        ((1000, 100), (112, 40)),  # 3:1 at most
        ((20, 2000), (40, 112)),
    ],
)
def test_footage_keeps_its_shape_and_takes_the_models_number_of_pixels(given, fitted):
    assert fitted_size(*given, trained=(64, 64), multiple=8) == fitted


@pytest.mark.parametrize(
    ("asked", "is_known"),
    [
        ((64, 64, 17, 8.0), True),
        ((48, 80, 9, 8.0), True),
        ((64, 64, 1, 30.0), True),  # an image has no rate
        ((64, 64, 18, 8.0), False),
        ((64, 64, 17, 24.0), False),
        ((128, 128, 17, 8.0), False),
        ((32, 128, 17, 8.0), False),
    ],
)
def test_what_the_model_was_not_trained_on_is_told(asked, is_known):
    note = outside_training(*asked, trained=(64, 64, 17, 8.0))
    assert (note is None) == is_known
    assert note is None or "trained on about 64x64, up to 17 frames at 8 a second" in note
