"""Training of the codec: it learns, it takes clips of any shape, it stops at nonsense."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch

import vitascope
from vitascope.cli import main
from vitascope.codec.network import Codec, CodecConfig, Stride
from vitascope.codec.patch_codec import PatchCodec
from vitascope.codec.quality import psnr
from vitascope.codec.streaming import reconstruct, to_signal
from vitascope.config import load_config
from vitascope.data.clips import Clip, Reader, list_clips
from vitascope.data.maps import maps_path, write_maps
from vitascope.errors import ConfigError, DatasetError
from vitascope.hub.registry import load_codec
from vitascope.train import codec, transformer
from vitascope.train.codec import (
    ClipBatches,
    CodecBatch,
    CodecTask,
    CodecTrainConfig,
    channel_gain,
    fit_linear_path,
    save_codec,
)
from vitascope.train.loop import Trainer
from vitascope.train.run import step_generator
from vitascope.worlds.frame import Maps


def test_one_clip_is_learned_by_heart(codec_config, drawn_dataset):
    config = load_config(codec_config, CodecTrainConfig, ["steps=80", "learning_rate=1e-2"])
    trainer, video = Trainer(CodecTask(config, [])), list_clips(drawn_dataset)[0].read()
    video = type(video)(video.frames[:5], video.fps)
    before = psnr(video.frames, reconstruct(trainer.ema, video).frames)
    for step in range(config.steps):
        trainer.update(step, [(CodecBatch(to_signal(video.frames)), step_generator(0, step))])
        after = psnr(video.frames, reconstruct(trainer.model, video).frames) if step % 10 == 9 else 0.0
        if after > max(20.0, before + 10.0):
            break
    assert after > max(20.0, before + 10.0)


def test_the_linear_path_gives_a_codec_a_start(codec_config, drawn_dataset):
    """Principal components before any step: already a picture. Images alone say nothing of motion, and do no harm."""
    config = load_config(codec_config, CodecTrainConfig, ["codec.linear_path=true", "codec.latent_channels=16"])
    network, clips = CodecTask(config, []).model, list_clips(drawn_dataset)
    fit_linear_path(network, (clip.read() for clip in clips))
    scores = [psnr(video.frames, reconstruct(network, video).frames) for video in (c.read() for c in clips[:9])]
    assert min(scores) > 20.0
    images = [clip for clip in clips if clip.num_frames == 1]
    fit_linear_path(network, (clip.read() for clip in images))
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_the_perceptual_loss_is_part_of_the_step_and_stays_frozen(codec_config, drawn_dataset):
    config = load_config(codec_config, CodecTrainConfig, ["loss.perceptual=0.1", "precision=bfloat16"])
    task = CodecTask(config, [])
    trainer, perceptual = Trainer(task), task.perceptual
    assert perceptual is not None
    before = {name: value.clone() for name, value in perceptual.state_dict().items()}
    pixels = to_signal(list_clips(drawn_dataset)[0].read().frames[:5])
    assert perceptual(pixels, pixels).item() == 0.0
    figures = trainer.update(0, [(CodecBatch(pixels), step_generator(0, 0))])()
    assert figures["perceptual"] > 0.0
    assert all(torch.equal(value, before[name]) for name, value in perceptual.state_dict().items())


def test_a_run_folder_tells_what_happened(codec_config, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "codec", str(codec_config), "-o", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "vae")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "l1" in r] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in records if {"psnr", "ssim"} <= set(r)] == [2, 4, 6]
    assert sorted(path.name for path in (run / "samples").iterdir()) == [f"step_{k:08d}.png" for k in (2, 4, 6)]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step_00000003", "step_00000006"]
    assert load_config(run / "config.toml", CodecTrainConfig).steps == 6


def test_the_finished_codec_has_latents_of_unit_variance(codec_config, drawn_dataset, tmp_path):
    config = load_config(codec_config, CodecTrainConfig)
    clips, folder = list_clips(drawn_dataset), tmp_path / "vae"
    save_codec(CodecTask(config, []).model, [clip.read() for clip in clips], folder, config.channel_gain_power)
    network = load_codec(folder)
    latents = torch.cat([codec.encode_video(network, clip.read()).flatten(1) for clip in clips], dim=1)
    assert latents.mean(dim=1).tolist() == pytest.approx([0.0] * 4, abs=0.02)
    assert latents.std(dim=1).tolist() == pytest.approx([1.0] * 4, abs=0.02)


def test_channel_gain_orders_the_channels_by_their_effect_on_pixels():
    """Fails when the power is left out: channels with effects 9 and 1 have gains of 3 to 1 at 0.5."""
    network = Codec(CodecConfig(latent_channels=2, base_width=8, linear_path=True))
    weight = network.linear_path.decode_rest.weight
    weight[:, 0], weight[:, 1] = 9.0, 1.0
    gain = channel_gain(network, 0.5)
    assert (gain[0] / gain[1]).item() == pytest.approx(3.0)
    assert gain.square().mean().item() == pytest.approx(1.0)
    assert torch.equal(channel_gain(network, 0.0), torch.ones(2))


def test_bfloat16_gradients_next_to_pixels_and_latents_agree_with_float32():
    """Fails without `full_precision` in the codec: the last layers' gradients then have cosines below 0.9."""
    torch.manual_seed(0)
    network = Codec(CodecConfig(latent_channels=4, base_width=8, linear_path=True))
    pixels = torch.rand(1, 3, 5, 32, 32) * 0.2
    last_layers = [network.decoder.conv_out.weight, network.to_moments.weight]

    def gradients(enabled: bool) -> list[torch.Tensor]:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = network.decode_raw(network.encode_moments(pixels)[0])
        assert output.dtype == torch.float32
        (output - pixels).square().mean().backward()
        return [layer.grad.clone() for layer in last_layers]

    for exact, rounded in zip(gradients(False), gradients(True), strict=True):
        assert torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.99


def test_a_channel_that_says_nothing_is_refused(codec_config, drawn_dataset, tmp_path):
    config = load_config(codec_config, CodecTrainConfig)
    network, videos = CodecTask(config, []).model, [clip.read() for clip in list_clips(drawn_dataset)]
    with torch.no_grad():
        network.to_moments.weight[0] = 0
    with pytest.raises(DatasetError, match="constant"):
        save_codec(network, videos, tmp_path / "vae", 0.0)
    save_codec(network, videos, tmp_path / "vae", 0.0, refuse_constant=False)  # at a checkpoint: training goes on
    assert load_codec(tmp_path / "vae").config.latent_std[0] == 1.0


def test_a_decoder_trained_alone_leaves_the_latents_as_they_were(codec_config, codec_folder, drawn_dataset, tmp_path):
    """Fails when the encoder is trained too, when the statistics are measured again, or when nothing is trained."""
    folder = codec.train(codec_config, tmp_path / "run", ["decoder_only=true", f"init={codec_folder}"])
    before, after = (load_codec(path) for path in (codec_folder, folder))
    signal = to_signal(list_clips(drawn_dataset)[0].read().frames[:5])
    latent = before.encode(signal)
    assert torch.equal(after.encode(signal), latent)
    assert not torch.allclose(after.decode(latent), before.decode(latent))


def test_a_decoder_alone_needs_a_codec_to_begin_with(codec_config):
    with pytest.raises(ConfigError, match="needs init"):
        load_config(codec_config, CodecTrainConfig, ["decoder_only=true"])


def test_batches_have_one_shape_that_the_codec_takes(codec_config, drawn_dataset):
    """Also where a clip is no larger than the crop and the stride doesn't divide it: 30 rows and 46 columns here."""
    config = load_config(codec_config, CodecTrainConfig, ["num_frames=[1, 12, 17]", "crop=64"])
    clips = [Clip(c.id, c.path, c.num_frames, c.height - 2, c.width - 2, c.fps, {}) for c in list_clips(drawn_dataset)]
    batches = ClipBatches(clips, config, Stride(4, 8, 8), Reader(len(clips), 0.0))
    shapes = {tuple(batches.draw(step_generator(0, step)).pixels.shape[1:]) for step in range(40)}
    assert {shape[1] for shape in shapes} == {1, 9, 17}
    assert {shape[2:] for shape in shapes} == {(24, 24), (24, 40)}


def test_a_typo_in_the_config_is_one_line_and_exit_2(codec_config, tmp_path, capsys):
    codec_config.write_text(codec_config.read_text().replace("batch_clips", "batch_clip"))
    with pytest.raises(ConfigError, match="batch_clip"):
        codec.train(codec_config, tmp_path / "run")
    assert main(["train", "codec", str(codec_config), "-o", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_training_that_diverges_stops_with_exit_1_and_keeps_its_checkpoint(codec_config, tmp_path, capsys, monkeypatch):
    original = ClipBatches.draw
    nan = CodecBatch(torch.full((1, 3, 1, 32, 32), float("nan")), ("000007",))
    bad = step_generator(0, 4).initial_seed()
    monkeypatch.setattr(
        ClipBatches,
        "draw",
        lambda self, generator: nan if generator.initial_seed() == bad else original(self, generator),
    )
    assert main(["train", "codec", str(codec_config), "-o", str(tmp_path / "run")]) == 1
    assert re.search(r"error: step 4: loss nan, gradient norm nan, clips 000007; no weight", capsys.readouterr().err)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000003"]
    load_codec(tmp_path / "run" / "vae")  # the one of step 3


PATCH_CODEC = [
    f"patch_codec.{setting}"
    for setting in ("latent_channels=8", "patch=[2,8,8]", "width=32", "inner_width=8", "decoder_blocks=2")
]


def test_a_patch_codec_is_trained_and_generates(codec_config, transformer_config, tmp_path):
    """From both trainers to a video."""
    vae = codec.train(codec_config, tmp_path / "codec", PATCH_CODEC)
    channels = ["transformer.in_channels=8", "transformer.out_channels=8"]
    model = transformer.train(transformer_config, tmp_path / "run", [f"vae={vae}", "steps=2", *channels])
    pipeline = vitascope.load(model)
    assert type(pipeline.codec) is PatchCodec
    assert pipeline.generate("a red square").frames.shape == (5, 32, 32, 3)


def test_a_patch_codec_learns_more_than_its_linear_path(codec_config, drawn_dataset):
    overrides = [*PATCH_CODEC, "loss.squared=10", "learning_rate=3e-3", "steps=40"]
    config = load_config(codec_config, CodecTrainConfig, overrides)
    task, video = CodecTask(config, list_clips(drawn_dataset)), list_clips(drawn_dataset)[0].read()
    task.start()
    trainer, video = Trainer(task), type(video)(video.frames[:5], video.fps)
    before = psnr(video.frames, reconstruct(task.model, video).frames)
    for step in range(config.steps):
        trainer.update(step, [(CodecBatch(to_signal(video.frames)), step_generator(0, step))])
    assert psnr(video.frames, reconstruct(trainer.model, video).frames) > before + 3.0


def test_actors_pixels_weigh_more(codec_config):
    config = load_config(codec_config, CodecTrainConfig, ["loss.actors=5", "loss.squared=2"])
    task = CodecTask(config, [])
    pixels, is_actor = torch.zeros(1, 3, 1, 16, 16), torch.zeros(1, 1, 1, 16, 16)
    is_actor[..., :4] = 1
    figures = {}
    for name, mask in (("plain", None), ("none", torch.zeros_like(is_actor)), ("some", is_actor)):
        loss = task.loss(CodecBatch(pixels, is_actor=mask), 0, step_generator(0, 0))
        figures[name] = loss.figures() | {"total": loss.total.item()}
    assert figures["plain"] == figures["none"]
    with torch.no_grad():
        mean, log_variance = task.model.encode_moments(pixels)
        noise = torch.randn(mean.shape, generator=step_generator(0, 0))
        error = task.model.decode_raw(mean + (0.5 * log_variance).exp() * noise).abs()
    assert figures["some"]["l1"] == pytest.approx((error * (1 + 4 * is_actor)).mean().item(), rel=1e-5)
    assert figures["some"]["squared"] == pytest.approx((error.square() * (1 + 4 * is_actor)).mean().item(), rel=1e-5)
    expected = figures["some"]["l1"] + 2 * figures["some"]["squared"] + config.loss.kl * figures["some"]["kl"]
    assert figures["some"]["total"] == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def masked_clips(drawn_dataset, tmp_path):
    """Clips with owner masks of their squares, but for the last, which has none."""
    folder = shutil.copytree(drawn_dataset, tmp_path / "masked")
    clips = list_clips(folder)
    for clip in clips[:-1]:
        frames = clip.read().frames.astype(int)
        write_maps(Maps(masks=(np.ptp(frames, axis=-1) > 60).astype(np.uint8)), maps_path(clip.path))
    return clips


def test_masks_are_cropped_as_their_clips(codec_config, masked_clips):
    config = load_config(codec_config, CodecTrainConfig, ["num_frames=[5]", "crop=16", "loss.actors=2"])
    batches = ClipBatches(masked_clips, config, Stride(4, 8, 8), Reader(len(masked_clips), 0.0))
    seen = 0
    for step in range(30):
        batch = batches.draw(step_generator(0, step))
        assert batch.is_actor is not None
        colour = 127.5 * (batch.pixels.amax(dim=1) - batch.pixels.amin(dim=1))
        for id_, is_actor, expected in zip(batch.ids, batch.is_actor[:, 0], colour > 60.5, strict=True):
            assert torch.equal(is_actor > 0, torch.zeros_like(expected) if id_ == masked_clips[-1].id else expected)
            seen += int(is_actor.any())
    assert seen > 10


def test_masks_of_another_size_are_refused(codec_config, masked_clips):
    config = load_config(codec_config, CodecTrainConfig, ["num_frames=[1]", "loss.actors=2"])
    for clip in masked_clips:
        write_maps(Maps(masks=np.zeros((clip.num_frames, 8, 8), np.uint8)), maps_path(clip.path))
    batches = ClipBatches(masked_clips, config, Stride(4, 8, 8), Reader(len(masked_clips), 0.0))
    with pytest.raises(DatasetError, match="render it again"):
        batches.draw(step_generator(0, 0))
