"""Condition frames and noise levels of training samples, in the shares of the config."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from vitascope.train.patterns import NoiseConfig, PatternConfig, draw_given, draw_given_sigma, draw_sigmas

NUM_DRAWS = 4000


def test_patterns_come_in_their_shares():
    """Within four standard deviations of a share, which are 0.025 at most."""
    config = PatternConfig(first_frame=0.3, beginning=0.2, independent=0.1)
    generator, latent = torch.Generator().manual_seed(0), torch.zeros(1, 5, 1, 1)
    counts: Counter[tuple[int, bool]] = Counter()
    for _ in range(NUM_DRAWS):
        pattern = draw_given(latent, config, generator)
        num_given = int(pattern.given.sum())
        assert pattern.given[:num_given].all()  # always from the start on
        assert pattern.references == ()
        counts[num_given, pattern.independent] += 1
    shares = {kind: count / NUM_DRAWS for kind, count in counts.items()}
    expected = {(0, False): 0.4, (0, True): 0.1, (1, False): 0.35, **{(n, False): 0.05 for n in (2, 3, 4)}}
    assert shares == pytest.approx(expected, abs=0.03)


def only(name: str) -> PatternConfig:
    return PatternConfig(**{"first_frame": 0, "beginning": 0, "independent": 0, name: 1})


def drawn_frames(name: str, frames: int) -> set[str]:
    """Patterns of given (#) and generated (.) latent frames over many draws."""
    generator, latent = torch.Generator().manual_seed(0), torch.zeros(1, frames, 2, 2)
    drawn = [draw_given(latent, only(name), generator).given for _ in range(300)]
    assert all(torch.equal(given, given[:, :1, :1].expand(given.shape)) for given in drawn)
    return {"".join("#" if flag else "." for flag in given[:, 0, 0]) for given in drawn}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("first_frame", {"#..."}),
        ("beginning", {"#...", "##..", "###."}),
        ("ending", {"...#", "..##", ".###"}),
        ("both_ends", {"#..#", "##.#", "#.##"}),
    ],
)
def test_frames_are_given_where_the_pattern_says(name, expected):
    assert drawn_frames(name, 4) == expected
    assert drawn_frames(name, 2) <= {"#.", ".#"}


def test_scattered_frames_are_anywhere_but_never_all():
    drawn = drawn_frames("scattered", 4)
    assert len(drawn) == 14
    assert not drawn & {"....", "####"}


def test_a_region_is_the_same_rectangle_in_every_frame():
    generator, latent = torch.Generator().manual_seed(0), torch.zeros(1, 3, 8, 12)
    areas = set()
    for _ in range(200):
        given = draw_given(latent, only("region"), generator).given
        assert torch.equal(given, given[:1].expand(given.shape))
        made = ~given[0]
        rows, columns = made.any(dim=1), made.any(dim=0)
        assert torch.equal(made, torch.outer(rows, columns))
        assert rows.sum() >= 2
        assert columns.sum() >= 3
        areas.add(int(made.sum()))
    assert len(areas) > 10


def test_a_reference_is_cut_from_the_first_picture_and_fits_the_patch():
    generator = torch.Generator().manual_seed(0)
    latent = torch.arange(3 * 8 * 12.0).reshape(1, 3, 8, 12)
    shapes = set()
    for _ in range(200):
        pattern = draw_given(latent, only("reference"), generator, (1, 2, 2))
        assert not pattern.given.any()
        (reference,) = pattern.references
        frames, rows, columns = reference.shape[1:]
        assert (frames, rows % 2, columns % 2) == (1, 0, 0)
        assert rows >= 4
        assert columns >= 6
        top, left = divmod(int(reference.min()), 12)
        assert torch.equal(reference, latent[:, :1, top : top + rows, left : left + columns])
        shapes.add((rows, columns, top, left))
    assert len(shapes) > 20


def test_the_bundled_config_has_every_pattern():
    path = Path(__file__).parents[2] / "vitascope" / "configs" / "playground-transformer.toml"
    shares = tomllib.loads(path.read_text(encoding="utf-8"))["patterns"]
    assert set(shares) == set(PatternConfig.model_fields)
    assert PatternConfig(**shares).shares["both_ends"] > 0


def test_an_image_has_nothing_given():
    generator, config = torch.Generator().manual_seed(0), PatternConfig(first_frame=1, beginning=0, independent=0)
    assert not any(draw_given(torch.zeros(1, 1, 2, 2), config, generator).given.any() for _ in range(20))


def test_frames_share_a_noise_level_unless_independent():
    generator = torch.Generator().manual_seed(0)
    assert len(draw_sigmas(5, 20, False, NoiseConfig(), generator).unique()) == 1
    assert len(draw_sigmas(5, 20, True, NoiseConfig(), generator).unique()) == 5


def test_longer_videos_are_noisier():
    means = [
        torch.cat(
            [draw_sigmas(1, n, False, NoiseConfig(), torch.Generator().manual_seed(k)) for k in range(200)]
        ).mean()
        for n in (20, 80, 2000)
    ]
    assert means[0] < means[1] < means[2]


def test_half_of_the_given_frames_are_clean_and_none_is_too_noisy():
    generator, config = torch.Generator().manual_seed(0), PatternConfig(condition_noise=0.2)
    levels = torch.tensor([draw_given_sigma(config, generator) for _ in range(NUM_DRAWS)])
    assert (levels == 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert 0.19 < levels.max() <= 0.2


def test_shares_above_one_are_refused():
    with pytest.raises(ValidationError, match="more than 1"):
        PatternConfig(first_frame=0.6, beginning=0.5)
