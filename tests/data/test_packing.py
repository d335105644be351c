"""Packing: every sample once, budgets kept, nearly full, resumable."""

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitascope.data.packing import PackLoader, plan_packs, utilisation
from vitascope.errors import SizeError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(lengths=st.lists(st.integers(1, 100), max_size=80), budget=st.integers(100, 300))
def test_every_sample_once_within_the_budget(lengths, budget):
    packs = plan_packs(lengths, budget, generator(), window=16)
    assert sorted(i for members in packs for i in members) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in members) <= budget for members in packs)


def mixed_lengths(num: int) -> list[int]:
    """Images of 4 to 256 tokens and clips of up to 11 latent frames, as a mixed set has them."""
    draw = generator(1)
    sides = torch.randint(2, 17, (num, 2), generator=draw)
    frames = torch.where(torch.rand(num, generator=draw) < 0.3, 1, torch.randint(2, 12, (num,), generator=draw))
    return (sides.prod(dim=1) * frames).tolist()


def test_mixed_set_fills_98_percent_and_beats_the_baselines():
    lengths = mixed_lengths(4000)
    use = utilisation(lengths, lengths, budget=8192)
    assert use.packing >= 0.98
    assert use.padding < use.bucketing < use.packing
    assert "packing 9" in str(use)


def test_known_utilisation():
    """Three samples of 5 and one of 10 in packs of 10: two full packs and a half; padded to 10 each; 2 + 1 batches."""
    use = utilisation([5, 5, 5, 10], ["a", "a", "a", "b"], budget=10)
    assert use.packing == pytest.approx(25 / 30)
    assert use.padding == pytest.approx(25 / 40)
    assert use.bucketing == pytest.approx(25 / 30)


def test_order_follows_the_seed_alone():
    lengths = mixed_lengths(200)
    assert plan_packs(lengths, 4096, generator(3)) == plan_packs(lengths, 4096, generator(3))
    assert plan_packs(lengths, 4096, generator(3)) != plan_packs(lengths, 4096, generator(4))


def test_loader_resumes_where_it_was_also_across_epochs():
    lengths = mixed_lengths(60)
    walk = list(islice(PackLoader(lengths, 4096, seed=5), 40))
    first = PackLoader(lengths, 4096, seed=5)
    assert list(islice(first, 17)) == walk[:17]
    assert first.epoch > 0
    second = PackLoader(lengths, 4096, seed=5)
    second.restore(first.state)
    assert list(islice(second, 23)) == walk[17:]


def test_too_long_a_sample_is_refused():
    with pytest.raises(SizeError, match="raise pack_tokens"):
        plan_packs([10, 500], 100, generator())
