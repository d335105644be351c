"""Training of the judge: it learns, resumes bit for bit, and refuses unsuitable data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitascope.cli import main
from vitascope.config import load_config
from vitascope.data.clips import Reader, list_clips, shot_prompts
from vitascope.errors import ConfigError, DatasetError, ModelError
from vitascope.hub.weights import save_network
from vitascope.judge import train as training
from vitascope.judge.augment import block_coded, blurred, degrade, smeared
from vitascope.judge.batches import JudgeBatches, true_sentence
from vitascope.judge.bundled import find_judge
from vitascope.judge.calibration import slot_logits
from vitascope.judge.grounding import actor_track
from vitascope.judge.mirror import mirrored_words
from vitascope.judge.network import Judge, JudgeConfig, load_compatible, shots_of
from vitascope.judge.scoring import REPORTED
from vitascope.judge.sentence import VALUES, Slot
from vitascope.judge.train import (
    JudgeTask,
    action_weights,
    training_and_validation,
    validate,
    word_loss,
)
from vitascope.judge.train_config import JudgeTrainConfig
from vitascope.judge.vocabulary import collect, split
from vitascope.train.loop import Trainer
from vitascope.train.run import read_checkpoint, step_generator
from vitascope.video import Video
from vitascope.video.cuts import strongest_cuts
from vitascope.worlds.language import LANGUAGES
from vitascope.worlds.solids.captions import captions
from vitascope.worlds.solids.sampling import sample_scene


def trainer_of(config: JudgeTrainConfig) -> tuple[Trainer, JudgeBatches]:
    task = JudgeTask(config, list_clips(config.data))
    task.prepare()
    return Trainer(task), task.batches


def train_step(trainer: Trainer, step: int, batch: Any) -> dict[str, float]:
    return trainer.update(step, [(batch, step_generator(0, step))])()


def test_a_handful_of_clips_is_learned_by_heart(judge_config, tmp_path):
    """Fails when video and words don't belong together, or attention to the video is cut: clips share no words then."""
    overrides = ["steps=160", "learning_rate=0.02", "decay_share=0.5", "batch_clips=8", "degraded=0", "ema_decay=0.9"]
    overrides += ["framed=0"]
    config = load_config(judge_config, JudgeTrainConfig, overrides)
    trainer, batches = trainer_of(config)
    for step in range(config.steps):
        train_step(trainer, step, batches.draw(step_generator(0, step)))
    clips = list_clips(config.data)
    scores = validate(trainer.ema, [(clip.read(), true_sentence(clip)) for clip in clips], tmp_path / "bins.png")
    assert min(scores[name] for name in REPORTED) > 0.95
    written = [trainer.ema.caption(clip.read(), language) for clip in clips for language in LANGUAGES]
    told = [clip.captions[language][0] for clip in clips for language in LANGUAGES]
    assert sum(a == b for a, b in zip(written, told, strict=True)) > 0.8 * len(told)


def metrics(run: Path) -> list[dict[str, float]]:
    """A run's records without what a clock measured."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in record.items() if key not in {"seconds", "data wait"}} for record in records]


def test_an_interrupted_run_goes_on_bit_for_bit(judge_config, tmp_path, monkeypatch):
    """Fails if an optimizer's state, the average or a generator is not part of what is restored."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    training.train(judge_config, whole)
    original: Callable[..., Any] = Trainer.step

    def step(self: Any, number: int) -> Any:
        if number == 4:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return original(self, number)

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(KeyboardInterrupt):
        training.train(judge_config, parted)
    assert metrics(parted)[-1]["step"] == 4
    assert find_judge(parted) == parted / "judge"  # a stopped run is a judge
    assert Judge.load(find_judge(parted)).config.tokens == Judge.load(find_judge(whole)).config.tokens
    training.train(judge_config, parted)
    assert metrics(whole) == metrics(parted)
    first, second = (read_checkpoint(run / "checkpoints" / "step_00000006") for run in (whole, parted))
    for group, tensors in first.tensors.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, second.tensors[group][name]), f"{group} {name}"
    weights = "judge/diffusion_pytorch_model.safetensors"
    assert (whole / weights).read_bytes() == (parted / weights).read_bytes()


def test_a_run_folder_tells_what_happened(judge_config, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "judge", str(judge_config), "-o", str(run)]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(run / "judge")
    assert captured.err.startswith("reading the records of ")
    for phase in ("checking attributes: 0/", "reading validation clips: 0/", "validating: 0/"):
        assert f"\n{phase}" in captured.err
    assert captured.err.index("\ncalibrating: 0/") < captured.err.index("\nmeasuring accuracy: 0/")
    records = metrics(run)
    assert [r["step"] for r in records if "attributes" in r] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in records if {"kind", "setting", "calibration error"} <= set(r)] == [3, 6]
    assert "setting" in captured.err
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["step_00000003.png", "step_00000006.png"]
    judge = Judge.load(run / "judge")
    assert judge.config.temperature != 1.0
    assert judge.config.accuracy == {name: records[-1][name] for name in judge.config.accuracy}
    assert {"kind", "setting", "overall"} <= judge.config.accuracy.keys()
    assert judge.caption(list_clips(load_config(judge_config, JudgeTrainConfig).data)[0].read(), "zh") is not None


def test_logits_bar_what_cannot_stand_in_a_slot(judge_config):
    config = load_config(judge_config, JudgeTrainConfig)
    trainer, _ = trainer_of(config)
    clip = list_clips(config.data)[0]
    sentence = true_sentence(clip)
    logits, words = slot_logits(trainer.ema, clip.read(), sentence)
    assert [trainer.ema.vocabulary.tokens[word] for word in words] == [
        f"{s.attribute}:{v}" for s, v in sentence.items()
    ]
    assert torch.isfinite(logits.gather(1, words[:, None])).all()
    assert torch.isfinite(logits).sum(1).tolist() == [
        len(trainer.ema.vocabulary.choices[slot.attribute]) for slot in sentence
    ]


def test_logits_of_several_shots_are_those_of_each_alone(judge_config):
    """As in `Judge.read`, so that the temperature fits its readings; the cast is read from the whole clip."""
    config = load_config(judge_config, JudgeTrainConfig)
    trainer, _ = trainer_of(config)
    clip = next(clip for clip in list_clips(config.data) if clip.shots_alone() and len(shots_of(clip.read(), 2)) == 2)
    video, sentence = clip.read(), true_sentence(clip)
    logits, words = slot_logits(trainer.ema, video, sentence)
    assert [trainer.ema.vocabulary.tokens[word] for word in words] == [
        f"{s.attribute}:{v}" for s, v in sentence.items()
    ]
    (cut,) = strongest_cuts(video.frames, 1)
    first = [row for row, slot in enumerate(sentence) if slot.shot == 0]
    frames = video.frames.copy()
    frames[cut:] = 255 - frames[cut:]
    spoilt, _ = slot_logits(trainer.ema, Video(frames, video.fps), sentence)
    assert strongest_cuts(frames, 1) == [cut]
    assert torch.allclose(spoilt[first], logits[first])
    assert not torch.allclose(spoilt[-1], logits[-1])


def test_what_happens_counts_as_much_as_it_is_told_to(judge_config):
    """Fails when the weights aren't those of the words, or aren't taken."""
    config = load_config(judge_config, JudgeTrainConfig, ["action_weight=3"])
    trainer, batches = trainer_of(config)
    batch, vocabulary = batches.draw(step_generator(0, 1)), trainer.model.vocabulary
    weights = action_weights(vocabulary, 3.0)
    assert {vocabulary.tokens[k].partition(":")[0] for k in weights.gt(1).nonzero()} == {"motion", "partner", "camera"}
    memory = trainer.model.encoder(batch.pixels, batch.seconds)
    logits = trainer.model.decoder(batch.attributes[:, :-1].clamp_min(0), memory)
    told = batch.attributes[:, 1:]
    losses = -logits.log_softmax(-1).gather(-1, told.clamp_min(0)[..., None])[..., 0]
    counts = weights[told.clamp_min(0)] * (told >= 0)
    assert torch.isclose(
        word_loss(trainer.model, batch.attributes, memory, trainer.task.word_weights),
        (losses * counts).sum() / counts.sum(),
    )


def test_clips_are_decoded_once_while_there_is_room(judge_config, monkeypatch):
    """Fails when cached clips differ from the drawn ones, or nothing is cached."""
    decoded = []
    original = Reader.read
    monkeypatch.setattr(Reader, "read", lambda self, clip: decoded.append(clip.id) or original(self, clip))
    config = load_config(judge_config, JudgeTrainConfig)
    drawn = {}
    for room in (0.0, 4.0):
        _, batches = trainer_of(config.model_copy(update={"cache_gib": room}))
        decoded.clear()
        drawn[room] = [batches.draw(step_generator(0, step)) for step in range(8)]
        if room:
            assert len(decoded) == len(set(decoded)) <= 12
        else:
            assert len(decoded) == 8 * config.batch_clips
    for fresh, kept in zip(drawn[0.0], drawn[4.0], strict=True):
        assert torch.equal(fresh.pixels, kept.pixels)


def test_a_clip_of_two_shots_is_drawn_twice_as_often(judge_config):
    """Fails when clips of several shots, which are few, are drawn rarely, or pictures by shots that they don't show."""
    config = load_config(judge_config, JudgeTrainConfig)
    _, batches = trainer_of(config)
    drawn = [clip.id for pool in batches.by_shape.values() for clip in pool if clip.part is None]
    clips = list_clips(config.data)
    told = {clip.id: len(clip.attributes["shots"]) for clip in clips}
    images = {clip.id for clip in clips if clip.num_frames == 1}
    assert {k: drawn.count(k) for k in told} == {k: 1 if k in images else shots for k, shots in told.items()}
    assert max(told[k] for k in images) > 1
    assert max(told[k] for k in set(told) - images) > 1


def test_shots_are_learned_alone_too(judge_config):
    """Fails when another shot's frames, words or places are taken for a shot's."""
    config = load_config(judge_config, JudgeTrainConfig)
    whole = next(clip for clip in list_clips(config.data) if len(clip.cuts) == 1)
    where, (cut,) = actor_track(whole, np.arange(whole.num_frames)), whole.cuts
    assert replace(whole, storyboards={}).shots_alone() == []  # nobody told its shots
    alone = first, second = whole.shots_alone()
    assert [first.num_frames, second.num_frames] == [cut, whole.num_frames - cut]
    assert np.array_equal(np.concatenate([first.read().frames, second.read().frames]), whole.read().frames)
    assert second.read(max_frames=1).num_frames == 1
    with pytest.raises(DatasetError, match="1 shots and 1 cuts"):
        replace(whole, attributes=first.attributes).shots_alone()
    reader, missing = Reader(9, 0.5), replace(whole, path=whole.path.with_name("missing.mp4"))
    assert [reader.read(clip) for clip in (missing, *missing.shots_alone())] == [None] * 3
    assert len(reader.problems) == 1  # one file
    for number, clip in enumerate(alone):
        assert clip.captions == {
            k: [shot_prompts(told)[number] for told in ways] for k, ways in whole.storyboards.items()
        }
        sentence = true_sentence(clip)
        assert sentence[Slot("shots")] == "1"
        assert sentence[Slot("setting", None, 0)] == true_sentence(whole)[Slot("setting", None, number)]
        there = actor_track(clip, np.arange(1))
        assert there.shot.tolist() == [0]
        assert np.array_equal(there.place[0], where.place[cut * number])
    vocabulary = Judge(JudgeConfig(tokens=collect([]))).vocabulary
    batches = JudgeBatches([whole], config, vocabulary, Reader(1, 0.0))
    drawn = sorted(clip.id for pool in batches.by_shape.values() for clip in pool)
    assert drawn == sorted([whole.id] * 2 + [first.id, second.id])


def test_a_run_begins_with_another_judge(judge_config, tmp_path):
    """Fails when words are taken for others because the vocabularies differ, or weights aren't taken over."""
    config = load_config(judge_config, JudgeTrainConfig)
    other, _ = trainer_of(config)
    known = other.model.vocabulary.ids
    word = next(token for token in reversed(other.model.config.tokens) if token.isascii())
    begun = Judge(config.judge.model_copy(update={"tokens": collect([f"{word} quokka"])}))
    ids, before = begun.vocabulary.ids, begun.decoder.words.weight.detach().clone()
    assert ids[word] != known[word]
    load_compatible(begun, other.model)
    assert "quokka" not in known
    for token, number in ids.items():
        kept = other.model.decoder.words.weight[known[token]] if token in known else before[number]
        assert torch.equal(begun.decoder.words.weight[number], kept)
    for name, tensor in other.model.state_dict().items():
        if name != "decoder.words.weight":
            assert torch.equal(begun.state_dict()[name], tensor)


def test_a_run_goes_on_from_the_judge_that_its_config_names(judge_config, tmp_path):
    """With videos of another size and length, too: no weight depends on these."""
    other, _ = trainer_of(load_config(judge_config, JudgeTrainConfig))
    save_network(other.model, other.model.config, tmp_path / "other")
    overrides = [f"init={tmp_path / 'other'}", "learning_rate=1e-9", "ema_decay=0.0", "judge.short_side=24"]
    trained = training.train(judge_config, tmp_path / "run", [*overrides, "judge.max_frames=3", "steps=1"])
    begun = Judge.load(trained)
    for name, tensor in other.model.state_dict().items():
        if name != "decoder.words.weight":
            torch.testing.assert_close(begun.state_dict()[name], tensor, atol=2e-3, rtol=0)  # saved in half precision
    assert begun.config.short_side == 24


def test_a_judge_that_saw_changes_over_fewer_frames_can_be_gone_on_with(judge_config):
    """Fails when the new changes count from the start, or stand where others were."""
    other, _ = trainer_of(load_config(judge_config, JudgeTrainConfig, ["judge.lags=[1]"]))
    begun, batches = trainer_of(load_config(judge_config, JudgeTrainConfig, ["seed=5", "judge.lags=[1, 2]"]))
    load_compatible(begun.model, other.model)
    batch = batches.draw(step_generator(0, 0))
    before, after = (each.model.encoder(batch.pixels, batch.seconds) for each in (other, begun))
    torch.testing.assert_close(after, before)
    with pytest.raises(ModelError, match="has lags"):
        load_compatible(other.model, begun.model)


def test_what_tokens_show_is_learned_too(judge_config):
    """Fails when the loss on tokens doesn't reach the encoder, counts nothing, or its own layers aren't trained."""
    config = load_config(judge_config, JudgeTrainConfig, ["caption_weight=0", "learning_rate=0.02", "degraded=0"])
    (with_it, batches), (without, _) = (
        trainer_of(config.model_copy(update={"grounding_weight": weight})) for weight in (1.0, 0.0)
    )
    batch = next(b for k in range(99) if (b := batches.draw(step_generator(0, k))).pixels.shape[2] > 1)
    assert (batch.labels["presence"] == 1).any()
    silent = torch.cat([batch.attributes[:, :1], torch.full_like(batch.attributes[:, 1:], -1)], dim=1)
    silent[:, 1] = batch.attributes[:, 1]  # the style alone is asked for: the same for both
    batch = replace(batch, attributes=silent)
    losses = [train_step(trainer, 0, batch)["grounding"] for trainer in (with_it, without)]
    assert losses[0] == losses[1]
    weights = [trainer.model.encoder.blocks[0].mlp[0].weight for trainer in (with_it, without)]
    assert not torch.equal(*weights)
    later = [train_step(with_it, k, batch)["grounding"] for k in range(1, 30)]
    assert later[-1] < 0.5 * losses[0]


def test_more_data_is_trained_on_and_not_validated_with(judge_config, told_dataset, tmp_path):
    """Fails when further folders are left out, or clips of equal names are taken for each other."""
    more = shutil.copytree(told_dataset, tmp_path / "more")
    for path in sorted((more / "clips").glob("*.json"))[:-2]:
        path.unlink()
    config = load_config(judge_config, JudgeTrainConfig, [f'extra_data=["{more}"]', "num_validation=10"])
    training_clips, validation = training_and_validation(config)
    assert [clip.path.parent.parent for clip in training_clips] == [told_dataset] * 2 + [more] * 2
    assert {clip.path.parent.parent for clip in validation} == {told_dataset}
    reader = Reader(4, 0.0)
    batches = JudgeBatches(training_clips, config, Judge(JudgeConfig(tokens=collect([]))).vocabulary, reader)
    for k in range(40):
        batches.draw(step_generator(0, k))
    assert {path.parent.parent for path, *_ in batches.cache} == {told_dataset, more}


def test_a_judge_of_another_shape_to_begin_with_is_refused(judge_config, tmp_path):
    trainer, _ = trainer_of(load_config(judge_config, JudgeTrainConfig))
    save_network(trainer.model, trainer.model.config, tmp_path / "other")
    with pytest.raises(ModelError, match="has width 48, not 24"):
        training.train(judge_config, tmp_path / "run", [f"init={tmp_path / 'other'}", "judge.width=24"])
    assert not (tmp_path / "run").exists()


def test_a_mirrored_clip_shows_the_mirrored_words(judge_config):
    """Fails when pixels are mirrored and words are not, or columns are taken for rows."""
    config = load_config(judge_config, JudgeTrainConfig, ["degraded=0", "framed=0", "batch_clips=1"])
    trainer, batches = trainer_of(config.model_copy(update={"mirrored": 0.0}))
    mirrored = JudgeBatches(
        list_clips(config.data), config.model_copy(update={"mirrored": 1.0}), trainer.model.vocabulary, Reader(12, 0.0)
    )
    differing = 0
    for step in range(40):
        one, other = (each.draw(step_generator(0, step)) for each in (batches, mirrored))
        assert torch.equal(one.pixels.flip(4), other.pixels)
        words = [[trainer.model.vocabulary.tokens[k] for k in each.attributes[0]] for each in (one, other)]
        assert sorted(map(mirrored_words, words[0])) == sorted(words[1])
        differing += words[0] != words[1]
    assert differing


def test_the_mirror_knows_every_word_for_a_side() -> None:
    """Fails when the world learns a word with a side that the mirror doesn't turn, or a text is no longer a text."""
    for values in VALUES.values():
        assert {mirrored_words(value) for value in values} == set(values)
    assert mirrored_words("from left to right, bright, swaying left and right") == (
        "from right to left, bright, swaying left and right"
    )
    assert mirrored_words("从左向右滚动，左右摇摆") == "从右向左滚动，左右摇摆"
    scenes = [sample_scene(seed) for seed in range(40)]
    texts = [text for scene in scenes for texts in captions(scene, is_image=False).values() for text in texts]
    known = {word for text in texts for word in split(text)}
    for text in texts:
        assert mirrored_words(mirrored_words(text)) == text
        assert set(split(mirrored_words(text))) <= known
    sided = {word for word in known if "left" in word or "right" in word}
    assert sided == {"left", "right"}


def test_other_words_than_the_run_began_with_are_refused(judge_config):
    config = load_config(judge_config, JudgeTrainConfig)
    trainer, _ = trainer_of(config)
    clips = [replace(clip, captions={"en": ["only these words"]}, storyboards={}) for clip in list_clips(config.data)]
    with pytest.raises(DatasetError, match="have changed"):
        Trainer(JudgeTask(config, clips)).restore(trainer.checkpoint(1))


@pytest.mark.parametrize(("attributes", "said"), [(None, "no attributes"), ({"style": "plain"}, "not the world's")])
def test_clips_that_do_not_say_what_they_show_are_refused(told_dataset, tmp_path, judge_config, attributes, said):
    data = tmp_path / "data"
    (data / "clips").mkdir(parents=True)
    for path in (told_dataset / "clips").iterdir():
        (data / "clips" / path.name).write_bytes(path.read_bytes())
    record = data / "clips" / "000004.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"attributes": attributes}))
    with pytest.raises(DatasetError, match=f"clip 000004.*{said}"):
        training.train(judge_config, tmp_path / "run", [f"data={data}"])
    assert not (tmp_path / "run").exists()


def test_a_typo_in_the_config_is_an_error(judge_config, tmp_path):
    with pytest.raises(ConfigError, match="widht"):
        training.train(judge_config, tmp_path / "run", ["judge.widht=3"])
    with pytest.raises(ConfigError, match="not a multiple"):
        training.train(judge_config, tmp_path / "run", ["judge.num_heads=5"])


def test_degraded_videos_keep_their_colours() -> None:
    """Fails when a colour may pass for another: the hues of the world's palette lie much further apart."""
    colours = torch.tensor([[0.8, -0.7, -0.7], [-0.6, -0.3, 0.8], [0.9, 0.8, -0.6], [0.9, 0.2, -0.8]])
    pixels = colours[:, :, None, None, None].expand(-1, -1, 5, 16, 16).contiguous()
    assert torch.equal(degrade(pixels, 0.0, step_generator(0, 0)), pixels)
    for step in range(20):
        seen = degrade(pixels, 1.0, step_generator(0, step))
        assert torch.equal(seen, degrade(pixels, 1.0, step_generator(0, step)))
        assert seen.abs().max() <= 1
        distance = (seen.mean(dim=(2, 3, 4))[:, None] - colours).norm(dim=2)
        assert distance.argmin(dim=1).tolist() == [0, 1, 2, 3]
        assert 1e-3 < (seen - pixels).abs().mean() < 0.3


def test_each_degradation_does_what_it_says() -> None:
    clip = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 4, 16, 16)).astype(np.float32))
    assert blurred(clip, 1.0).var() < 0.3 * clip.var()
    torch.testing.assert_close(blurred(torch.ones_like(clip), 1.0), torch.ones_like(clip))
    torch.testing.assert_close(block_coded(clip, 1e-5), clip, atol=1e-3, rtol=0)
    assert 0.01 < (block_coded(clip, 0.1) - clip).abs().mean() < 0.5
    torch.testing.assert_close(smeared(clip, 0.4)[:, 1], 0.6 * clip[:, 1] + 0.4 * clip[:, 0])
    torch.testing.assert_close(smeared(clip, 0.4)[:, 0], clip[:, 0])
