"""The codec runs on the device of its weights; the meta device stands in for a GPU."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.devices import MixedDevicesError, OneDevice
from vitascope.codec import streaming
from vitascope.codec.layers import CausalCache
from vitascope.codec.network import Codec, CodecConfig
from vitascope.codec.streaming import StreamingDecoder, Tiling, decode_stream, encode_stream, encode_video
from vitascope.kernels.device import CPU, META
from vitascope.video import Video

CONFIGS = [
    CodecConfig(latent_channels=4, base_width=8),
    CodecConfig(latent_channels=4, base_width=8, residual_shortcuts=False, pixel_patch=1, linear_path=True),
]


@pytest.fixture(params=CONFIGS, ids=["Wan 2.2", "Wan 2.1 with a linear path"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return Codec(request.param).to(META).eval()


def test_one_shot(codec: Codec) -> None:
    pixels = torch.zeros(1, 3, 5, 16, 8, device=META)
    with OneDevice(META) as guard:
        latent = codec.encode(pixels)
        made = codec.decode(latent)
        made.sum().backward()
    assert latent.shape == (1, 4, 2, 16 // codec.stride.rows, 8 // codec.stride.columns)
    assert made.shape == pixels.shape
    assert guard.num_checked > 100


@pytest.mark.parametrize("tiling", [Tiling(), Tiling(size=4, overlap=2)], ids=["whole", "tiles"])
def test_streaming_moves_its_input(codec: Codec, tiling: Tiling) -> None:
    """Input on the CPU, as readers and samplers give it; every result is on the codec's device."""
    pixels = torch.zeros(1, 3, 5, 6 * codec.stride.rows, 4 * codec.stride.columns, device=CPU)
    with torch.inference_mode(), OneDevice(META, others=True) as guard:
        latents = list(encode_stream(codec, pixels.split([1, 4], dim=2), tiling))
        made = list(decode_stream(codec, [torch.zeros(latent.shape, device=CPU) for latent in latents], tiling))
        again = StreamingDecoder(codec, tiling).decode(torch.zeros(latents[0].shape, device=CPU))
    assert all(part.is_meta for part in (*latents, *made, again))
    assert torch.cat(made, dim=2).shape == pixels.shape
    assert guard.num_checked > 100


def test_a_video_is_encoded_on_the_device(codec: Codec) -> None:
    video = Video(np.zeros((7, 30, 20, 3), np.uint8), 8.0)
    with OneDevice(META, others=True):
        latent = encode_video(codec, video)
    rows, columns = (-(-side // stride) for side, stride in zip((30, 20), codec.stride[1:], strict=True))
    assert latent.is_meta
    assert latent.shape == (4, 3, rows, columns)


def test_frames_of_another_device_equal_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when the path for GPUs rounds or clips differently."""
    pixels = torch.linspace(-1.2, 1.2, 3 * 2 * 16 * 16).reshape(3, 2, 16, 16)
    wanted = streaming.to_frames(pixels)
    monkeypatch.setattr(streaming, "is_cpu", lambda device: False)
    made = streaming.to_frames(pixels)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, wanted)


def test_a_tensor_without_a_device_is_noticed(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the tests above: blending weights and cached frames made on the CPU."""
    latent = torch.zeros(1, 4, 1, 6, 6, device=META)
    ramp = streaming._ramp
    monkeypatch.setattr(streaming, "_ramp", lambda *args: ramp(*args).new_zeros(ramp(*args).shape, device=CPU))
    with pytest.raises(MixedDevicesError), OneDevice(META):
        list(decode_stream(codec, [latent], Tiling(size=4, overlap=2)))
    get = CausalCache.get
    monkeypatch.setattr(
        CausalCache, "get", lambda *args: None if (past := get(*args)) is None else torch.zeros(past.shape)
    )
    cache = CausalCache()
    codec.decode(latent, cache)
    with pytest.raises(MixedDevicesError), OneDevice(META, others=True):
        codec.decode(latent, cache)


@pytest.mark.gpu
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("tiling", [Tiling(), Tiling(size=4, overlap=2)])
def test_a_gpu_gives_the_cpus_values(config: CodecConfig, tiling: Tiling) -> None:
    torch.manual_seed(0)
    codec, pixels = Codec(config).eval(), torch.rand(1, 3, 9, 64, 48) * 2 - 1
    chunks = [pixels[:, :, start:stop] for start, stop in pairwise((0, 1, 5, 9))]
    results = []
    with torch.inference_mode():
        for name in ("cpu", "cuda"):
            codec.to(name)
            latents = list(encode_stream(codec, chunks, tiling))
            made = torch.cat(list(decode_stream(codec, latents, tiling)), dim=2)
            assert made.device.type == name
            results.append((torch.cat(latents, dim=2).to(CPU), made.to(CPU)))
    for ours, wanted in zip(*reversed(results), strict=True):
        assert (ours - wanted).norm() <= 1e-3 * wanted.norm()
