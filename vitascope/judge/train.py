"""Training of the judge: `vitascope train judge CONFIG`."""

from __future__ import annotations

import copy
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, UInt8
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vitascope.config import load_config
from vitascope.data.clips import Clip, Reader, list_clips, split_validation
from vitascope.errors import DatasetError, ModelError
from vitascope.hub.weights import save_network
from vitascope.judge.calibration import expected_calibration_error, fit_temperature, reliability, reliability_picture
from vitascope.judge.degrade import degrade
from vitascope.judge.framing import WHOLE, Window, draw_window, framed
from vitascope.judge.grounding import Labels, Pointer, Whereabouts, labels, whereabouts
from vitascope.judge.mirror import mirrored_attributes, mirrored_words
from vitascope.judge.network import CELL, Judge, JudgeConfig, look, shots_of, sight_frames, sight_size, to_signal
from vitascope.judge.scoring import Verdict, accuracy, verdicts
from vitascope.judge.sentence import Sentence, Slot, describe
from vitascope.judge.vocabulary import Vocabulary, collect
from vitascope.train.optimizer import descend, load_optimizer_tensors, make_optimizers, optimizer_tensors
from vitascope.train.run import Checkpoint, Run, RunConfig, step_generator, update_ema
from vitascope.video import Video, write_video
from vitascope.worlds.language import LANGUAGES

MAX_DRAWS = 1000  # of clips in a row for one batch, all of which can't be read
PADDING = -1
HAPPENING = ("motion", "partner", "camera")  # attributes whose words say what happens
NO_SHAPE = {"tokens", "temperature", "accuracy", "short_side", "max_frames"}  # of a judge's config


class JudgeTrainConfig(RunConfig):
    """A judge's training run.

    `more_data` are further folders of clips, none of which are kept for validation. `init` is the folder of a judge to
    begin with, of the same shape; its captions may have other words, and its changes fewer lags. Clips are kept in
    memory as the judge sees them, decoded once, up to `cache_gib`. `degraded` is the share that it sees as if recorded
    or generated, `mirrored` that in the mirror, `framed` that in another framing. The losses on captions and on what
    each token shows count `caption_weight` and `pointing_weight` times as much as that on attributes. In that, words
    for what happens (motion, partner, camera) count `happening_weight` times as much as others.
    """

    more_data: tuple[str, ...] = ()
    init: str = ""
    batch_clips: int = Field(default=16, ge=1, le=1024)
    degraded: float = Field(default=0.7, ge=0, le=1)
    mirrored: float = Field(default=0.5, ge=0, le=1)
    framed: float = Field(default=0.5, ge=0, le=1)
    cache_gib: float = Field(default=4.0, ge=0)
    caption_weight: float = Field(default=0.5, ge=0)
    pointing_weight: float = Field(default=1.0, ge=0)
    happening_weight: float = Field(default=1.0, ge=0)
    judge: JudgeConfig = JudgeConfig()


class Seen(NamedTuple):
    """A clip at the judge's size, the second of each of its frames, and where everybody is."""

    frames: UInt8[np.ndarray, "t h w 3"]
    seconds: Float32[np.ndarray, " t"]
    where: Whereabouts | None


@dataclass(frozen=True)
class Batch:
    """Videos, and for each its attribute sentence and a caption, which end in padding, and what its tokens show."""

    pixels: Float[Tensor, "b 3 t h w"]
    seconds: Float[Tensor, "b t"]
    attributes: Int64[Tensor, "b l"]
    captions: Int64[Tensor, "b m"]
    labels: Labels


class JudgeBatches:
    """Batches of videos that the judge sees at one size and length, drawn with a generator.

    A clip is drawn as often as it has shots, since each of them is as much to read as a clip of one; and so is each of
    several shots alone, since that is how the judge reads what happens in them.
    """

    def __init__(self, clips: Sequence[Clip], config: JudgeTrainConfig, vocabulary: Vocabulary, reader: Reader):
        self.config, self.vocabulary, self.reader = config, vocabulary, reader
        self.by_shape: dict[tuple[int, int, int], list[Clip]] = defaultdict(list)
        for clip in clips:
            size = sight_size(clip.height, clip.width, config.judge.short_side)
            for each in [clip] * _num_shots(clip) + clip.shots_alone():
                self.by_shape[min(each.num_frames, config.judge.max_frames), *size].append(each)
        self.shapes = sorted(self.by_shape)
        self.seen: dict[tuple[Path, str, tuple[int, int] | None], Seen] = {}
        self.room = int(config.cache_gib * 2**30)
        self.shares = torch.tensor([len(self.by_shape[shape]) for shape in self.shapes], dtype=torch.float64)

    def draw(self, generator: torch.Generator) -> Batch:
        """A batch of one shape.

        Raises:
            DatasetError: too many clips that can't be read, or whose attributes aren't the world's.
        """
        pool = self.by_shape[self.shapes[int(torch.multinomial(self.shares, 1, generator=generator))]]
        signals, seconds, attributes, captions, shown = [], [], [], [], []
        for _ in range(MAX_DRAWS):
            clip = pool[_below(len(pool), generator)]
            seen = self._look(clip)
            if seen is not None:
                mirrored = _happens(self.config.mirrored, generator)
                window = draw_window(generator) if _happens(self.config.framed, generator) else WHOLE
                signal = to_signal(seen.frames[None])[0]
                signal = signal.flip(-1) if mirrored else signal
                signals.append(signal if window == WHOLE else framed(signal, window))
                seconds.append(seen.seconds)
                sentence = true_sentence(clip, mirrored=mirrored)
                attributes.append(torch.tensor(self.vocabulary.encode_sentence(sentence)))
                captions.append(self._caption(clip, generator, mirrored=mirrored))
                shown.append(self._labels(clip, seen, window, mirrored=mirrored))
            if len(signals) == self.config.batch_clips:
                break
        if not signals:
            raise DatasetError(f"none of {MAX_DRAWS} clips of one shape in a row can be read; {self.reader}")
        pixels = degrade(torch.stack(signals), self.config.degraded, generator)
        told, written = (pad_sequence(each, batch_first=True, padding_value=PADDING) for each in (attributes, captions))
        shows = {name: torch.stack([each[name] for each in shown]) for name in shown[0]}
        return Batch(pixels, torch.from_numpy(np.stack(seconds)), told, written, shows)

    def _look(self, clip: Clip) -> Seen | None:
        """The clip as the judge sees it, from memory if it has been seen before; None if it can't be read."""
        key = clip.path, clip.id, clip.part
        if key in self.seen:
            return self.seen[key]
        video = self.reader.read(clip)
        if video is None:
            return None
        judge = self.config.judge
        seen = Seen(*look(video, judge), whereabouts(clip, sight_frames(video.num_frames, judge.max_frames)))
        if seen.frames.nbytes <= self.room:
            self.room -= seen.frames.nbytes
            self.seen[key] = seen
        return seen

    def _labels(self, clip: Clip, seen: Seen, window: Window, *, mirrored: bool) -> Labels:
        """What each token of the clip shows, as it is framed."""
        attributes, where = clip.attributes, seen.where
        assert attributes is not None, "true_sentence has refused such clips"
        if mirrored:
            attributes = mirrored_attributes(attributes)
            where = None if where is None else where.mirrored()
        where = None if where is None else where.framed(window)
        num_frames, height, width = seen.frames.shape[:3]
        return labels(attributes, where, num_frames, height, width, CELL * self.config.judge.token_cells)

    def _caption(self, clip: Clip, generator: torch.Generator, *, mirrored: bool) -> Int64[Tensor, " m"]:
        """One of the clip's captions, cut to what the judge can write."""
        languages = [language for language in LANGUAGES if clip.captions.get(language)]
        if not languages:
            raise DatasetError(f"clip {clip.id} has no caption in {' or '.join(LANGUAGES)}")
        language = languages[_below(len(languages), generator)]
        texts = clip.captions[language]
        text = texts[_below(len(texts), generator)]
        words = self.vocabulary.encode_caption(mirrored_words(text) if mirrored else text, language)
        return torch.tensor(words[: self.config.judge.max_words])


class JudgeTrainer:
    """The network of a judge's run, and one step of it."""

    def __init__(self, config: JudgeTrainConfig, tokens: Sequence[str]):
        self.config = config
        torch.manual_seed(config.seed)  # initial weights; every later draw has a generator of its own
        self.model = Judge(config.judge.model_copy(update={"tokens": tuple(tokens)}))
        self.pointer = Pointer(config.judge.width)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.trained = nn.ModuleList([self.model, self.pointer])
        self.word_weights = happening_weights(self.model.vocabulary, config.happening_weight)
        self.optimizers = make_optimizers(
            self.trained, config.learning_rate, _is_hidden, getattr(torch, config.precision)
        )

    def begin_with(self, other: Judge) -> None:
        """Take the weights of another judge; words that it doesn't know keep their own.

        Raises:
            ModelError: a judge of another shape.
        """
        for network in (self.model, self.ema):
            begin_with(network, other)

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """Train on one batch; the mean loss of a word and of a label, in nats."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            memory = self.model.encoder(batch.pixels, batch.seconds)
            attributes = word_loss(self.model, batch.attributes, memory, self.word_weights)
            captions = word_loss(self.model, batch.captions, memory)
            pointing = self.pointer(memory, batch.labels)
        loss = attributes + self.config.caption_weight * captions + self.config.pointing_weight * pointing
        norm = descend(loss, self.trained, self.optimizers, self.config.rate(step), step)
        update_ema(self.ema, self.model, self.config.ema_decay, step)
        losses = {"attributes": attributes, "captions": captions, "pointing": pointing}
        return {**{name: value.item() for name, value in losses.items()}, "gradient": norm}

    def checkpoint(self, step: int) -> Checkpoint:
        """All that resuming needs."""
        networks = {"model": self.model, "pointer": self.pointer, "ema": self.ema}
        tensors = {name: network.state_dict() for name, network in networks.items()}
        tensors |= {f"optimizer_{i}": optimizer_tensors(optimizer) for i, optimizer in enumerate(self.optimizers)}
        return Checkpoint(step, tensors, {"tokens": list(self.model.config.tokens)})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint's state.

        Raises:
            DatasetError: the dataset's captions have other words now than when the run began.
        """
        if tuple(checkpoint.state["tokens"]) != self.model.config.tokens:
            raise DatasetError(f"the captions of {self.config.data} have changed since this run began; begin another")
        self.model.load_state_dict(checkpoint.tensors["model"])
        self.pointer.load_state_dict(checkpoint.tensors["pointer"])
        self.ema.load_state_dict(checkpoint.tensors["ema"])
        for i, optimizer in enumerate(self.optimizers):
            load_optimizer_tensors(optimizer, checkpoint.tensors[f"optimizer_{i}"])


def train(config_path: str | Path, out: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Train a judge, or go on training it; the folder of the finished network.

    Raises:
        ConfigError: a config that can't be used, or a run folder made with another one.
        DatasetError: no clips, too few, or clips without the world's attributes.
        ModelError: a judge to begin with that can't be read, or is of another shape.
    """
    config = load_config(config_path, JudgeTrainConfig, overrides)
    clips, validation = training_and_validation(config)
    for clip in (*clips, *validation):
        true_sentence(clip)  # refuses what can't be learned before anything is made
    told = (each.captions for clip in clips for each in (clip, *clip.shots_alone()))
    tokens = collect(text for captions in told for texts in captions.values() for text in texts)
    trainer = JudgeTrainer(config, tokens)
    if config.init:
        trainer.begin_with(Judge.load(config.init))
    run = Run(out, config)
    reader = Reader(len(clips) + len(validation), config.max_bad_share)
    batches, first_step = JudgeBatches(clips, config, trainer.model.vocabulary, reader), 0
    checkpoint = run.resume()
    if checkpoint is not None:
        trainer.restore(checkpoint)
        first_step = checkpoint.step

    def step(number: int) -> dict[str, float]:
        began = time.monotonic()
        figures = trainer.step(number, batches.draw(step_generator(config.seed, number)))
        return {**figures, "seconds": time.monotonic() - began}

    def known() -> list[tuple[Video, Sentence]]:
        videos = ((reader.read(clip), true_sentence(clip)) for clip in validation)
        return [(video, sentence) for video, sentence in videos if video is not None]

    run.train(
        first_step,
        step=step,
        validate=lambda picture: validate(trainer.ema, known(), picture),
        checkpoint=trainer.checkpoint,
    )
    folder = finish(trainer.ema, known(), run.folder / "judge")
    if reader.problems:
        print(f"left out: {reader}", file=sys.stderr)
    return folder


def training_and_validation(config: JudgeTrainConfig) -> tuple[list[Clip], list[Clip]]:
    """The clips to train on, of all folders, and those kept from it, of the first."""
    clips, validation = split_validation(list_clips(config.data), config.num_validation)
    return clips + [clip for folder in config.more_data for clip in list_clips(folder)], validation


@torch.no_grad()
def begin_with(judge: Judge, other: Judge) -> None:
    """Give a judge the weights of another; words that the other doesn't know keep their own.

    Raises:
        ModelError: a judge of another shape. How large and how long videos are to it says nothing of its weights, and
            it may see changes over fewer lags.
    """
    shapes = [each.config.model_dump(exclude=NO_SHAPE) for each in (other, judge)]
    shared = len(other.config.lags)
    if judge.config.lags[:shared] == other.config.lags:  # what else is new counts nothing at first
        del shapes[0]["lags"], shapes[1]["lags"]
    differing = ", ".join(
        f"{key} {value}, not {shapes[1][key]}" for key, value in shapes[0].items() if value != shapes[1][key]
    )
    if differing:
        raise ModelError(f"the judge to begin with has {differing}: give the run's [judge] the same, or leave init out")
    tensors, mine = other.state_dict(), judge.decoder.words.weight.clone()
    seen = tensors["encoder.stem.0.weight"]
    tensors["encoder.stem.0.weight"] = F.pad(seen, (0, 0, 0, 0, 0, 3 * (len(judge.config.lags) - shared)))
    for number, token in enumerate(judge.config.tokens):
        if token in other.vocabulary.ids:
            mine[number] = tensors["decoder.words.weight"][other.vocabulary.ids[token]]
    judge.load_state_dict({**tensors, "decoder.words.weight": mine})


def validate(judge: Judge, known: Sequence[tuple[Video, Sentence]], picture: Path) -> dict[str, float]:
    """Accuracy of each attribute on videos kept from training, and the error of its confidence, with a picture."""
    found = examine(judge, known)
    sure = [verdict for verdict in found if verdict.confidence is not None]
    bins = reliability([verdict.confidence or 0.0 for verdict in sure], [verdict.right for verdict in sure])
    write_video(reliability_picture(bins), picture)
    return {**accuracy(found), "calibration error": expected_calibration_error(bins)}


def examine(judge: Judge, known: Sequence[tuple[Video, Sentence]]) -> list[Verdict]:
    """What the judge reads of videos, against what they show."""
    found = []
    for video, sentence in known:
        reading = judge.read(video)
        found += verdicts(sentence, reading.sentence, reading.confidence)
    return found


def finish(judge: Judge, known: Sequence[tuple[Video, Sentence]], folder: Path) -> Path:
    """Save the judge with what videos kept from training tell: its temperature, and its accuracy."""
    logits, targets = zip(*(slot_logits(judge, video, sentence) for video, sentence in known), strict=True)
    temperature = fit_temperature(torch.cat(logits), torch.cat(targets))
    told = {"temperature": temperature, "accuracy": accuracy(examine(judge, known))}
    save_network(judge, judge.config.model_copy(update=told), folder)
    return folder


@torch.inference_mode()
def slot_logits(
    judge: Judge, video: Video, sentence: Sentence
) -> tuple[Float[Tensor, "slots v"], Int64[Tensor, " slots"]]:
    """The logits of each word of a true sentence given those before it, -inf for what can't stand there; the words.

    As `Judge.read` does it: what happens in each of several shots is told by that shot alone.
    """
    parts = shots_of(video, int(sentence[Slot("shots")]))
    if len(parts) == 1:
        return _logits_and_words(judge, video, sentence)
    cast = {slot: value for slot, value in sentence.items() if slot.shot is None}
    told = [_logits_and_words(judge, video, cast)]
    for number, part in enumerate(parts):
        acts = {slot._replace(shot=0): value for slot, value in sentence.items() if slot.shot == number}
        logits, words = _logits_and_words(judge, part, {**cast, Slot("shots"): "1", **acts})
        told.append((logits[len(cast) :], words[len(cast) :]))
    logits, words = zip(*told, strict=True)
    return torch.cat(logits), torch.cat(words)


def _logits_and_words(judge: Judge, video: Video, sentence: Sentence) -> tuple[Tensor, Tensor]:
    words = torch.tensor(judge.vocabulary.encode_sentence(sentence))
    logits = judge.attribute_logits(words, judge.remember(video))[: len(sentence)]
    barred = torch.full_like(logits, float("-inf"))
    for row, slot in enumerate(sentence):
        barred[row, judge.vocabulary.choices[slot.attribute]] = 0
    return logits + barred, words[1 : len(sentence) + 1]


def happening_weights(vocabulary: Vocabulary, weight: float) -> Float[Tensor, " v"]:
    """What each word of the vocabulary counts in the loss: `weight` those that say what happens, 1 the others."""
    weights = torch.ones(len(vocabulary))
    for attribute in HAPPENING:
        weights[vocabulary.choices[attribute]] = weight
    return weights


def word_loss(
    judge: Judge,
    words: Int64[Tensor, "b l"],
    memory: Float[Tensor, "b n d"],
    weights: Float[Tensor, " v"] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the words after the mark, padding left out; weighted by what each word counts."""
    logits = judge.decoder(words[:, :-1].clamp_min(0), memory)
    return F.cross_entropy(logits.float().flatten(0, 1), words[:, 1:].flatten(), weights, ignore_index=PADDING)


def true_sentence(clip: Clip, *, mirrored: bool = False) -> Sentence:
    """What a clip shows, or its mirror image, by its record.

    Raises:
        DatasetError: a record that doesn't say it, or not in the world's words.
    """
    if clip.attributes is None:
        raise DatasetError(f"clip {clip.id} has no attributes: the judge learns from what `vitascope render` makes")
    attributes = mirrored_attributes(clip.attributes) if mirrored else clip.attributes
    try:
        return describe(attributes, is_image=clip.num_frames == 1)
    except DatasetError as error:
        raise DatasetError(f"clip {clip.id}: {error}") from None


def _num_shots(clip: Clip) -> int:
    """How many of them there are to see: a picture shows one."""
    return int(true_sentence(clip)[Slot("shots")])


def _happens(share: float, generator: torch.Generator) -> bool:
    return torch.rand((), generator=generator).item() < share


def _below(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (1,), generator=generator))


def _is_hidden(name: str) -> bool:
    if "stem" in name:  # its own layers make features of pixels; those of its blocks are hidden
        return "inwards" in name or "outwards" in name
    return not any(edge in name for edge in ("to_token", "words", "positions", "of_tokens", "of_moments"))
