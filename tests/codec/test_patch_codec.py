"""The patch codec's identities: shapes, causality, the first frame alone, chunks, its linear path, its convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from vitascope.codec.layers import CausalCache
from vitascope.codec.patch_codec import NeighbourMix, PatchCodec, PatchCodecConfig
from vitascope.codec.streaming import decode_stream, encode_stream
from vitascope.config import parse_config
from vitascope.errors import ConfigError, SizeError
from vitascope.hub.registry import load_codec
from vitascope.hub.weights import save_network
from vitascope.train.codec import fit_linear_path
from vitascope.video import Video

SMALL = {
    "latent_channels": 12,
    "patch": (2, 4, 4),
    "width": 24,
    "inner_width": 8,
    "encoder_blocks": 2,
    "decoder_blocks": 2,
}


def small_codec(**changes) -> PatchCodec:
    """A codec with random weights everywhere, also where training starts from zeros."""
    codec = PatchCodec(PatchCodecConfig(**{**SMALL, **changes})).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in codec.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return codec


@pytest.mark.parametrize("patch", [(1, 4, 4), (2, 4, 4), (4, 8, 8)])
def test_shapes(patch):
    codec = small_codec(patch=patch)
    time, rows, columns = patch
    pixels = torch.randn(2, 3, 1 + 2 * time, 2 * rows, 3 * columns)
    latent = codec.encode(pixels)
    assert codec.stride == patch
    assert latent.shape == (2, 12, 3, 2, 3)
    assert codec.decode(latent).shape == pixels.shape


def test_no_layer_sees_later_frames():
    codec = small_codec()
    pixels = torch.randn(1, 3, 9, 8, 12)
    changed = pixels.clone()
    changed[:, :, 5:] = 0
    before, after = codec.encode(pixels), codec.encode(changed)
    torch.testing.assert_close(before[:, :, :3], after[:, :, :3])
    assert (before[:, :, 3] - after[:, :, 3]).abs().max() > 1e-3
    altered = before.clone()
    altered[:, :, 3:] = 0
    assert torch.equal(codec.decode(before)[:, :, :5], codec.decode(altered)[:, :, :5])


def test_earlier_frames_and_neighbours_are_seen():
    """Fails when the blocks mix nothing: then a patch would depend on its own pixels alone."""
    codec = small_codec()
    pixels = torch.randn(1, 3, 5, 12, 12)
    changed = pixels.clone()
    changed[:, :, 1:3, :4, :4] = 0
    difference = (codec.encode(pixels) - codec.encode(changed)).abs().amax(dim=(0, 1))
    assert difference[1, 1, 1] > 1e-3  # a neighbour
    assert difference[2, 0, 0] > 1e-3  # the same cell later


def test_the_first_frame_is_coded_as_an_image():
    codec = small_codec()
    pixels = torch.randn(1, 3, 5, 8, 8)
    torch.testing.assert_close(codec.encode(pixels)[:, :, :1], codec.encode(pixels[:, :, :1]))


@pytest.mark.parametrize("blocks", [0, 2])
def test_chunks_equal_the_whole(blocks):
    codec = small_codec(encoder_blocks=blocks, decoder_blocks=blocks)
    pixels = torch.randn(1, 3, 9, 8, 8)
    whole = codec.encode(pixels)
    chunks = [pixels[:, :, :3], pixels[:, :, 3:5], pixels[:, :, 5:]]
    with torch.inference_mode():
        torch.testing.assert_close(torch.cat(list(encode_stream(codec, chunks)), dim=2), whole)
        decoded = torch.cat(list(decode_stream(codec, whole.split(2, dim=2))), dim=2)
    torch.testing.assert_close(decoded, codec.decode(whole))


def test_the_mix_is_a_causal_convolution():
    mix = NeighbourMix(6).requires_grad_(False)
    x = torch.randn(2, 3, 5, 4, 6)
    kernel = mix.linear.weight.view(6, 2, 3, 3, 6).permute(0, 4, 1, 2, 3)
    padded = F.pad(x.permute(0, 4, 1, 2, 3), (1, 1, 1, 1, 1, 0))
    expected = F.conv3d(padded, kernel, mix.linear.bias).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(mix(x, CausalCache()), expected)


def test_a_fitted_codec_is_its_linear_path_and_already_a_picture():
    generator = torch.Generator().manual_seed(0)
    slopes = torch.rand(30, 2, 3, generator=generator)
    grid = torch.linspace(0, 1, 16)
    pictures = slopes[:, 0, None, None] * grid[:, None, None] + slopes[:, 1, None, None] * grid[:, None]
    videos = [Video((127 * p).byte().expand(5, -1, -1, -1).contiguous().numpy(), 8.0) for p in pictures]
    codec = small_codec()
    fit_linear_path(codec, videos)
    pixels = torch.from_numpy(videos[0].frames).permute(3, 0, 1, 2)[None] / 127.5 - 1
    assert (codec.decode(codec.encode(pixels)) - pixels).abs().max() < 0.02
    path = codec.linear_path
    torch.testing.assert_close(codec.encode(pixels), path.encode(pixels, first_chunk=True))


def test_latents_are_normalised_by_the_config_and_back():
    plain, scaled = small_codec(), small_codec(latent_mean=(1.0,) * 12, latent_std=(2.0,) * 12)
    pixels = torch.randn(1, 3, 5, 8, 8)
    torch.testing.assert_close(scaled.encode(pixels), (plain.encode(pixels) - 1) / 2)
    torch.testing.assert_close(scaled.decode(scaled.encode(pixels)), plain.decode(plain.encode(pixels)))


def test_a_saved_codec_is_loaded_by_the_registry(tmp_path):
    codec = small_codec()
    save_network(codec, codec.config, tmp_path, torch.float32)
    loaded, pixels = load_codec(tmp_path), torch.randn(1, 3, 3, 8, 8)
    assert type(loaded) is PatchCodec
    assert torch.equal(loaded.encode(pixels), codec.encode(pixels))


def test_a_frame_of_128x128_is_decoded_in_at_most_3_gflop():
    codec = PatchCodec(PatchCodecConfig())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        codec.decode(torch.zeros(1, 128, 9, 16, 16))
    assert 0.3e9 < counter.get_total_flops() / 17 <= 3e9


@pytest.mark.parametrize("shape", [(3, 6, 8), (3, 8, 6), (4, 8, 8)])
def test_refuses_what_the_stride_does_not_divide(shape):
    with pytest.raises(SizeError, match=r"multiples of 4|2k\+1"):
        small_codec().encode(torch.zeros(1, 3, *shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch": (2, 8, 4)},
        {"patch": (0, 8, 8)},
        {"latent_channels": 200},
        {"latent_std": (1.0,)},
        {"latent_std": (0.0,) * 128},
        {"widht": 1},
    ],
)
def test_config_refuses_contradictions_and_typos(wrong):
    with pytest.raises(ConfigError):
        parse_config(wrong, PatchCodecConfig, source="config.json")
