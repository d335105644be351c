"""Our codec with a peer's weights gives the peer's latents and pixels, in the shapes of Wan 2.1 and 2.2."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.hub.peers import diffusers
from vitascope.codec.layers import CausalCache
from vitascope.codec.network import Codec, CodecConfig
from vitascope.errors import ModelError
from vitascope.hub.registry import load_codec
from vitascope.hub.wan import codec as wan_codec
from vitascope.hub.wan.codec import save_wan_codec

SMALL = {"base_dim": 8, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "temperal_downsample": [False, True, True]}


def statistics(channels: int) -> dict[str, list[float]]:
    steps = range(channels)
    return {"latents_mean": [0.1 * k - 0.2 for k in steps], "latents_std": [0.5 + 0.25 * k for k in steps]}


WAN21 = {**SMALL, "z_dim": 4, **statistics(4)}
WAN22 = {
    **SMALL,
    "z_dim": 6,
    "decoder_base_dim": 12,
    "is_residual": True,
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
    "scale_factor_spatial": 16,
    **statistics(6),
}
SIZES = [(1, 32, 48), (5, 48, 32), (9, 32, 64), (17, 32, 48)]


def peer(config):
    torch.manual_seed(0)
    network = diffusers.AutoencoderKLWan(**config).eval().requires_grad_(False)
    for parameter in network.parameters():  # also gains and biases, which would be 1 and near 0
        parameter.add_(0.02 * torch.randn_like(parameter))
    return network


def ours(network, folder) -> Codec:
    network.save_pretrained(folder)
    return load_codec(folder).requires_grad_(False)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def normalised(network, latent: Tensor) -> Tensor:
    """As the peer's pipelines do with its statistics."""
    mean, std = (torch.tensor(network.config[key]).view(1, -1, 1, 1, 1) for key in ("latents_mean", "latents_std"))
    return (latent - mean) / std


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    assert a.std() > 0.01  # else nothing would be compared
    return (a - b).abs().max().item()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("config", [WAN21, WAN22], ids=["2.1", "2.2"])
def test_same_latents_and_pixels_as_the_peer(tmp_path, config, size):
    theirs = peer(config)
    codec = ours(theirs, tmp_path)
    pixels = random(2 if size[0] == 5 else 1, 3, *size).clamp(-1, 1)
    moments = theirs.encode(pixels).latent_dist
    encoded = difference(normalised(theirs, moments.mean), codec.encode(pixels))
    log_variance = difference(moments.logvar, codec.encode_moments(pixels)[1])
    latent = random(*moments.mean.shape)
    wanted = theirs.decode(latent).sample
    assert (wanted.abs() < 1).float().mean() > 0.8  # the peer clips, we leave that to whoever makes bytes
    decoded = difference(wanted, codec.decode(normalised(theirs, latent)).clamp(-1, 1))
    assert max(encoded, log_variance, decoded) <= 1e-4


@pytest.mark.parametrize("config", [WAN21, WAN22], ids=["2.1", "2.2"])
def test_in_chunks_it_is_the_peer_as_well(tmp_path, config):
    theirs = peer(config)
    codec = ours(theirs, tmp_path)
    pixels = random(1, 3, 17, 32, 32).clamp(-1, 1)
    cache = CausalCache()
    latents = torch.cat([codec.encode(part, cache) for part in pixels.split([5, 4, 8], dim=2)], dim=2)
    assert difference(normalised(theirs, theirs.encode(pixels).latent_dist.mean), latents) <= 1e-4
    latent, cache = random(*latents.shape), CausalCache()
    parts = [codec.decode(normalised(theirs, latent)[:, :, a:b], cache) for a, b in ((0, 1), (1, 3), (3, 5))]
    assert difference(theirs.decode(latent).sample, torch.cat(parts, dim=2).clamp(-1, 1)) <= 1e-4


@pytest.mark.parametrize("config", [WAN21, WAN22], ids=["2.1", "2.2"])
def test_two_swapped_names_are_noticed(tmp_path, monkeypatch, config):
    """The comparison above can fail: with the blocks around the attention exchanged, the weights load all the same."""
    names = wan_codec.PARTS
    one, other = "middle.block_in.", "middle.block_out."
    monkeypatch.setattr(wan_codec, "PARTS", {**names, one: names[other], other: names[one]})
    theirs = peer(config)
    codec = ours(theirs, tmp_path)
    pixels = random(1, 3, 5, 32, 32).clamp(-1, 1)
    assert difference(normalised(theirs, theirs.encode(pixels).latent_dist.mean), codec.encode(pixels)) > 1e-3


@pytest.mark.parametrize("config", [WAN21, WAN22], ids=["2.1", "2.2"])
def test_the_peer_reads_what_we_write(tmp_path, config):
    theirs = peer(config)
    save_wan_codec(ours(theirs, tmp_path / "theirs"), tmp_path / "ours")
    again = diffusers.AutoencoderKLWan.from_pretrained(tmp_path / "ours")
    for key in ("latents_std", "patch_size", "is_residual", "scale_factor_spatial"):
        assert again.config[key] == pytest.approx(theirs.config[key]), key
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_codec_with_a_linear_path_is_not_written(tmp_path):
    codec = Codec(CodecConfig(base_width=8, linear_path=True))
    with pytest.raises(ModelError, match="linear_path"):
        save_wan_codec(codec, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
