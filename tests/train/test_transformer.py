"""Training of the transformer: what a batch holds, what the loss counts, that it learns, and what comes out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import vitascope
from vitascope.config import load_config
from vitascope.data.caches import EncodedClip
from vitascope.errors import ConfigError, DatasetError, DeviceError
from vitascope.model.canvas import CUT_GAP
from vitascope.model.patches import unpack
from vitascope.train import transformer
from vitascope.train.loop import Trainer
from vitascope.train.packs import BatchMaker, PackBatch
from vitascope.train.run import read_checkpoint, step_generator
from vitascope.train.transformer import TransformerTask
from vitascope.train.transformer_config import TransformerTrainConfig

SHAPES = [(4, 5, 4, 4), (4, 1, 4, 6), (4, 3, 6, 4), (4, 5, 4, 4)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def clips() -> list[EncodedClip]:
    """Four random latents, one of them an image, with two captions each."""
    captions = [random(3, 384, seed=8).half(), random(7, 384, seed=9).half()]
    return [EncodedClip(random(*shape, seed=k).half(), captions, 8.0) for k, shape in enumerate(SHAPES)]


def make_batch(clips: list[EncodedClip], config: TransformerTrainConfig, seed: int = 0) -> PackBatch:
    return BatchMaker(clips, random(2, 384, seed=7), config, 4).make(range(len(clips)), step_generator(seed, 0))


ALL_FIRST = ["patterns.first_frame=1.0", "patterns.beginning=0.0", "patterns.independent=0.0"]


def test_one_batch_is_learned_by_heart(transformer_config, clips):
    overrides = ["steps=150", "learning_rate=1e-2", "transformer.num_layers=2", "noise.mean=1.0"]
    config = load_config(transformer_config, TransformerTrainConfig, overrides)
    trainer, batch = Trainer(TransformerTask(config, [])), make_batch(clips, config)
    first = trainer.update(0, [(batch, step_generator(0, 0))])()["loss"]
    for step in range(1, config.steps):
        last = trainer.update(step, [(batch, step_generator(0, step))])()["loss"]
        if last < first / 10:
            break
    assert last < first / 10


def test_without_a_compiler_auto_trains_uncompiled_and_true_is_an_error(transformer_config, monkeypatch, capsys):
    monkeypatch.setattr(transformer, "compile_problem", lambda device: "g++ not found")
    automatic, required = (
        TransformerTask(load_config(transformer_config, TransformerTrainConfig, [f"compile={value}"]), [])
        for value in ("auto", "true")
    )
    compiled = list[str]()
    monkeypatch.setattr(automatic.model, "compile_blocks", lambda: compiled.append("automatic"))
    automatic.compile()
    assert capsys.readouterr().err == "training without torch.compile: g++ not found\n"
    assert compiled == []
    with pytest.raises(DeviceError, match=r"g\+\+ not found.*compile=auto"):
        required.compile()
    monkeypatch.setattr(transformer, "compile_problem", lambda device: None)
    automatic.compile()
    assert compiled == ["automatic"]


def test_the_loss_counts_what_is_made_and_nothing_that_is_given(transformer_config, clips):
    config = load_config(transformer_config, TransformerTrainConfig, ALL_FIRST)
    task, batch = TransformerTask(config, []), make_batch(clips, config)
    frames = [shape[1] for shape in sorted(SHAPES, key=lambda shape: shape[1:])]
    for target, num_frames in zip(unpack(batch.target[:, None].float(), batch.pack.lengths), frames, strict=True):
        per_frame = target.reshape(num_frames, -1)
        assert per_frame[1:].all()
        assert per_frame[0].all() == (num_frames == 1)  # an image is all made
        assert num_frames == 1 or not per_frame[0].any()

    def loss(where: Tensor) -> float:
        changed = replace(batch, clean=torch.where(where[:, None], batch.clean + 1, batch.clean))
        return task.loss_of(task.model, changed).total.item()

    nowhere = torch.zeros_like(batch.target)
    assert loss(~batch.target) == loss(nowhere) != loss(batch.target)


def test_given_tokens_are_clean_and_made_ones_are_noised(transformer_config, clips):
    config = load_config(transformer_config, TransformerTrainConfig, [*ALL_FIRST, "patterns.condition_noise=0.0"])
    batch = make_batch(clips, config)
    sigma, target = batch.pack.token_sigmas, batch.target
    assert (sigma[~target] == 0).all()
    assert torch.equal(batch.pack.tokens[~target], batch.clean[~target])
    assert (sigma[target] > 0).all()
    expected = torch.lerp(batch.clean, batch.noise, sigma[:, None])
    torch.testing.assert_close(batch.pack.tokens, expected)


def test_a_reference_is_shown_beside_the_grid_and_not_learned(transformer_config, clips):
    overrides = [*ALL_FIRST, "patterns.first_frame=0.0", "patterns.reference=1.0"]
    config = load_config(transformer_config, TransformerTrainConfig, overrides)
    maker = BatchMaker(clips, random(2, 384, seed=7), config, 4)
    batch = maker.make(range(len(clips)), step_generator(0, 0))
    outside = batch.pack.positions[:, 0] < -10
    assert outside.any()
    assert torch.equal(batch.target, ~outside)
    assert len(outside) - int(outside.sum()) == sum(maker.lengths)


def test_a_clip_without_captions_has_the_empty_text(transformer_config, clips):
    config = load_config(transformer_config, TransformerTrainConfig, ["text_dropout=0.0"])
    silent = [replace(clip, captions=[]) for clip in clips]
    assert make_batch(silent, config).pack.context_lengths == (2, 2, 2, 2)


def test_text_is_dropped_in_its_share(transformer_config, clips):
    config = load_config(transformer_config, TransformerTrainConfig, ["text_dropout=0.25"])
    lengths = [length for seed in range(200) for length in make_batch(clips, config, seed).pack.context_lengths]
    assert lengths.count(2) / len(lengths) == pytest.approx(0.25, abs=0.06)
    assert lengths.count(3) / len(lengths) == pytest.approx(0.375, abs=0.07)  # the captions take turns


@pytest.fixture
def told() -> list[EncodedClip]:
    """A clip of three shots with two storyboards: a cut within its second latent frame, one before its fourth."""
    ways = tuple(
        tuple(random(length, 384, seed=length).half() for length in lengths) for lengths in ((4, 5, 6), (8, 9, 10))
    )
    captions = [random(3, 384, seed=8).half()]
    return [EncodedClip(random(4, 5, 4, 4).half(), captions, 8.0, (7, 13), ways)]


NOTHING_GIVEN = ["patterns.first_frame=0.0", "patterns.beginning=0.0", "patterns.independent=0.0", "text_dropout=0.0"]


def test_a_clip_of_several_shots_is_told_shot_by_shot_in_its_share(transformer_config, told):
    """As a storyboard is: texts by shot, and a skip of time at each cut. Fails when cuts or texts are ignored."""
    config = load_config(transformer_config, TransformerTrainConfig, [*NOTHING_GIVEN, "storyboards=1.0"])
    ways = set()
    for seed in range(20):
        pack = make_batch(told, config, seed).pack
        assert pack.tokens_per_text == (8, 8, 4)
        ways.add(pack.context_lengths)
        assert pack.positions[::4, 0].tolist() == [0, 1, 2 + CUT_GAP, 3 + CUT_GAP, 4 + 2 * CUT_GAP]
    assert ways == {(4, 5, 6), (8, 9, 10)}
    config = load_config(transformer_config, TransformerTrainConfig, [*NOTHING_GIVEN, "storyboards=0.25"])
    runs = [len(make_batch(told, config, seed).pack.tokens_per_text) for seed in range(200)]
    assert runs.count(3) / len(runs) == pytest.approx(0.25, abs=0.1)
    assert set(runs) == {1, 3}


def test_what_shows_two_shots_is_not_learned_as_a_storyboard(transformer_config, told):
    """The first cut, at frame 7, passes through the third latent frame, of frames 5 to 8."""
    for share, learned in (("1.0", [True, True, False, True, True]), ("0.0", [True] * 5)):
        config = load_config(transformer_config, TransformerTrainConfig, [*NOTHING_GIVEN, f"storyboards={share}"])
        assert make_batch(told, config).target[::4].tolist() == learned


def test_the_texts_of_all_shots_are_dropped_together(transformer_config, told):
    config = load_config(transformer_config, TransformerTrainConfig, ["storyboards=1.0", "text_dropout=0.5"])
    lengths = {make_batch(told, config, seed).pack.context_lengths for seed in range(40)}
    assert lengths == {(2, 2, 2), (4, 5, 6), (8, 9, 10)}


def test_accumulated_packs_equal_one_pack(transformer_config, clips):
    """Fails when packs count alike, however many tokens they learn: here 5 of the 6 that one pack has, and 29."""
    config = load_config(transformer_config, TransformerTrainConfig, ["transformer.num_layers=2"])
    maker, order = BatchMaker(clips, random(2, 384, seed=7), config, 4), sorted(range(4), key=lambda i: SHAPES[i][1:])
    gradients, packs = [], []
    for parts in ([order], [order[:1], order[1:]]):
        generator, trainer = step_generator(0, 0), Trainer(TransformerTask(config, []))
        torch.nn.init.normal_(trainer.model.proj_out.weight, generator=torch.Generator().manual_seed(1))
        batches = [maker.make(part, generator) for part in parts]
        trainer.update(0, [(batch, generator) for batch in batches])
        packs.append(torch.cat([batch.pack.tokens for batch in batches]))
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]))
    assert torch.equal(*packs)
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-6)


def test_recomputed_blocks_change_no_gradient(transformer_config, clips, monkeypatch):
    """Fails when the setting doesn't reach the network, or the second pass differs from the first."""
    calls = []
    gradients = []
    for value in ("false", "true"):
        overrides = [f"recompute_blocks={value}", "transformer.num_layers=2"]
        config = load_config(transformer_config, TransformerTrainConfig, overrides)
        task = TransformerTask(config, [])
        torch.nn.init.normal_(task.model.proj_out.weight, generator=torch.Generator().manual_seed(1))
        task.model.blocks[0].register_forward_pre_hook(lambda *arguments: calls.append(value))  # noqa: B023
        task.loss_of(task.model, make_batch(clips, config)).total.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in task.model.parameters()]))
    assert calls.count("false") == 1
    assert calls.count("true") == 2
    assert torch.equal(*gradients)


def test_a_stopped_run_can_be_generated_from(transformer_config, tmp_path, monkeypatch):
    """Fails when a checkpoint leaves no model, an incomplete one, or one without the averaged weights."""
    original = Trainer.step

    def step(self: Trainer, number: int) -> object:
        if number == 7:
            raise KeyboardInterrupt
        return original(self, number)

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(KeyboardInterrupt):
        transformer.train(transformer_config, tmp_path / "run", ["sample_prompts=[]"])
    folder = tmp_path / "run" / "model"
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    assert index["pipeline"]["training"] == {"steps": 6, "clips": 20}
    pipeline = vitascope.load(folder)
    assert pipeline.generate("a red square").frames.shape == (5, 32, 32, 3)
    average = read_checkpoint(tmp_path / "run" / "checkpoints" / "step_00000006").tensors["ema"]
    for name, value in pipeline.transformer.state_dict().items():
        assert torch.equal(value.float(), average[name].half().float()), name
    leftovers = [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
    assert leftovers == []


def test_a_batch_follows_from_its_generator(transformer_config, clips):
    config = load_config(transformer_config, TransformerTrainConfig)
    first, again, other = (make_batch(clips, config, seed).pack.tokens for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_clip_that_the_patch_does_not_divide_is_refused_before_training(transformer_config, clips):
    config = load_config(transformer_config, TransformerTrainConfig)
    odd = EncodedClip(random(4, 3, 5, 4), clips[0].captions, 8.0)
    with pytest.raises(DatasetError, match=r"\[3, 5, 4\]"):
        _ = BatchMaker([*clips, odd], random(2, 384), config, 4).lengths


def test_a_run_tells_its_utilisation_and_makes_a_model(transformer_config, tmp_path, capsys):
    folder = transformer.train(transformer_config, tmp_path / "run")
    assert "useful tokens: packing" in capsys.readouterr().err
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == list(range(1, 9))
    assert all({"gradient", "tokens/s", "filled", "GFLOP/s", "data wait"} <= set(record) for record in steps)
    assert all(0 < record["filled"] <= 1 and 0 <= record["data wait"] < 1 for record in steps)
    assert [record["step"] for record in records if "validation" in record] == [2, 4, 6, 8]
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 4
    video = vitascope.load(folder).generate("a red square")
    assert video.frames.shape == (5, 32, 32, 3)


def test_a_run_on_beginnings_takes_every_clip_as_an_image(transformer_config, tmp_path, monkeypatch):
    """The clips have 1, 3 and 5 latent frames of 4 x 4 or 4 x 6 cells, in patches of 2 x 2."""
    seen = []
    loader = transformer.PackLoader
    monkeypatch.setattr(
        transformer, "PackLoader", lambda lengths, *rest: seen.extend(lengths) or loader(lengths, *rest)
    )
    transformer.train(transformer_config, tmp_path / "run", ["max_latent_frames=1", "steps=1"])
    assert set(seen) == {4, 6}


def test_validation_does_not_disturb_training(transformer_config, tmp_path):
    """Fails if validation or samples draw from a generator that training uses."""
    transformer.train(transformer_config, tmp_path / "often", ["steps=3", "sample_every=1"])
    transformer.train(transformer_config, tmp_path / "seldom", ["steps=3", "sample_every=3", "sample_prompts=[]"])
    weights = [
        (tmp_path / run / "model" / "transformer" / "diffusion_pytorch_model.safetensors").read_bytes()
        for run in ("often", "seldom")
    ]
    assert weights[0] == weights[1]


def test_latents_kept_beside_the_clips_belong_to_one_normalisation(
    transformer_config, codec_folder, tmp_path, monkeypatch
):
    """Two codecs of the same weights that scale their latents differently train on different latents."""
    halved = shutil.copytree(codec_folder, tmp_path / "halved")
    config = json.loads((halved / "config.json").read_text())
    config["latent_std"] = [2 * deviation for deviation in config["latent_std"]]
    (halved / "config.json").write_text(json.dumps(config))
    (halved / "manifest.json").unlink()
    seen: list[Tensor] = []
    maker = transformer.BatchMaker
    monkeypatch.setattr(
        transformer, "BatchMaker", lambda clips, *rest: seen.append(clips[0].latent.float()) or maker(clips, *rest)
    )
    for vae in (codec_folder, halved):
        transformer.train(
            transformer_config, tmp_path / f"run_{vae.name}", [f"vae={vae}", "steps=1", "sample_prompts=[]"]
        )
    training, _, training_halved, _ = seen  # each run has one of validation clips, too
    torch.testing.assert_close(training, 2 * training_halved, rtol=1e-2, atol=1e-2)
    assert training.abs().max() > 0.1


def test_weights_to_start_from_are_used(transformer_config, tmp_path):
    folder = transformer.train(transformer_config, tmp_path / "first", ["steps=1", "sample_prompts=[]"])
    config = load_config(transformer_config, TransformerTrainConfig, [f"init={folder / 'transformer'}"])
    started = TransformerTask(config, []).model.state_dict()["proj_out.weight"]
    assert started.abs().sum() > 0  # fresh ones are zero


@pytest.mark.parametrize("override", ["transformer.in_channels=16", "transformer.text_width=100"])
def test_a_transformer_that_does_not_fit_its_neighbours_is_refused(transformer_config, tmp_path, override):
    with pytest.raises(ConfigError, match=r"but the (codec|text encoder) has"):
        transformer.train(transformer_config, tmp_path / "run", [override])
