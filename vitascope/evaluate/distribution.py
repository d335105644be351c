"""Are a model's videos, taken together, like real ones? Frechet distances on named features, beside what they amount to
for real clips and for real clips that are spoilt on purpose.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitascope.data.clips import SHARD_INDEX, Clip, list_clips, pick
from vitascope.data.production import OnProgress
from vitascope.errors import DatasetError, SizeError
from vitascope.evaluate.measures.features import Feature
from vitascope.evaluate.measures.frechet import MIN_CLIPS, Components, Distance, bootstrapped, components
from vitascope.evaluate.measures.report import list_media, write_report
from vitascope.evaluate.measures.video_cache import Order
from vitascope.video import IMAGE_FPS, Video, contact_sheet

NOISE = 25.0  # levels of 255, the standard deviation
SHOWN_FRAMES = 6
REAL, GENERATED = (150, 150, 150), (40, 90, 170)
Named = tuple[str, Callable[..., Video]]  # a video's name, and how it is read


def frozen(video: Video, draw: np.random.Generator) -> Video:
    """The first frame throughout."""
    return Video(np.repeat(video.frames[:1], video.num_frames, axis=0), video.fps)


def shuffled(video: Video, draw: np.random.Generator) -> Video:
    """The frames in another order."""
    return Video(video.frames[draw.permutation(video.num_frames)], video.fps)


def noisy(video: Video, draw: np.random.Generator) -> Video:
    """Noise of its own on every frame."""
    noise = draw.standard_normal(video.frames.shape, dtype=np.float32) * NOISE
    return Video((video.frames + noise).round().clip(0, 255).astype(np.uint8), video.fps)


SPOILT = {"real, frozen": frozen, "real, frames shuffled": shuffled, "real, noise": noisy}
ORDER = ("generated", "real, other half", *SPOILT)  # of the table


@dataclass(frozen=True)
class FeatureTable:
    """Distances of each contestant from real clips, on one kind of feature."""

    feature: Feature
    distances: dict[str, Distance]
    kept: Components
    num_reference: int
    num_clips: int

    def lines(self) -> list[str]:
        """A table, one contestant a line."""
        dims = self.kept.basis.shape[0]
        head = f"{self.feature.name}: {self.feature.said}"
        how = f"{dims} numbers"
        if self.kept.num < dims:
            how = (
                f"{self.kept.num} principal components of {dims} numbers, {100 * self.kept.held:.1f} % of the real "
                f"clips' variance: {self.num_clips} clips bear no more"
            )
        rows = [f"{who:24} {d.value:12.4g} {f'{d.low:.4g} to {d.high:.4g}':>24}" for who, d in self.distances.items()]
        sides = f"{self.num_clips} clips of each against {self.num_reference} real ones"
        return [head, f"  {how}; {sides}", f"{'':24} {'distance':>12} {'95 %':>24}", *rows]


@dataclass(frozen=True)
class DistributionReport:
    """A table for each kind of feature, and a picture."""

    tables: list[FeatureTable]
    sheet: Video

    def lines(self) -> list[str]:
        """The tables, one after another."""
        return [line for table in self.tables for line in (*table.lines(), "")][:-1]

    def write(self, out: Path, about: dict[str, Any]) -> None:
        """Write distribution.json, which begins with what it is about, and distribution.png into a folder."""
        tree = {
            table.feature.name: {
                "is": table.feature.said,
                "dimensions": table.kept.num,
                "of": table.kept.basis.shape[0],
                "variance_held": table.kept.held,
                "clips": table.num_clips,
                "reference_clips": table.num_reference,
                "frechet_distance": {who: distance._asdict() for who, distance in table.distances.items()},
            }
            for table in self.tables
        }
        write_report(out, "distribution", {**about, "features": tree}, self.sheet)


def evaluate_distribution(
    real: Sequence[Named],
    generated: Sequence[Named] | None,
    features: Sequence[Feature],
    *,
    seed: int = 0,
    max_frames: int = 241,
    on_progress: OnProgress | None = None,
) -> DistributionReport:
    """Distances from one half of the real clips: of the other half, of that half spoilt, and of generated ones.

    Every contestant has equally many clips, since the distance falls with their number. Of each clip at most the first
    `max_frames` are read.

    Raises:
        SizeError: too few clips, or one of a single frame.
        MediaError: a clip that can't be read.
    """
    num_half = len(real) // 2
    num = num_half if generated is None else min(num_half, len(generated))
    if num < MIN_CLIPS:
        made = "" if generated is None else f" and {len(generated)} generated"
        raise SizeError(
            f"{len(real)} real{made} clips are too few: {2 * MIN_CLIPS} real and {MIN_CLIPS} generated needed"
        )
    real = real[: 2 * num_half]
    seen: dict[str, list[list[np.ndarray]]] = {}
    examples: dict[str, Video] = {}
    total = len(real) + (num if generated is not None else 0)

    def see(who: str, video: Video) -> None:
        seen.setdefault(who, []).append([feature.of(video) for feature in features])
        examples.setdefault(who, video)

    for number, clip in enumerate(real):
        video = _moving(clip, max_frames)
        if number >= num:
            see("reference", video)
        else:
            see("real, other half", video)
            for place, (who, spoil) in enumerate(SPOILT.items()):
                see(who, spoil(video, np.random.default_rng([seed, number, place])))
        if on_progress is not None:
            on_progress(number + 1, total)
    for number, clip in enumerate((generated or [])[:num]):
        see("generated", _moving(clip, max_frames))
        if on_progress is not None:
            on_progress(len(real) + number + 1, total)
    tables, plots = [], []
    for place, feature in enumerate(features):
        vectors = {who: np.stack([each[place] for each in rows]).astype(np.float64) for who, rows in seen.items()}
        table, plot = _compare(feature, vectors, seed)
        tables.append(table)
        plots.append(plot)
    return DistributionReport(tables, _sheet(plots, features, examples))


def _moving(clip: Named, max_frames: int) -> Video:
    name, read = clip
    video = read(max_frames=max_frames)
    if video.num_frames < 2:
        raise SizeError(f"{name} has one frame, in which nothing changes; leave images out")
    return video


def _compare(feature: Feature, vectors: dict[str, Float[np.ndarray, "n d"]], seed: int) -> tuple[FeatureTable, Video]:
    """The distances of all but the reference from it, and where the clips lie."""
    reference, other = vectors["reference"], vectors["real, other half"]
    kept = components(np.concatenate([reference, other]), len(other))
    projected = {who: each @ kept.basis for who, each in vectors.items()}
    contestants = sorted(set(projected) - {"reference"}, key=ORDER.index)
    distances = {who: bootstrapped(projected["reference"], projected[who], seed) for who in contestants}
    plane = components(np.concatenate([reference, other]), MIN_CLIPS).basis[:, :2]
    plot = scatter(reference @ plane, vectors.get("generated", other) @ plane)
    return FeatureTable(feature, distances, kept, len(reference), len(other)), plot


def scatter(real: Float[np.ndarray, "n 2"], other: Float[np.ndarray, "m 2"], side: int = 256) -> Video:
    """A picture of points on a plane: real ones grey, the others blue, both axes at one scale."""
    every = np.concatenate([real, other])
    low = every.min(axis=0)
    scale = (side - 12) / max(float((every.max(axis=0) - low).max()), 1e-12)
    picture = np.full((side, side, 3), 255, np.uint8)
    for points, colour in ((real, REAL), (other, GENERATED)):
        for x, y in ((points - low) * scale + 4).astype(int):
            picture[side - 4 - y : side - y, x : x + 4] = colour
    return Video(picture[None], IMAGE_FPS)


def _sheet(plots: Sequence[Video], features: Sequence[Feature], examples: dict[str, Video]) -> Video:
    """Where the clips lie on the real ones' two first components, and a clip of each contestant."""
    strips = [contact_sheet([_small(video)], columns=1, frames_per_video=SHOWN_FRAMES) for video in examples.values()]
    labels = [f"{feature.name}: real clips grey, those compared blue" for feature in features] + list(examples)
    has_pillow = importlib.util.find_spec("PIL") is not None
    return contact_sheet([*plots, *strips], columns=2, labels=labels if has_pillow else None)


def _small(video: Video) -> Video:
    scale = 64 / min(video.height, video.width)
    return video if scale >= 1 else video.fit(round(video.height * scale), round(video.width * scale))


def dataset_clips(source: Path, seed: int) -> list[Clip]:
    """A dataset's videos in an order drawn by the seed, images left out; none if the source is no dataset.

    Raises:
        DatasetError: records that can't be read.
    """
    if not ((source / "clips").is_dir() or (source / SHARD_INDEX).is_file()):
        return []
    clips = [clip for clip in list_clips(source) if clip.num_frames > 1]
    return pick(clips, len(clips), seed)


def media(source: Path, seed: int) -> list[Named]:
    """The videos of a file, of a folder of files or of a dataset, in an order drawn by the seed.

    Raises:
        DatasetError: a folder with neither.
    """
    if clips := dataset_clips(source, seed):
        return [(clip.id, clip.read) for clip in clips]
    named = list_media(source)
    return random.Random(seed).sample(named, len(named))


def prompted(clips: Sequence[Clip], generate: Callable[..., Video], seed: int) -> list[Order]:
    """A model's video of each real clip's first caption, in its size, length and rate, to be made.

    Raises:
        DatasetError: a clip without a caption.
    """
    orders = []
    for number, clip in enumerate(clips):
        texts = clip.some_captions(1)
        if not texts:
            raise DatasetError(f"clip {clip.id} has no caption to generate from")
        prompt = texts[number % len(texts)]
        shape = {"height": clip.height, "width": clip.width, "num_frames": clip.num_frames, "fps": clip.fps}
        orders.append(Order(f"{number:05d}", prompt, partial(generate, prompt, seed=seed + number, **shape)))
    return orders


def digest(clips: Sequence[Clip]) -> str:
    """What tells a set of clips from another: their ids and captions."""
    told = json.dumps([[clip.id, clip.captions] for clip in clips], ensure_ascii=False)
    return hashlib.sha256(told.encode()).hexdigest()[:16]
