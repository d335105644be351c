"""Patches: exact inverses, positions against the formula, and packs that hold every sample unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitascope.errors import SizeError
from vitascope.model.patches import (
    Sample,
    grid_positions,
    make_sample,
    pack,
    patchify,
    token_group,
    unpack,
    unpatchify,
)


def latent(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sample(frames: int, rows: int, columns: int, sigmas: Tensor, text: int = 3, seed: int = 0) -> Sample:
    group = token_group(latent(4, frames, rows, columns, seed=seed), fps=16, reference_fps=16)
    return make_sample([group], sigmas, latent(text, 8, seed=seed + 100))


@pytest.mark.parametrize("patch", [(1, 2, 2), (1, 1, 1), (2, 2, 4)])
def test_unpatchify_inverts_patchify(patch):
    x = latent(5, 4, 6, 8)
    tokens = patchify(x, patch)
    grid = tuple(side // step for side, step in zip(x.shape[1:], patch, strict=True))
    assert torch.equal(unpatchify(tokens, grid, patch), x)
    assert not torch.equal(tokens.flatten(), x.flatten()) or patch == (1, 1, 1)


def test_a_conv3d_over_the_patch_is_a_linear_over_the_token():
    """Fails if the token is laid out (t, h, w, c), which is just as invertible."""
    x, weight = latent(3, 2, 4, 6), latent(7, 3, 1, 2, 2, seed=1)
    by_conv = torch.nn.functional.conv3d(x[None], weight, stride=(1, 2, 2))[0]
    by_linear = patchify(x) @ weight.flatten(1).T
    torch.testing.assert_close(by_linear, by_conv.flatten(1).T, rtol=0, atol=1e-5)


def test_a_token_is_where_its_position_says():
    x = torch.zeros(1, 3, 4, 6)
    x[0, 2, 2, 5] = 1  # latent frame 2, row 2, column 5 -> token row 1, column 2
    token = patchify(x).abs().sum(1).argmax()
    positions = grid_positions(3, 2, 3, fps=16, reference_fps=16)
    assert positions[token].tolist() == [2, 1, 2]


@pytest.mark.parametrize("axis", ["frames", "rows", "columns"])
def test_a_latent_that_does_not_divide_is_refused_by_name(axis):
    shape = {"frames": (1, 3, 4, 4), "rows": (1, 4, 3, 4), "columns": (1, 4, 4, 3)}[axis]
    with pytest.raises(SizeError, match=f"3 {axis}"):
        patchify(latent(*shape), (2, 2, 2))


def test_at_the_reference_rate_time_counts_latent_frames():
    assert grid_positions(4, 1, 1, fps=24, reference_fps=24)[:, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("fps", [6, 8, 12, 24, 30, 60])
def test_the_same_second_is_at_the_same_time_at_every_rate(fps):
    """Latent frame k ends with pixel frame 4k, shown at second 4k / fps; one second is reference_fps / 4 long."""
    times = grid_positions(5, 1, 1, fps=fps, reference_fps=12)[:, 0]
    seconds = torch.tensor([4 * k / fps for k in range(5)])
    torch.testing.assert_close(times, seconds * 12 / 4)


@pytest.mark.parametrize("frame", [-7, 0, 3, 22])
def test_an_image_pinned_at_a_pixel_frame_sits_at_a_quarter_of_it(frame):
    (position,) = grid_positions(1, 1, 1, fps=16, reference_fps=16, frame_offset=frame)
    assert position.tolist() == [frame / 4, 0, 0]
    (halved,) = grid_positions(1, 1, 1, fps=32, reference_fps=16, frame_offset=frame)
    assert halved.tolist() == [frame / 8, 0, 0]


def test_a_clip_pinned_where_it_came_from_has_the_positions_it_came_from():
    whole = grid_positions(6, 2, 3, fps=10, reference_fps=16)
    end = grid_positions(2, 2, 3, fps=10, reference_fps=16, frame_offset=16)
    torch.testing.assert_close(end, whole[4 * 6 :])


@pytest.mark.parametrize(("fps", "reference_fps"), [(0, 16), (16, -1)])
def test_a_rate_that_is_not_positive_is_refused(fps, reference_fps):
    with pytest.raises(SizeError, match="positive"):
        grid_positions(1, 1, 1, fps=fps, reference_fps=reference_fps)


def test_a_sample_joins_its_grid_and_its_pins():
    grid = token_group(latent(4, 3, 4, 4), fps=16, reference_fps=16)
    pin = token_group(latent(4, 1, 4, 4, seed=1), fps=16, reference_fps=16, frame_offset=6, first_sigma=3)
    joined = make_sample([grid, pin], torch.tensor([0.9, 0.8, 0.7, 0.0]), latent(2, 8))
    assert torch.equal(joined.tokens[:12], grid.tokens)
    assert torch.equal(joined.tokens[12:], pin.tokens)
    assert joined.positions[12:, 0].tolist() == [1.5] * 4
    expected = [0.9] * 4 + [0.8] * 4 + [0.7] * 4 + [0.0] * 4
    torch.testing.assert_close(joined.sigmas[joined.frame_index], torch.tensor(expected))


def test_a_pack_holds_every_token_with_its_own_noise_level():
    samples = [
        sample(2, 4, 4, torch.tensor([0.5, 0.25]), text=3, seed=1),
        sample(1, 2, 6, torch.tensor([0.25]), text=1, seed=2),
        sample(3, 2, 2, torch.tensor([0.0, 1.0, 0.5]), text=5, seed=3),
    ]
    packed = pack(samples)
    assert packed.lengths == (8, 3, 3)
    assert packed.context_lengths == (3, 1, 5)
    assert sum(packed.lengths) == len(packed.tokens), "nothing is padded"
    for got, one in zip(unpack(packed.tokens, packed.lengths), samples, strict=True):
        assert torch.equal(got, one.tokens)
    expected = torch.cat([one.sigmas[one.frame_index] for one in samples])
    assert torch.equal(packed.token_sigmas, expected)
    assert torch.equal(packed.context, torch.cat([one.context for one in samples]))


def test_equal_noise_levels_are_stored_once():
    packed = pack([sample(2, 2, 2, torch.tensor([0.5, 0.0])), sample(2, 2, 2, torch.tensor([0.0, 0.5]))])
    assert packed.sigmas.tolist() == [0.0, 0.5]


def test_a_noise_run_never_crosses_a_noise_level():
    packed = pack([sample(2, 4, 4, torch.tensor([0.1, 0.2])), sample(1, 4, 6, torch.tensor([0.3]))])
    assert packed.noise_run == 2  # runs of 4, 4 and 6 tokens
    runs = packed.noise_group.view(-1, packed.noise_run)
    assert (runs == runs[:, :1]).all()
    assert pack([sample(3, 4, 4, torch.full((3,), 0.4))]).noise_run == 12


def test_a_pack_of_nothing_or_without_text_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        pack([])
    with pytest.raises(ValueError, match="context"):
        pack([sample(1, 2, 2, torch.tensor([0.5]), text=0)])


def test_changing_the_precision_of_a_pack_leaves_positions_and_noise_levels_exact():
    packed = pack([sample(3, 2, 2, torch.tensor([0.1, 0.2, 0.3]))]).to("cpu", torch.bfloat16)
    assert packed.tokens.dtype == packed.context.dtype == torch.bfloat16
    assert packed.positions.dtype == packed.sigmas.dtype == torch.float32
