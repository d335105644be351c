"""Every verb on a second device, for which the meta device stands in: no operation mixes devices, nothing synchronises.

With a GPU, tests/test_gpu_chain.py compares values.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.devices import FakeDevice, MixedDevicesError
from tests.generate.conftest import model_folder as model_folder
from vitascope.generate.guidance import ConditionedDenoiser
from vitascope.generate.pipeline import Pipeline
from vitascope.generate.requests import Connect, Edit, Extend, Fill, Generate, Loop, Request, Storyboard
from vitascope.kernels.device import META, device_of
from vitascope.model.text import TextEncoder
from vitascope.video import Video

CLIP = Video(np.zeros((9, 32, 32, 3), np.uint8), 8.0)
PICTURE = Video(CLIP.frames[:1], 1.0)
MASK = Video(
    np.repeat(np.array([[[0]], [[255]]], np.uint8), 16, axis=0).repeat(32, axis=1).repeat(3, axis=2)[None], 1.0
)
SHOTS = ({"text": "a ball", "seconds": 0.75}, {"text": "a cube", "seconds": 0.5, "cut": False})
REQUESTS: dict[str, tuple[Request, int]] = {
    "text": (Generate(prompt="a ball", guidance=3, num_steps=3), 9),
    "image": (Generate(prompt="a ball", num_frames=1), 1),
    "pictures": (Generate(prompt="a ball", image=PICTURE, last_image=PICTURE, references=(PICTURE,)), 9),
    "three windows": (Generate(prompt="a ball", num_frames=21, guidance=3), 21),
    "extend": (Extend(video=CLIP, seconds=1), 17),
    "extend backward": (Extend(video=CLIP, seconds=1, backward=True), 17),
    "fill": (Fill(video=CLIP, missing=((0.5, 0.75),)), 9),
    "connect": (Connect(before=CLIP, after=CLIP, seconds=0.5), 22),
    "loop": (Loop(video=CLIP, seconds=0.5), 13),
    "edit": (Edit(video=CLIP, prompt="a cat", strength=0.5, mask=MASK), 9),
    "storyboard": (Storyboard(text="at night", shots=SHOTS), 10),
}


@pytest.fixture(scope="module")
def elsewhere(model_folder: Path) -> Pipeline:
    """A small model whose networks are on the meta device. One layer of each kind has all operations."""
    pipeline = Pipeline.load(model_folder, device="cpu", dtype="float32").to(META)
    pipeline.transformer.blocks = pipeline.transformer.blocks[:1]
    pipeline.text_encoder = replace(pipeline.text_encoder, num_layers=1)
    pipeline.config = pipeline.config.model_copy(update={"history_noise": 0.1, "guidance_ramp": 2, "num_steps": 2})
    assert {each.device.type for each in (*pipeline.codec.buffers(), *pipeline.transformer.parameters())} == {"meta"}
    return pipeline


@pytest.mark.parametrize("name", REQUESTS)
def test_no_operation_of_a_verb_mixes_devices(elsewhere: Pipeline, name: str) -> None:
    request, num_frames = REQUESTS[name]
    with FakeDevice() as guard:
        video = elsewhere.run(request)
    assert video.frames.shape == (num_frames, 32, 32, 3)
    assert guard.num_checked > 500, guard.num_checked


def test_one_tensor_without_a_device_is_found(elsewhere: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard sees what the sampler does, at every step."""
    original = ConditionedDenoiser.__call__

    def sabotaged(denoiser: ConditionedDenoiser, x: torch.Tensor, sigma: float) -> torch.Tensor:
        return original(denoiser, x + torch.zeros(x.shape), sigma)

    monkeypatch.setattr(ConditionedDenoiser, "__call__", sabotaged)
    with FakeDevice(), pytest.raises(MixedDevicesError):
        elsewhere.run(REQUESTS["text"][0])


def test_offloading_keeps_one_network_on_the_device(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network computes on the device, and alone. Fails if one is left there or computes on the CPU."""
    pipeline = Pipeline.load(model_folder, device="cpu", dtype="float32")
    alone: dict[str, list[bool]] = {"transformer": [], "codec": [], "text encoder": []}

    def note(part: str) -> None:
        places = {
            "transformer": device_of(pipeline.transformer),
            "codec": device_of(pipeline.codec),
            "text encoder": pipeline.text_encoder.device,
        }
        alone[part].append([name for name, place in places.items() if place == META] == [part])

    denoise, decode, encode = ConditionedDenoiser.__call__, pipeline.codec.decode, TextEncoder.encode
    monkeypatch.setattr(ConditionedDenoiser, "__call__", lambda *given: note("transformer") or denoise(*given))
    monkeypatch.setattr(pipeline.codec, "decode", lambda *given: note("codec") or decode(*given))
    monkeypatch.setattr(TextEncoder, "encode", lambda *given: note("text encoder") or encode(*given))
    with FakeDevice():
        frames = pipeline.to(META, offload=True).run(REQUESTS["three windows"][0]).frames
    assert frames.shape == (21, 32, 32, 3)
    assert all(all(each) and each for each in alone.values()), alone
