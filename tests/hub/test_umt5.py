"""Our umT5 with the weights of `transformers`' gives its states."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitascope.errors import ModelError
from vitascope.hub.wan import umt5
from vitascope.hub.wan.umt5 import UMT5Encoder, distance_buckets, open_umt5
from vitascope.kernels.device import CPU

LENGTHS = 1, 9, 300  # alone; all distances near; further than 128 tokens, where all distances are one


@pytest.fixture(scope="module")
def folder(peers) -> Path:
    return peers["2.1"][1]


@pytest.fixture(scope="module")
def peer(peers):
    return peers["2.1"][0].text_encoder


def load(folder: Path, dtype: torch.dtype = torch.float32) -> UMT5Encoder:
    return open_umt5(folder / "text_encoder", folder / "tokenizer").load(CPU, dtype)


def ids(length: int) -> Tensor:
    return torch.randint(3, 100, (length,), generator=torch.Generator().manual_seed(length))


def difference(peer, encoder: UMT5Encoder, length: int) -> float:
    wanted = peer(ids(length)[None]).last_hidden_state[0]
    states = encoder.network(ids(length)).to(wanted.dtype)
    assert states.shape == wanted.shape == (length, 24)
    assert wanted.std() > 0.1  # else nothing would be compared
    return (states - wanted).abs().max().item()


@pytest.mark.parametrize("length", LENGTHS)
@torch.inference_mode()
def test_same_states_as_the_peer(peer, folder, length):
    assert difference(peer, load(folder), length) <= 1e-5


@torch.inference_mode()
def test_half_precision_stays_near(peer, folder):
    encoder = load(folder, torch.bfloat16)
    assert {parameter.dtype for parameter in encoder.network.parameters()} == {torch.bfloat16}
    assert 0 < difference(peer, encoder, 40) < 0.2


@pytest.mark.parametrize("pair", [("query", "key"), ("gate", "up"), ("attention_norm", "ffn_norm")])
@torch.inference_mode()
def test_a_wrong_name_is_noticed(peer, folder, pair, monkeypatch):
    """The comparisons above can fail: with two names exchanged, everything loads."""
    one, other = pair
    names = umt5.BLOCK_NAMES
    monkeypatch.setattr(umt5, "BLOCK_NAMES", {**names, one: names[other], other: names[one]})
    assert difference(peer, load(folder), 9) > 1e-2


def test_buckets_of_distances():
    distances = torch.tensor([[0, 1, 7, 8, 127, 128, 5000, -1, -7, -8, -5000]])
    wanted = [0, 17, 23, 24, 31, 31, 31, 1, 7, 8, 15]
    assert distance_buckets(distances, 32, 128)[0].tolist() == wanted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"feed_forward_proj": "relu"}, "feed_forward_proj"),
        ({"relative_attention_num_buckets": 64}, "relative_attention_num_buckets"),
        ({"num_layers": 0}, "num_layers"),
        ({"d_kv": "wide"}, "d_kv"),
        ({"vocab_size": 20}, "give the tokenizer that it was trained with"),
    ],
)
def test_another_form_is_one_line(wan_folder, change, said):
    path = wan_folder / "text_encoder" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=said) as raised:
        load(wan_folder)
    assert "\n" not in str(raised.value)
