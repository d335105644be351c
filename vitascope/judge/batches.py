"""Batches that the judge is trained on: preprocessed clips with their attribute sentences, captions and labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vitascope.data.clips import Clip, Reader
from vitascope.errors import DatasetError
from vitascope.judge.augment import WHOLE, Window, degrade, draw_window, framed
from vitascope.judge.grounding import ActorTrack, Labels, actor_track, known_kinds, labels
from vitascope.judge.mirror import mirrored_attributes, mirrored_words
from vitascope.judge.network import CELL, input_frames, input_size, preprocess, to_signal
from vitascope.judge.sentence import Sentence, Slot, describe
from vitascope.judge.train_config import JudgeTrainConfig
from vitascope.judge.vocabulary import Vocabulary
from vitascope.worlds.language import LANGUAGES

MAX_DRAWS = 1000  # attempts to read clips for one batch
PADDING = -1


class Preprocessed(NamedTuple):
    """A clip at the judge's size, the time of each frame in seconds, and the actors' positions."""

    frames: UInt8[np.ndarray, "t h w 3"]
    seconds: Float32[np.ndarray, " t"]
    track: ActorTrack | None


@dataclass(frozen=True)
class JudgeBatch:
    """Videos with an attribute sentence, a caption and token labels for each. Sentences are padded with PADDING."""

    pixels: Float[Tensor, "b 3 t h w"]
    seconds: Float[Tensor, "b t"]
    attributes: Int64[Tensor, "b l"]
    captions: Int64[Tensor, "b m"]
    labels: Labels
    known: tuple[str, ...]  # kinds of labels with at least one known label, counted on the CPU
    ids: tuple[str, ...] = ()


class JudgeBatches:
    """Draws batches of clips of one size and length.

    A clip is drawn once per shot, since each shot has the information of a clip of one shot. Each of several shots is
    also drawn alone, since the judge reads actions from single shots.
    """

    def __init__(self, clips: Sequence[Clip], config: JudgeTrainConfig, vocabulary: Vocabulary, reader: Reader):
        self.config, self.vocabulary, self.reader = config, vocabulary, reader
        self.by_shape: dict[tuple[int, int, int], list[Clip]] = defaultdict(list)
        for clip in clips:
            size = input_size(clip.height, clip.width, config.judge.short_side)
            for each in [clip] * _num_shots(clip) + clip.shots_alone():
                self.by_shape[min(each.num_frames, config.judge.max_frames), *size].append(each)
        self.shapes = sorted(self.by_shape)
        self.cache: dict[tuple[Path, str, tuple[int, int] | None], Preprocessed] = {}
        self.free_bytes = int(config.cache_gib * 2**30)
        self.shares = torch.tensor([len(self.by_shape[shape]) for shape in self.shapes], dtype=torch.float64)

    def draw(self, generator: torch.Generator) -> JudgeBatch:
        """Batch of clips of one shape.

        Raises:
            DatasetError: too many unreadable clips, or attributes that aren't the world's.
        """
        pool = self.by_shape[self.shapes[int(torch.multinomial(self.shares, 1, generator=generator))]]
        signals, seconds, attributes, captions, shown, ids = [], [], [], [], [], []
        for _ in range(MAX_DRAWS):
            clip = pool[_below(len(pool), generator)]
            read = self._preprocessed(clip)
            if read is not None:
                mirrored = _happens(self.config.mirrored, generator)
                window = draw_window(generator) if _happens(self.config.framed, generator) else WHOLE
                signal = to_signal(read.frames[None])[0]
                signal = signal.flip(-1) if mirrored else signal
                signals.append(signal if window == WHOLE else framed(signal, window))
                seconds.append(read.seconds)
                sentence = true_sentence(clip, mirrored=mirrored)
                attributes.append(torch.tensor(self.vocabulary.encode_sentence(sentence)))
                captions.append(self._caption(clip, generator, mirrored=mirrored))
                shown.append(self._labels(clip, read, window, mirrored=mirrored))
                ids.append(clip.id)
            if len(signals) == self.config.batch_clips:
                break
        if not signals:
            raise DatasetError(f"{MAX_DRAWS} clips of one shape in a row are unreadable; {self.reader}")
        pixels = degrade(torch.stack(signals), self.config.degraded, generator)
        sentences, texts = (
            pad_sequence(each, batch_first=True, padding_value=PADDING) for each in (attributes, captions)
        )
        stacked = {name: torch.stack([each[name] for each in shown]) for name in shown[0]}
        times = torch.from_numpy(np.stack(seconds))
        return JudgeBatch(pixels, times, sentences, texts, stacked, known_kinds(stacked), tuple(ids))

    def _preprocessed(self, clip: Clip) -> Preprocessed | None:
        """The clip as the judge sees it, from the cache if it is there; None for an unreadable clip."""
        key = clip.path, clip.id, clip.part
        if key in self.cache:
            return self.cache[key]
        video = self.reader.read(clip)
        if video is None:
            return None
        judge = self.config.judge
        track = actor_track(clip, input_frames(video.num_frames, judge.max_frames))
        read = Preprocessed(*preprocess(video, judge), track)
        if read.frames.nbytes <= self.free_bytes:
            self.free_bytes -= read.frames.nbytes
            self.cache[key] = read
        return read

    def _labels(self, clip: Clip, read: Preprocessed, window: Window, *, mirrored: bool) -> Labels:
        """Labels of the clip's tokens after mirroring and framing."""
        attributes, track = clip.attributes, read.track
        assert attributes is not None, "true_sentence refuses clips without attributes"
        if mirrored:
            attributes = mirrored_attributes(attributes)
            track = None if track is None else track.mirrored()
        track = None if track is None else track.framed(window)
        num_frames, height, width = read.frames.shape[:3]
        return labels(attributes, track, num_frames, height, width, CELL * self.config.judge.token_cells)

    def _caption(self, clip: Clip, generator: torch.Generator, *, mirrored: bool) -> Int64[Tensor, " m"]:
        """One of the clip's captions, cut to the judge's longest sentence."""
        languages = [language for language in LANGUAGES if clip.captions.get(language)]
        if not languages:
            raise DatasetError(f"clip {clip.id} has no caption in {' or '.join(LANGUAGES)}: add one, or leave it out")
        language = languages[_below(len(languages), generator)]
        texts = clip.captions[language]
        text = texts[_below(len(texts), generator)]
        words = self.vocabulary.encode_caption(mirrored_words(text) if mirrored else text, language)
        return torch.tensor(words[: self.config.judge.max_words])


def true_sentence(clip: Clip, *, mirrored: bool = False) -> Sentence:
    """Attribute sentence of a clip or its mirror image, from its record.

    Raises:
        DatasetError: a record without attributes, or with words that aren't the world's.
    """
    if clip.attributes is None:
        raise DatasetError(f"clip {clip.id} has no attributes: train the judge on clips from `vitascope render`")
    attributes = mirrored_attributes(clip.attributes) if mirrored else clip.attributes
    try:
        return describe(attributes, is_image=clip.num_frames == 1)
    except DatasetError as error:
        raise DatasetError(f"clip {clip.id}: {error}") from None


def _num_shots(clip: Clip) -> int:
    """Number of visible shots; an image has one."""
    return int(true_sentence(clip)[Slot("shots")])


def _happens(share: float, generator: torch.Generator) -> bool:
    return torch.rand((), generator=generator).item() < share


def _below(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (1,), generator=generator))
