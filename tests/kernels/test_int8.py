"""8-bit layers equal float32 layers up to quantization, and really compute in bytes."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import vitascope
from vitascope.codec.layers import CausalCache, CausalConv3d
from vitascope.codec.network import Codec, CodecConfig
from vitascope.codec.streaming import LATENT_FRAMES_PER_CHUNK, decode_stream, encode_video
from vitascope.errors import ModelError
from vitascope.kernels.conv import Conv3d
from vitascope.kernels.device import has_bfloat16_products
from vitascope.kernels.int8 import (
    EightBitLinear,
    Int8Rules,
    _has_kernels,
    check_eight_bit,
    is_eight_bit,
    quantize_,
    quantize_to_bytes,
)
from vitascope.kernels.linear import Linear
from vitascope.model.transformer import Transformer, TransformerConfig


def computes_in_8_bits() -> bool:
    try:
        check_eight_bit()
    except ModelError:
        return False
    return True


made_for_bfloat16 = pytest.mark.skipif(not has_bfloat16_products(), reason="a processor without bfloat16")
with_kernels = pytest.mark.skipif(not _has_kernels(), reason="no oneDNN")
with_vnni = pytest.mark.skipif(not computes_in_8_bits(), reason="no oneDNN, or no VNNI")


def relative_error(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((ours - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-100.5, 153.5), (0.0, 3.0), (-2.0, -1.0), (5.0, 6.0), (0, 0)])
def test_bytes_stand_for_the_numbers_to_half_a_step(low, high):
    """Fails when the maximum's byte overflows to 0, or zero isn't one of the levels."""
    x = torch.linspace(low, high, 1001)
    rounded = quantize_to_bytes(x)
    assert ((rounded.bytes.float() - rounded.zero) * rounded.step - x).abs().max() <= 0.501 * rounded.step
    assert 0 <= rounded.zero <= 255


@with_vnni
@pytest.mark.parametrize("gelu", [False, True])
def test_linear_layers(gelu):
    torch.manual_seed(0)
    layer, x = Linear(64, 48, gelu=gelu), torch.randn(30, 64) + 0.5
    wanted = layer(x)
    made = EightBitLinear(layer)(x)
    assert 1e-4 < relative_error(made, wanted) < 2e-2


@with_vnni
@made_for_bfloat16
def test_half_precision_in_and_out():
    """Inputs are quantized in float32; fails when they are rounded to bfloat16 in between."""
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 48), (torch.randn(30, 64) + 0.5).bfloat16()
    made = EightBitLinear(layer, dtype=torch.bfloat16)(x)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made, EightBitLinear(layer)(x.float()).bfloat16(), rtol=0, atol=0)
    assert relative_error(made.float(), layer(x.float())) < 2e-2


@with_vnni
@pytest.mark.parametrize("is_made_for_it", [pytest.param(True, marks=made_for_bfloat16), False])
def test_what_stays_out_of_8_bits_is_in_half_precision_where_that_is_faster(is_made_for_it, monkeypatch):
    """Self-attention, and the MLPs of the last two blocks."""
    monkeypatch.setattr("vitascope.kernels.int8.has_bfloat16_products", lambda: is_made_for_it)
    config = TransformerConfig(num_layers=3, num_heads=2, head_dim=16, ffn_width=64, text_width=12)
    network, x = Transformer(config), torch.randn(5, 32)
    wanted = network.blocks[2].ffn(x)
    quantize_(network, network.int8_rules)
    half = torch.bfloat16 if is_made_for_it else torch.float32
    assert network.blocks[2].self_attention.value(x).dtype == half
    assert [is_eight_bit(block.ffn) for block in network.blocks] == [True, False, False]
    made = network.blocks[2].ffn(x)
    assert made.dtype == half
    assert relative_error(made.float(), wanted) < 1e-2


@with_vnni
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(1, 1, 0), ((1, 3, 3), (1, 2, 2), 0), ((1, 3, 3), 1, (0, 1, 1)), ((3, 1, 1), (2, 1, 1), 0), (3, 1, (0, 1, 1))],
)
def test_convolutions_of_other_sizes_and_zeros(kernel, stride, padding):
    """Fails when the padding isn't 0, or the weights are packed for one input size only."""
    torch.manual_seed(0)
    layer = Conv3d(32, 16, kernel, stride, padding).requires_grad_(False)
    inputs = [torch.randn(1, 32, 5, 8 + k, 9) + shift for k, shift in enumerate((0.0, 2.0, -1.0))]
    wanted = [layer(x) for x in inputs]
    quantize_(layer, Int8Rules())
    for x, result in zip(inputs, wanted, strict=True):
        assert layer(x).is_contiguous(memory_format=torch.channels_last_3d)
        assert 1e-4 < relative_error(layer(x), result) < 2e-2


@with_kernels
def test_a_processor_whose_sums_overflow_is_refused():
    """oneDNN limited to AVX2: sums of 16 bits, which once produced noise silently."""
    code = "from vitascope.kernels.int8 import check_eight_bit; check_eight_bit()"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "ModelError: this processor's 8-bit sums overflow" in done.stderr


def test_without_kernels_nothing_is_downloaded(monkeypatch):
    monkeypatch.setattr("vitascope.kernels.int8._has_kernels", lambda: False)
    with pytest.raises(ModelError, match="no 8-bit kernels"):
        vitascope.load("nobody/nothing", dtype="int8")


@with_vnni
def test_what_learns_stays_in_float32():
    layer, x = CausalConv3d(8, 8, (3, 3, 3)), torch.randn(1, 8, 2, 8, 8)
    wanted = layer(x, CausalCache())
    quantize_(layer, Int8Rules())
    assert torch.equal(layer(x, CausalCache()), wanted)
    with torch.no_grad():
        assert not torch.equal(layer(x, CausalCache()), wanted)


@with_kernels
def test_the_transformer_keeps_its_exact_layers():
    """Fails when a layer outside the blocks is rounded, or an MLP of the last two blocks, or a text projection."""
    config = TransformerConfig(num_layers=3, num_heads=2, head_dim=16, ffn_width=64, text_width=12)
    network = Transformer(config)
    quantize_(network, network.int8_rules)
    made = {name for name, layer in network.named_modules() if isinstance(layer, EightBitLinear)}
    attention = {f"self_attention.{name}" for name in ("query", "key", "value", "out")}
    attention |= {"cross_attention.query", "cross_attention.out"}
    wanted = {f"blocks.{number}.{name}" for number in range(3) for name in attention}
    assert made == wanted | {"blocks.0.ffn.0", "blocks.0.ffn.2"}
    assert network.blocks[0].ffn[0].after != network.blocks[0].ffn[2].after  # the GELU is the first layer's


@with_kernels
def test_the_codec_keeps_its_exact_layers():
    """Fails when the encoder is rounded, or the layers next to latents and pixels."""
    network = Codec(CodecConfig(latent_channels=4, base_width=8, linear_path=True))
    quantize_(network, network.int8_rules)
    assert is_eight_bit(network)
    made = {name for name, layer in network.named_modules() if getattr(layer, "quantized", None) is not None}
    all_of_decoder = {f"decoder.{name}" for name, layer in network.decoder.named_modules() if isinstance(layer, Conv3d)}
    assert made == all_of_decoder - {"decoder.conv_in", "decoder.conv_out"}
    assert not any(isinstance(layer, EightBitLinear) for layer in network.modules())


@with_kernels
def test_a_second_time_is_refused():
    layer = nn.Sequential(Conv3d(4, 4, 1))
    quantize_(layer, Int8Rules())
    with pytest.raises(AssertionError, match="already"):
        quantize_(layer, Int8Rules())


@pytest.fixture(scope="module")
def pipelines():
    return vitascope.load(), vitascope.load(dtype="int8")


@with_vnni
def test_the_card_counts_every_weight(pipelines):
    exact, rough = (pipeline.card() for pipeline in pipelines)
    assert exact["parameters"] == rough["parameters"]
    assert 0 < rough["a video takes"]["GiB of weights"] < exact["a video takes"]["GiB of weights"]
    assert vitascope.load(dtype="int8", weights=False).card()["parameters"] == exact["parameters"]


@with_vnni
def test_the_bundled_codec_keeps_its_pictures(pipelines):
    exact, rough = (pipeline.codec for pipeline in pipelines)
    video = pipelines[0].generate("a red ball bounces on the grass", num_frames=17, num_steps=1)
    latent = encode_video(exact, video)
    assert torch.equal(encode_video(rough, video), latent)
    wanted, made = (in_chunks(codec, latent, LATENT_FRAMES_PER_CHUNK) for codec in (exact, rough))
    assert 45 < psnr(made, wanted) < 90
    assert psnr(in_chunks(rough, latent, latent.shape[1]), made) > 45  # a chunk depends a little on the chunk


def in_chunks(codec: Codec, latent: torch.Tensor, size: int) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat(list(decode_stream(codec, latent[None].split(size, dim=2))), dim=2)


def psnr(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    return (10 * (4 / (ours - wanted).square().mean()).log10()).item()


@with_vnni
def test_the_bundled_model_makes_nearly_the_same_video(pipelines):
    """From equal noise and in few steps, so that differences stay small."""
    exact, rough = (pipeline.generate("a blue cone", num_frames=5, num_steps=4).frames for pipeline in pipelines)
    error = (exact.astype(float) - rough) ** 2
    assert 0 < error.mean() < 255**2 * 10 ** (-30 / 10)
