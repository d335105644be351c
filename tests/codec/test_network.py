"""The codec's identities: shapes, causality, the first frame alone, and the published shapes of its family."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitascope.codec.layers import CausalCache, LinearPath
from vitascope.codec.network import Codec, CodecConfig, Stride, fold_pixels, unfold_pixels
from vitascope.config import parse_config
from vitascope.errors import ConfigError, SizeError

PLAYGROUND = {"base_width": 8}
WAN21 = {
    "base_width": 8,
    "width_multipliers": (1, 2, 4, 4),
    "temporal_downsample": (False, True, True),
    "pixel_patch": 1,
    "num_residual_blocks": 2,
}
WAN22 = {**WAN21, "pixel_patch": 2, "decoder_base_width": 16, "residual_shortcuts": True, "latent_channels": 48}


def small_codec(**changes) -> Codec:
    torch.manual_seed(0)
    return Codec(CodecConfig(**changes)).eval().requires_grad_(False)


@pytest.mark.parametrize(("shape", "stride"), [(PLAYGROUND, (4, 8, 8)), (WAN21, (4, 8, 8)), (WAN22, (4, 16, 16))])
def test_shapes_of_the_family(shape, stride):
    codec = small_codec(**shape)
    pixels = torch.randn(2, 3, 9, 2 * stride[1], 3 * stride[2])
    latent = codec.encode(pixels)
    assert codec.stride == stride
    assert latent.shape == (2, codec.latent_channels, 3, 2, 3)
    assert codec.decode(latent).shape == pixels.shape


@pytest.mark.parametrize("shape", [PLAYGROUND, WAN21, WAN22])
def test_encode_and_decode_are_causal(shape):
    """Fails when a layer looks ahead: changing the padding of CausalConv3d to symmetric moves the earlier latents."""
    codec = small_codec(**shape)
    pixels = torch.randn(1, 3, 13, codec.stride.rows * 2, codec.stride.columns * 2)
    changed = pixels.clone()
    changed[:, :, 9:] = 0
    before, after = codec.encode(pixels), codec.encode(changed)
    torch.testing.assert_close(before[:, :, :3], after[:, :, :3])
    assert (before[:, :, 3] - after[:, :, 3]).abs().max() > 1e-3
    altered = before.clone()
    altered[:, :, 2:] = 0
    torch.testing.assert_close(codec.decode(before)[:, :, :5], codec.decode(altered)[:, :, :5])


def test_first_frame_is_coded_as_an_image():
    codec = small_codec(**PLAYGROUND)
    pixels = torch.randn(1, 3, 5, 16, 16)
    torch.testing.assert_close(codec.encode(pixels)[:, :, :1], codec.encode(pixels[:, :, :1]))


def test_latents_are_normalised_by_the_config_and_back():
    plain = small_codec(**PLAYGROUND)
    scaled = Codec(CodecConfig(**PLAYGROUND, latent_mean=(1.0,) * 16, latent_std=(2.0,) * 16)).requires_grad_(False)
    scaled.load_state_dict(plain.state_dict())
    pixels = torch.randn(1, 3, 5, 16, 16)
    torch.testing.assert_close(scaled.encode(pixels), (plain.encode(pixels) - 1) / 2)
    torch.testing.assert_close(scaled.decode(scaled.encode(pixels)), plain.decode(plain.encode(pixels)))


def test_the_linear_path_codes_what_stands_still_as_in_a_first_frame():
    """And it finds channels for motion as well. Fails when first and later frames get components of their own."""
    generator = torch.Generator().manual_seed(0)
    path = LinearPath(24, Stride(4, 8, 8))
    shades = torch.randn(200, 3, 1, 1, 1, generator=generator)
    slopes = torch.randn(200, 3, 1, 1, 1, generator=generator) * torch.linspace(-1, 1, 8)
    still = shades + slopes + 0.05 * torch.randn(200, 3, 1, 8, 8, generator=generator)
    fading = 0.4 * torch.randn(200, 3, 1, 1, 1, generator=generator) * torch.linspace(-1, 1, 5)[:, None, None]
    moving = still + fading
    path.fit(path.blocks(moving[:, :, :1], 1).flatten(0, 3), path.blocks(moving[:, :, 1:], 4).flatten(0, 3))
    latent = path.encode(still.expand(-1, -1, 5, -1, -1), first_chunk=True)
    alike = (latent[:, :, 1] - latent[:, :, 0]).abs().amax(dim=(0, 2, 3)) < 1e-3
    assert 3 < alike.sum() < 24  # the leading channels; the others are for the fading
    assert alike[: alike.sum()].all()
    copy = path.decode(path.encode(moving, first_chunk=True), first_chunk=True)
    assert (copy - moving).square().mean() < 0.1 * fading.square().mean()


def test_fold_pixels_has_an_exact_inverse():
    pixels = torch.randn(2, 3, 2, 8, 12)
    assert torch.equal(unfold_pixels(fold_pixels(pixels, 4), 4), pixels)


def test_playground_decodes_a_frame_of_128x128_in_at_most_3_gflop():
    codec = Codec(CodecConfig()).requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        codec.decode(torch.randn(1, 16, 13, 16, 16))
    assert counter.get_total_flops() / 49 < 3e9


def test_refuses_what_the_stride_does_not_divide():
    codec = small_codec(**PLAYGROUND)
    with pytest.raises(SizeError, match="multiples of 8"):
        codec.encode(torch.zeros(1, 3, 1, 15, 16))
    with pytest.raises(SizeError, match=r"4k\+1"):
        codec.encode(torch.zeros(1, 3, 4, 16, 16))
    cache = CausalCache()
    codec.encode(torch.zeros(1, 3, 1, 16, 16), cache)
    with pytest.raises(SizeError, match="needs 4k;"):
        codec.encode(torch.zeros(1, 3, 5, 16, 16), cache)


@pytest.mark.parametrize("wrong", [{"temporal_downsample": [True]}, {"latent_mean": [1.0]}, {"base_widht": 8}])
def test_config_refuses_contradictions_and_typos(wrong):
    with pytest.raises(ConfigError):
        parse_config(wrong, CodecConfig)
