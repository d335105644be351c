"""Our transformer with a peer's weights gives the peer's output, for every shape and noise level."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.hub.peers import diffusers
from vitascope.errors import ModelError
from vitascope.hub.registry import load_transformer
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.wan.transformer import save_wan_transformer
from vitascope.hub.weights import WEIGHTS_FILE
from vitascope.model.patches import Sample, make_sample, pack, token_group, unpack, unpatchify
from vitascope.model.transformer import Transformer

SMALL = {"num_attention_heads": 2, "attention_head_dim": 16, "ffn_dim": 48, "num_layers": 2, "text_dim": 12}
WAN21 = {**SMALL, "in_channels": 4, "out_channels": 4, "freq_dim": 32}
WAN22 = {**SMALL, "in_channels": 6, "out_channels": 6, "freq_dim": 32}
TEXT = 7, 16  # tokens that say something, and tokens in all: the rest are zeros and take part, as in Wan


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def peer(config, *, cross_attn_norm: bool = True):
    torch.manual_seed(0)
    network = diffusers.WanTransformer3DModel(**config, cross_attn_norm=cross_attn_norm).eval().requires_grad_(False)
    for parameter in network.parameters():  # also gains and biases, which would be 1 and 0
        parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def ours(network, folder, dtype: torch.dtype = torch.float32) -> Transformer:
    network.save_pretrained(folder)
    return load_transformer(folder, dtype=dtype).requires_grad_(False)


def context(width: int, seed: int) -> Tensor:
    says, total = TEXT
    text = random(total, width, seed=seed)
    text[says:] = 0
    return text


def sample(config, grid: tuple[int, int, int], sigmas: list[float], seed: int = 0) -> Sample:
    latent = random(config["in_channels"], *grid, seed=seed)
    group = token_group(latent, fps=16, reference_fps=16)
    return make_sample([group], torch.tensor(sigmas), context(config["text_dim"], seed + 100))


def peer_output(network, config, grid: tuple[int, int, int], sigmas: list[float], seed: int = 0) -> Tensor:
    latent = random(config["in_channels"], *grid, seed=seed)[None]
    time = torch.tensor(sigmas) * 1000
    per_token = time.repeat_interleave(grid[1] * grid[2] // 4)[None]  # the 2.2 pipeline's expand_timesteps
    time = per_token if len(set(sigmas)) > 1 else time[:1]
    return network(latent, time, context(config["text_dim"], seed + 100)[None], return_dict=False)[0][0]


def our_output(network: Transformer, one: Sample, grid: tuple[int, int, int]) -> Tensor:
    return unpatchify(network(pack([one])), (grid[0], grid[1] // 2, grid[2] // 2))


def difference(a: Tensor, b: Tensor) -> float:
    assert a.std() > 0.1  # else nothing would be compared
    return (a - b).abs().max().item()


CASES = [
    (WAN21, (3, 4, 6), [0.7] * 3),
    (WAN21, (1, 6, 10), [0.3]),  # one frame, an odd grid of 3 x 5 tokens
    (WAN21, (5, 2, 14), [1.0] * 5),
    (WAN21, (61, 2, 2), [0.9] * 61),  # long: rotary phases of many frames
    (WAN22, (4, 6, 2), [0.0, 0.8, 0.8, 0.8]),  # a given first frame
    (WAN22, (3, 2, 6), [0.1, 0.55, 1.0]),
]


@pytest.mark.parametrize("cross_attn_norm", [True, False])
@pytest.mark.parametrize(("config", "grid", "sigmas"), CASES)
def test_same_output_as_the_peer(tmp_path, config, grid, sigmas, cross_attn_norm):
    theirs = peer(config, cross_attn_norm=cross_attn_norm)
    network = ours(theirs, tmp_path)
    wanted = peer_output(theirs, config, grid, sigmas)
    apart = difference(wanted, our_output(network, sample(config, grid, sigmas), grid))
    assert apart <= 2e-5


def test_a_pack_of_many_shapes_is_the_peer_one_by_one(tmp_path):
    theirs = peer(WAN21)
    network = ours(theirs, tmp_path)
    cases = [(grid, sigmas, seed) for seed, (_, grid, sigmas) in enumerate(CASES)]
    packed = pack([sample(WAN21, grid, sigmas, seed) for grid, sigmas, seed in cases])
    apart = 0.0
    for tokens, (grid, sigmas, seed) in zip(unpack(network(packed), packed.lengths), cases, strict=True):
        wanted = peer_output(theirs, WAN21, grid, sigmas, seed)
        apart = max(apart, difference(wanted, unpatchify(tokens, (grid[0], grid[1] // 2, grid[2] // 2))))
    assert apart <= 2e-5


@pytest.mark.parametrize(
    ("table", "one", "other"),
    [
        ("BLOCK_NAMES", "self_attention.query", "self_attention.key"),
        ("BLOCK_NAMES", "self_attention.query_norm", "cross_attention.query_norm"),
        ("BLOCK_NAMES", "cross_attention.value", "cross_attention.out"),
        ("TOP_NAMES", "time_mlp.2", "text_mlp.2"),
    ],
)
def test_two_swapped_names_are_noticed(tmp_path, monkeypatch, table, one, other):
    """The comparison above can fail: with two names of one shape exchanged, the weights load and the output differs."""
    names = getattr(wan_transformer, table)
    monkeypatch.setattr(wan_transformer, table, {**names, one: names[other], other: names[one]})
    theirs = peer(WAN21)
    network = ours(theirs, tmp_path)
    grid, sigmas = (3, 4, 6), [0.7] * 3
    apart = difference(peer_output(theirs, WAN21, grid, sigmas), our_output(network, sample(WAN21, grid, sigmas), grid))
    assert apart > 1e-3


def test_output_rows_in_the_peers_order_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(wan_transformer, "_output_rows", lambda tensor_map, cells: tensor_map)
    theirs = peer(WAN21)
    network = ours(theirs, tmp_path)
    grid, sigmas = (1, 4, 4), [0.5]
    apart = difference(peer_output(theirs, WAN21, grid, sigmas), our_output(network, sample(WAN21, grid, sigmas), grid))
    assert apart > 1e-2


def test_bfloat16_is_close(tmp_path):
    theirs = peer(WAN21)
    network = ours(theirs, tmp_path, torch.bfloat16)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}
    grid, sigmas = (2, 4, 4), [0.5] * 2
    wanted = peer_output(theirs, WAN21, grid, sigmas)
    found = our_output(network, sample(WAN21, grid, sigmas), grid)
    assert (wanted - found.float()).square().mean() < 1e-3 * wanted.square().mean()


def test_the_peer_reads_what_we_write(tmp_path):
    """By hand: for this class the peer's `from_pretrained` needs one more package, accelerate."""
    theirs = peer(WAN22)
    network = ours(theirs, tmp_path / "theirs")
    save_wan_transformer(network, tmp_path / "ours")
    config = diffusers.WanTransformer3DModel.load_config(tmp_path / "ours")
    again = diffusers.WanTransformer3DModel.from_config(config)
    again.load_state_dict(load_file(tmp_path / "ours" / WEIGHTS_FILE), strict=True)
    assert dict(again.config)["in_channels"] == WAN22["in_channels"]
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_transformer_that_predicts_clean_patches_is_not_written(tmp_path):
    network = ours(peer(WAN21), tmp_path / "theirs")
    network.config = network.config.model_copy(update={"prediction": "clean"})
    with pytest.raises(ModelError, match="velocity"):
        save_wan_transformer(network, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
