"""Which frames a training sample is given, and how noisy the others are: the shares that the config asks for."""

from __future__ import annotations

from collections import Counter

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
        given, independent = draw_given(latent, config, generator)
        num_given = int(given.sum())
        assert given[:num_given].all()  # always from the start on
        counts[num_given, independent] += 1
    shares = {kind: count / NUM_DRAWS for kind, count in counts.items()}
    expected = {(0, False): 0.4, (0, True): 0.1, (1, False): 0.35, **{(n, False): 0.05 for n in (2, 3, 4)}}
    assert shares == pytest.approx(expected, abs=0.03)


def test_an_image_has_nothing_given():
    generator, config = torch.Generator().manual_seed(0), PatternConfig(first_frame=1, beginning=0, independent=0)
    assert not any(draw_given(torch.zeros(1, 1, 2, 2), config, generator)[0].any() for _ in range(20))


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
    generator, config = torch.Generator().manual_seed(0), PatternConfig(given_noise=0.2)
    levels = torch.tensor([draw_given_sigma(config, generator) for _ in range(NUM_DRAWS)])
    assert (levels == 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert 0.19 < levels.max() <= 0.2


def test_shares_above_one_are_refused():
    with pytest.raises(ValidationError, match="more than 1"):
        PatternConfig(first_frame=0.6, beginning=0.5)
