"""Carrying a transformer over to another codec: what it predicts stays the same picture in other numbers."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from vitascope.codec.streaming import encode_video
from vitascope.config import load_config
from vitascope.errors import ConfigError
from vitascope.hub.registry import load_codec, load_transformer
from vitascope.hub.weights import save_network
from vitascope.model.patches import make_sample, pack, patchify, token_group
from vitascope.model.transformer import Transformer, TransformerConfig
from vitascope.train import transformer as training
from vitascope.train.refit import first_frame_tokens, refit
from vitascope.train.transformer_config import TransformerTrainConfig
from vitascope.video import read_video

SHAPE = {"patch": (1, 1, 1), "num_layers": 2, "num_heads": 2, "head_dim": 16, "ffn_width": 64, "text_width": 8}


def network(channels: int, seed: int = 0, **changes: object) -> Transformer:
    config = TransformerConfig(**{"in_channels": channels, "out_channels": channels, **SHAPE, **changes})
    made = Transformer(config, torch.Generator().manual_seed(seed))
    torch.nn.init.normal_(made.proj_out.weight, std=0.2, generator=torch.Generator().manual_seed(seed + 1))
    return made


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def predict(transformer: Transformer, tokens: Tensor) -> Tensor:
    group = token_group(tokens.T.reshape(-1, 2, 3, 4), fps=8.0, reference_fps=8.0, patch=(1, 1, 1))
    sample = make_sample([group], torch.tensor([0.4, 0.4]), random(3, 8, seed=5))
    with torch.no_grad():
        return transformer(pack([sample]))


@pytest.mark.parametrize("prediction", ["clean", "velocity"])
def test_the_prediction_is_the_same_in_other_numbers(prediction):
    """For tokens without an offset; with one, a noisy token contains a share of it that depends on the noise level."""
    turn = torch.linalg.qr(random(6, 6, seed=1)).Q * 1.7
    before = random(500, 6, seed=2)
    learned, carried = network(6, prediction=prediction), network(6, seed=9, prediction=prediction)
    refit(carried, learned, before, before @ turn)
    noisy = random(24, 6, seed=3)
    torch.testing.assert_close(predict(carried, noisy @ turn), predict(learned, noisy) @ turn, atol=1e-4, rtol=1e-4)


def test_an_offset_of_the_data_is_predicted_too():
    learned, carried = network(6), network(6, seed=9)
    torch.nn.init.zeros_(learned.patch_in.weight)  # so that what goes in doesn't matter
    before = random(500, 6, seed=2)
    refit(carried, learned, before, before + 3.0)
    torch.testing.assert_close(
        predict(carried, random(24, 6)), predict(learned, random(24, 6)) + 3.0, atol=1e-4, rtol=1e-4
    )


def test_codecs_may_have_different_numbers_of_channels():
    """Channels missing from the smaller codec are lost; predictions of the others stay the same."""
    learned, carried = network(6), network(4, seed=9)
    before = random(50_000, 6, seed=2)
    refit(carried, learned, before, before[:, :4])
    noisy = torch.cat([random(24, 4, seed=3), torch.zeros(24, 2)], dim=1)
    torch.testing.assert_close(predict(carried, noisy[:, :4]), predict(learned, noisy)[:, :4], atol=0.05, rtol=0.05)


def test_tokens_that_leave_the_map_open_are_no_matter():
    before = random(500, 6, seed=2)
    doubled = torch.cat([before, before], dim=1)
    carried = network(12, seed=9)
    refit(carried, network(6), before, doubled)
    assert all(parameter.isfinite().all() for parameter in carried.parameters())
    assert carried.patch_in.weight.norm() < 2 * network(6).patch_in.weight.norm()


def test_another_shape_or_too_few_tokens_are_refused():
    with pytest.raises(ConfigError, match="another shape"):
        refit(network(6), network(6, num_layers=1), random(500, 6), random(500, 6))
    with pytest.raises(ConfigError, match="another shape"):
        refit(network(6), network(6, prediction="velocity"), random(500, 6), random(500, 6))
    with pytest.raises(ConfigError, match="too few"):
        refit(network(6), network(6), random(6, 6), random(6, 6))


def test_a_run_begins_with_what_was_learned_of_another_codec(transformer_config, codec_folder, tmp_path):
    """The other codec holds the same latents at half the size, so the map between them is known."""
    codec = load_codec(codec_folder)
    louder = codec.config.model_copy(update={"latent_std": tuple(0.5 * s for s in codec.config.latent_std)})
    save_network(codec, louder, tmp_path / "louder")
    first = training.train(transformer_config, tmp_path / "first", ["learning_rate=1e-2", "sample_prompts=[]"])
    overrides = [f"init={first / 'transformer'}", f"init_vae={codec_folder}", f"vae={tmp_path / 'louder'}"]
    overrides += ["steps=1", "learning_rate=1e-9", "sample_prompts=[]"]
    second = training.train(transformer_config, tmp_path / "second", overrides)
    old, new = load_transformer(first / "transformer"), load_transformer(second / "transformer")
    torch.testing.assert_close(new.proj_out.weight, 2 * old.proj_out.weight, atol=2e-3, rtol=2e-2)
    torch.testing.assert_close(new.patch_in.weight, 0.5 * old.patch_in.weight, atol=2e-3, rtol=2e-2)
    torch.testing.assert_close(new.blocks[0].ffn[0].weight, old.blocks[0].ffn[0].weight, atol=2e-3, rtol=2e-2)


def test_a_codec_without_weights_for_it_is_refused(transformer_config, codec_folder):
    with pytest.raises(ConfigError, match="init_vae needs init"):
        load_config(transformer_config, TransformerTrainConfig, [f"init_vae={codec_folder}"])


def test_tokens_are_those_of_first_frames(drawn_dataset, codec_folder):
    codec = load_codec(codec_folder)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(drawn_dataset.glob("clips/*.json"))[:2]]
    videos = [read_video(drawn_dataset / "clips" / f"{record['id']}.mp4") for record in records]
    tokens = first_frame_tokens(codec, videos, (1, 2, 2))
    assert len(tokens) == sum(video.height // 16 * (video.width // 16) for video in videos)
    whole = patchify(encode_video(codec, videos[0])[:, :1], (1, 2, 2))
    torch.testing.assert_close(tokens[: len(whole)], whole, atol=1e-5, rtol=1e-5)
