"""A folder of diffusers' Wan pipelines is an ordinary pipeline here, and makes the same video as there."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

import vitascope
from tests.hub.peers import diffusers
from vitascope.errors import PromptError
from vitascope.generate.pipeline import Pipeline
from vitascope.hub.wan import transformer as wan_transformer
from vitascope.hub.wan.umt5 import NUM_STATES, clean_prompt
from vitascope.model.canvas import Canvas, given_frames, make_canvas

PROMPT = "a red   ball &amp;amp; a blue cube rolls"
NEGATIVE = "noise"
STEPS, GUIDANCE, SEED = 4, 3.0, 5
FRAMES, ROWS, COLUMNS = 9, 64, 96


def canvas(pipeline: Pipeline, beginning: Tensor | None = None) -> Canvas:
    stride = pipeline.codec.stride
    latent = torch.zeros(
        pipeline.codec.latent_channels, 1 + (FRAMES - 1) // stride.time, ROWS // stride.rows, COLUMNS // stride.columns
    )
    if beginning is not None:
        latent[:, :1] = pipeline.codec.encode(beginning[None, :, None])[0]
    given = given_frames(latent, [] if beginning is None else [0])
    rate = pipeline.config.fps
    return make_canvas(
        latent, given, fps=rate, reference_fps=rate, patch=pipeline.transformer.config.patch, time_stride=stride.time
    )


def our_frames(pipeline: Pipeline, filling: Canvas) -> Tensor:
    tokens = pipeline.sample(filling, PROMPT, negative=NEGATIVE, seed=SEED, num_steps=STEPS, guidance=GUIDANCE)
    pixels = pipeline.codec.decode(filling.grid_latent(tokens, pipeline.transformer.config.patch)[None])[0]
    return pixels.clamp(-1, 1)


def peer_frames(peer, pipeline: Pipeline, filling: Canvas, image: Tensor | None = None) -> Tensor:
    """The peer's video of the same noise, by its own scheduler, with timesteps that aren't rounded to integers."""
    noise = torch.randn(filling.clean.shape, generator=torch.Generator().manual_seed(SEED))
    latents = filling.grid_latent(noise, pipeline.transformer.config.patch)[None]
    scheduler = type(peer.scheduler).from_config(peer.scheduler.config)
    set_timesteps = scheduler.set_timesteps

    def set_exactly(*args: object, **options: object) -> None:
        set_timesteps(*args, **options)
        scheduler.timesteps = 1000 * scheduler.sigmas[:-1]

    scheduler.set_timesteps = set_exactly
    peer.register_modules(scheduler=scheduler)
    options = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "pt", "num_frames": FRAMES}
    if image is not None:
        options["image"] = (image[None] + 1) / 2
    video = peer(prompt=PROMPT, negative_prompt=NEGATIVE, height=ROWS, width=COLUMNS, latents=latents, **options)
    return 2 * video.frames[0].transpose(0, 1) - 1


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    assert a.std() > 0.05  # else nothing would be compared
    assert (a.abs() < 1).float().mean() > 0.5
    return (a - b).abs().max().item()


@pytest.mark.parametrize("kind", ["2.1", "2.2"])
@torch.inference_mode()
def test_same_video_as_the_peer(peers, kind):
    peer, folder = peers[kind]
    pipeline = vitascope.load(folder)
    filling = canvas(pipeline)
    assert difference(peer_frames(peer, pipeline, filling), our_frames(pipeline, filling)) <= 1e-3


@torch.inference_mode()
def test_same_video_as_the_peer_with_unipc(wan_folder, peers):
    """The scheduler of the published folders. Fails with another solver or spacing of our own."""
    unipc = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    unipc.save_pretrained(wan_folder / "scheduler")
    index = json.loads((wan_folder / "model_index.json").read_text())
    (wan_folder / "model_index.json").write_text(
        json.dumps({**index, "scheduler": ["diffusers", type(unipc).__name__]})
    )
    pipeline = vitascope.load(wan_folder)
    assert (pipeline.config.solver, pipeline.config.spacing, pipeline.config.shift) == ("unipc", "unipc", 5.0)
    peer, euler = peers["2.1"][0], peers["2.1"][0].scheduler
    filling = canvas(pipeline)
    peer.register_modules(scheduler=unipc)
    try:
        wanted = peer_frames(peer, pipeline, filling)
    finally:
        peer.register_modules(scheduler=euler)
    assert difference(wanted, our_frames(pipeline, filling)) <= 1e-3
    pipeline.config = pipeline.config.model_copy(update={"solver": "multistep"})
    assert difference(wanted, our_frames(pipeline, filling)) > 1e-2


@torch.inference_mode()
def test_same_video_as_the_peer_from_a_first_frame(peers):
    peer, folder = peers["2.2 image"]
    pipeline = vitascope.load(folder)
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, ROWS), torch.linspace(-1, 1, COLUMNS), indexing="ij")
    image = torch.stack([rows, columns, rows * columns])
    filling = canvas(pipeline, image)
    made = our_frames(pipeline, filling)
    assert difference(peer_frames(peer, pipeline, filling, image), made) <= 1e-3
    assert difference(our_frames(pipeline, canvas(pipeline)), made) > 1e-2  # the image counts


@torch.inference_mode()
def test_a_wrong_name_is_noticed(peers, monkeypatch):
    """The comparisons above can fail: with keys and queries of the text's attention exchanged, everything loads."""
    names = wan_transformer.BLOCK_NAMES
    one, other = "cross_attention.query", "cross_attention.key"
    monkeypatch.setattr(wan_transformer, "BLOCK_NAMES", {**names, one: names[other], other: names[one]})
    peer, folder = peers["2.1"]
    pipeline = vitascope.load(folder)
    filling = canvas(pipeline)
    assert difference(peer_frames(peer, pipeline, filling), our_frames(pipeline, filling)) > 1e-2


def test_same_states_of_a_prompt_as_the_peer(peers):
    peer, folder = peers["2.1"]
    encoder = vitascope.load(folder).text_encoder
    for prompt in (PROMPT, "", "“full-width，  marks” …"):
        wanted = peer.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=NUM_STATES)[0][0]
        (states,) = encoder.encode([prompt])
        assert states.shape == (NUM_STATES, 24)
        assert states.std() > 0.01
        assert (states - wanted).abs().max() <= 1e-5
    with pytest.raises(PromptError, match="the limit is 512"):
        encoder.encode(["z" * 600])
    assert clean_prompt(" a &amp;lt;b&amp;gt;\n c ") == "a <b> c"


def test_a_wan_folder_is_an_ordinary_pipeline(peers):
    pipeline = vitascope.load(peers["2.1"][1])
    config = pipeline.config
    assert (config.solver, config.shift, config.fps) == ("euler", 3.0, 16.0)
    assert (config.shift, config.reference_tokens) == (3.0, None)
    video = pipeline.generate("a red ball", height=32, width=48, num_frames=5, num_steps=2)
    assert video.frames.shape == (5, 32, 48, 3)
    longer = pipeline.extend(video, "a red ball", seconds=4 / 16, height=32, width=48, num_steps=1)
    assert longer.num_frames == 9


def test_settings_are_those_of_the_release(peers):
    config = vitascope.load(peers["2.2"][1], weights=False).config
    assert (config.height, config.width, config.num_frames, config.fps) == (704, 1280, 121, 24.0)


def test_half_precision_stays_near(peers):
    folder = peers["2.1"][1]
    full, half = (vitascope.load(folder, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert half.transformer.patch_in.weight.dtype == torch.bfloat16
    assert half.codec.encoder.conv_in.weight.dtype == torch.float32
    filling = canvas(full)
    a, b = our_frames(full, filling), our_frames(half, filling)
    assert 0 < (a - b).abs().mean() < 0.05 * a.std()


def test_a_card_needs_no_weights(peers):
    """The networks stay empty; their figures are those of the loaded ones."""
    folder = peers["2.1"][1]
    empty, full = vitascope.load(folder, weights=False), vitascope.load(folder)
    assert all(parameter.is_meta for parameter in empty.transformer.parameters())
    assert empty.card() == full.card()
    half = vitascope.load(folder, dtype="bfloat16", weights=False)
    assert half.cost().weight_bytes < full.cost().weight_bytes
