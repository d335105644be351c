"""The canvas: what is given, where everything sits, and what the transformer is shown of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitascope.errors import SizeError
from vitascope.model.canvas import Canvas, Pin, Shot, given_frames, make_canvas

PATCH = (1, 2, 2)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def canvas(latent: Tensor, given: Tensor, pins: list[Pin] | None = None, fps: float = 8.0) -> Canvas:
    return make_canvas(latent, given, pins or [], fps=fps, reference_fps=8.0, patch=PATCH, time_stride=4)


def test_given_frames_are_given_token_by_token():
    latent = random(4, 3, 4, 6)
    made = canvas(latent, given_frames(latent, [0, 2]))
    assert made.grid == (3, 2, 3)
    assert made.given.reshape(3, 6).all(dim=1).tolist() == [True, False, True]
    assert made.given.sum() == 12
    assert torch.equal(made.grid_latent(made.clean, PATCH), latent)


def test_a_token_is_given_only_if_all_of_it_is():
    latent = random(4, 1, 4, 4)
    given = torch.ones(1, 4, 4, dtype=torch.bool)
    given[0, 0, 3] = False  # one cell of the second token
    assert canvas(latent, given).given.tolist() == [True, False, True, True]


@pytest.mark.parametrize("offset", [0, 6, -8, 2.5])
def test_a_pin_sits_at_its_frame_and_is_all_given(offset):
    latent, pin = random(4, 3, 4, 4), random(4, 2, 2, 2, seed=1)
    with_pin = canvas(latent, given_frames(latent, []), [Pin(pin, offset)])
    assert with_pin.num_grid_tokens == 12
    assert with_pin.num_frames == 5
    assert with_pin.given.tolist() == [False] * 12 + [True] * 2
    assert with_pin.positions[12:].tolist() == [[offset / 4, 0, 0], [offset / 4 + 1, 0, 0]]
    assert with_pin.frame[12:].tolist() == [3, 4]
    assert torch.equal(with_pin.clean[12:].flatten(), pin.permute(1, 0, 2, 3).flatten())


def test_several_pins_have_noise_levels_of_their_own():
    latent, image = random(4, 2, 2, 2), random(4, 1, 2, 2, seed=1)
    pinned = canvas(latent, given_frames(latent, []), [Pin(image, 4), Pin(image, 100)])
    assert pinned.frame.tolist() == [0, 1, 2, 3]
    assert pinned.positions[:, 0].tolist() == [0, 1, 1, 25]


def test_time_is_seconds_at_any_rate():
    latent = random(4, 3, 2, 2)
    times = [canvas(latent, given_frames(latent, []), [Pin(latent, 4)], fps).positions[:, 0] for fps in (8.0, 16.0)]
    assert times[0].tolist() == [0, 1, 2, 1, 2, 3]
    assert torch.equal(times[1], times[0] / 2)


def test_guidance_falls_off_away_from_given_frames():
    latent = random(4, 6, 2, 2)
    made = canvas(latent, given_frames(latent, [0]), [Pin(random(4, 1, 2, 2), -400)])
    assert made.guidance_falloff(2).flatten().tolist() == [1, 1, 0.5, 0, 0, 0, 0]
    assert not made.guidance_falloff(0).any()
    assert canvas(latent, given_frames(latent, [1, 5])).guidance_falloff(2).flatten().tolist() == [1, 1, 1, 0.5, 1, 1]
    twice_the_rate = canvas(latent, given_frames(latent, [0]), fps=16.0)
    assert twice_the_rate.guidance_falloff(2).flatten().tolist() == [1, 1, 0.5, 0, 0, 0]  # a window has as many frames
    assert not canvas(latent, given_frames(latent, [])).guidance_falloff(2).any()


def test_nothing_is_near_across_a_cut_or_beside_part_of_a_frame():
    latent = random(4, 4, 4, 4)
    place = {"fps": 8.0, "reference_fps": 8.0, "patch": PATCH, "time_stride": 4}
    shots = [Shot(), Shot(2, is_cut=True)]
    cut = make_canvas(latent, given_frames(latent, [0]), shots=shots, **place)
    assert cut.guidance_falloff(3).view(4, 4).tolist() == [[1] * 4, [1] * 4, [0] * 4, [0] * 4]
    part = given_frames(latent, [0])
    part[0, 0, 0] = False
    assert not make_canvas(latent, part, **place).guidance_falloff(3).any()


def test_the_transformer_sees_given_tokens_as_data():
    latent, pin = random(4, 3, 2, 2), random(4, 1, 2, 2, seed=1)
    pinned = canvas(latent, given_frames(latent, [1]), [Pin(pin, 0)])
    sample = pinned.noised(pinned.clean, torch.tensor([0.9, 0.8, 0.7, 0.6]), [random(2, 8)], given_sigma=0.05)
    levels = sample.sigmas[sample.frame_index]
    assert levels.tolist() == pytest.approx([0.9, 0.05, 0.7, 0.05])


def test_nothing_to_make_is_refused():
    latent = random(4, 2, 2, 2)
    with pytest.raises(SizeError, match="nothing to generate"):
        canvas(latent, given_frames(latent, [0, 1]))
