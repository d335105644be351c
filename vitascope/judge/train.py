"""Training of the judge: `vitascope train judge CONFIG`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vitascope.config import load_config
from vitascope.data.clips import Clip, Reader
from vitascope.errors import DatasetError
from vitascope.hub.registry import find_part
from vitascope.hub.weights import save_network
from vitascope.judge.batches import PADDING, JudgeBatch, JudgeBatches, true_sentence
from vitascope.judge.calibration import (
    LabelledVideo,
    examine,
    expected_calibration_error,
    fit_temperature,
    reliability,
    reliability_picture,
    slot_logits,
)
from vitascope.judge.grounding import GroundingHead
from vitascope.judge.network import Judge, load_compatible
from vitascope.judge.scoring import accuracy
from vitascope.judge.train_config import JudgeTrainConfig
from vitascope.judge.vocabulary import Vocabulary, collect
from vitascope.progress import with_progress
from vitascope.train.loop import Figures, Loss, Trainer
from vitascope.train.run import Compute, read_dataset, seeded
from vitascope.video import write_video

ACTIONS = ("motion", "partner", "camera")  # attributes whose words have the weight `action_weight`
CALIBRATION = "calibration error"


class JudgeTask:
    """Training of a judge, for `Trainer`.

    Raises:
        DatasetError: clips without the world's attributes.
        ModelError: an `init` that can't be read, or has another shape.
    """

    name = "judge"
    adversary = None

    def __init__(self, config: JudgeTrainConfig, clips: Sequence[Clip], validation: Sequence[Clip] = ()):
        self.config, self.compute = config, Compute.of(config)
        self.clips, self.validation = clips, validation
        self.reader = Reader(len(clips) + len(validation), config.max_bad_share)
        tokens = collect_tokens([*clips], [*validation])
        with seeded(config.seed):
            self.model = Judge(config.judge.model_copy(update={"tokens": tokens}))
            self.head = GroundingHead(config.judge.width)
        if config.init:
            load_compatible(self.model, Judge.load(find_part(config.init, "judge")))
        self.networks: dict[str, nn.Module] = {"model": self.model, "grounding_head": self.head}
        self.word_weights = action_weights(self.model.vocabulary, config.action_weight).to(self.compute.device)
        self.accuracy: Figures = {}  # on the validation clips, as last measured

    def is_hidden(self, name: str) -> bool:
        """True if a parameter belongs to a hidden layer: those of the stem's blocks do, the stem's own layers don't."""
        if "stem" in name:
            return "inwards" in name or "outwards" in name
        return not any(edge in name for edge in ("to_token", "words", "positions", "grounding_head"))

    def prepare(self) -> None:
        """Sort the clips by shape."""
        self.batches = JudgeBatches(self.clips, self.config, self.model.vocabulary, self.reader)

    def start(self) -> None:
        """Do nothing: no initial weight depends on data."""

    def batch(self, generator: torch.Generator) -> JudgeBatch:
        """Next batch, drawn with the generator."""
        return self.batches.draw(generator)

    def loss(self, batch: JudgeBatch, step: int, generator: torch.Generator) -> Loss:
        """Weighted sum of the losses on attributes, captions and labels, which are the figures, in nats."""
        config = self.config
        with self.compute.autocast():
            memory = self.model.encoder(batch.pixels, batch.seconds)
            attributes = word_loss(self.model, batch.attributes, memory, self.word_weights)
            captions = word_loss(self.model, batch.captions, memory)
            grounding = self.head(memory, batch.labels, batch.known)
        total = attributes + config.caption_weight * captions + config.grounding_weight * grounding
        losses = {"attributes": attributes, "captions": captions, "grounding": grounding}
        values = {name: value.detach() for name, value in losses.items()}
        return Loss(total, lambda: {name: value.item() for name, value in values.items()}, weight=len(batch.pixels))

    def validate(self, ema: nn.Module, picture: Path) -> Figures:
        """Accuracy of each attribute, and calibration error with its picture, on the validation clips."""
        assert isinstance(ema, Judge)
        scores = validate(ema, self._labelled(), picture)
        self.accuracy = {name: value for name, value in scores.items() if name != CALIBRATION}
        return scores

    def export(self, ema: nn.Module, run: Path, step: int) -> Path:
        """Write the judge to run/judge.

        The last step fits its temperature and measures its accuracy; earlier ones write the accuracy known so far.
        """
        assert isinstance(ema, Judge)
        folder = run / "judge"
        if step < self.config.steps:
            save_network(ema, ema.config.model_copy(update={"accuracy": self.accuracy}), folder)
            return folder
        return finish(ema, self._labelled(), folder)

    def state(self) -> dict[str, Any]:
        """The vocabulary, which follows from the dataset's captions, and the last accuracy."""
        return {"tokens": list(self.model.config.tokens), "accuracy": self.accuracy}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Check the vocabulary.

        Raises:
            DatasetError: the captions have other words than when the run started.
        """
        if tuple(state["tokens"]) != self.model.config.tokens:
            raise DatasetError(f"the captions of {self.config.data} have changed since this run started; start another")
        self.accuracy = dict(state["accuracy"])

    def _labelled(self) -> list[LabelledVideo]:
        """Validation videos with their sentences; unreadable ones are left out."""
        clips = with_progress("reading validation clips", self.validation, at_once=True)
        read = ((self.reader.read(clip), true_sentence(clip)) for clip in clips)
        return [(video, sentence) for video, sentence in read if video is not None]


def train(config_path: str | Path, out: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Folder of a trained judge. Continues the run in `out` if there is one.

    Raises:
        ConfigError: an invalid config, or the run folder belongs to another one.
        DatasetError: no clips, too few, or clips without the world's attributes.
        DeviceError: a device that this machine doesn't have.
        ModelError: an `init` that can't be read, or has another shape.
    """
    config = load_config(config_path, JudgeTrainConfig, overrides)
    Compute.of(config)  # refuses a device that isn't there, before any data is read
    task = JudgeTask(config, *training_and_validation(config))
    folder = Trainer(task).run(out)
    if task.reader.problems:
        print(f"left out: {task.reader}", file=sys.stderr)
    return folder


def training_and_validation(config: JudgeTrainConfig) -> tuple[list[Clip], list[Clip]]:
    """(training, validation): clips of all folders; validation clips are from the first, their scenes from no other."""
    clips, validation = read_dataset(config.data, config.num_validation)
    held_out = {clip.source for clip in validation if clip.source}
    extra = [clip for folder in config.extra_data for clip in read_dataset(folder)[0] if clip.source not in held_out]
    return clips + extra, validation


def collect_tokens(clips: Sequence[Clip], validation: Sequence[Clip]) -> tuple[str, ...]:
    """Vocabulary of the training clips' captions.

    Raises:
        DatasetError: a training or validation clip without the world's attributes.
    """
    for clip in with_progress("checking attributes", [*clips, *validation], at_once=True):
        true_sentence(clip)
    captions = (each.captions for clip in clips for each in (clip, *clip.shots_alone()))
    return collect(text for by_language in captions for texts in by_language.values() for text in texts)


def validate(judge: Judge, labelled: Sequence[LabelledVideo], picture: Path) -> Figures:
    """Accuracy of each attribute and calibration error. Writes a picture of the calibration."""
    found = examine(judge, with_progress("validating", labelled, at_once=True))
    sure = [verdict for verdict in found if verdict.confidence is not None]
    bins = reliability([verdict.confidence or 0.0 for verdict in sure], [verdict.right for verdict in sure])
    write_video(reliability_picture(bins), picture)
    return {**accuracy(found), CALIBRATION: expected_calibration_error(bins)}


def finish(judge: Judge, labelled: Sequence[LabelledVideo], folder: Path) -> Path:
    """Save a judge with the temperature and accuracy that it has on labelled videos."""
    shown = with_progress("calibrating", labelled, at_once=True)
    logits, targets = zip(*(slot_logits(judge, video, sentence) for video, sentence in shown), strict=True)
    temperature = fit_temperature(torch.cat(logits), torch.cat(targets))
    found = examine(judge, with_progress("measuring accuracy", labelled, at_once=True))
    measured = {"temperature": temperature, "accuracy": accuracy(found)}
    save_network(judge, judge.config.model_copy(update=measured), folder)
    return folder


def action_weights(vocabulary: Vocabulary, weight: float) -> Float[Tensor, " v"]:
    """Loss weight of each word: `weight` for motion, partner and camera, otherwise 1."""
    weights = torch.ones(len(vocabulary))
    for attribute in ACTIONS:
        weights[vocabulary.choices[attribute]] = weight
    return weights


def word_loss(
    judge: Judge,
    words: Int64[Tensor, "b l"],
    memory: Float[Tensor, "b n d"],
    weights: Float[Tensor, " v"] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the words after the mark, without padding, weighted by word."""
    logits = judge.decoder(words[:, :-1].clamp_min(0), memory)
    return F.cross_entropy(logits.float().flatten(0, 1), words[:, 1:].flatten(), weights, ignore_index=PADDING)
