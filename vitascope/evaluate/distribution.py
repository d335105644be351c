"""Frechet distances of generated from real clips on named features.

References are the distances of other real clips, and of real clips degraded on purpose.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitascope.data.clips import SHARD_INDEX, Clip, list_clips, pick
from vitascope.errors import DatasetError, SizeError
from vitascope.evaluate.measures.features import CHANGES, COLOURS, Feature, trunk
from vitascope.evaluate.measures.frechet import MIN_CLIPS, Components, Distance, bootstrapped, components
from vitascope.evaluate.measures.generator import generator_settings, load_generator
from vitascope.evaluate.measures.media import NamedVideo, list_media
from vitascope.evaluate.measures.readings import load_judge
from vitascope.evaluate.measures.video_cache import VideoJob, cache_folder, fingerprint, generate_missing
from vitascope.evaluate.report import labelled_sheet, write_report
from vitascope.generate.requests import Generate
from vitascope.judge.bundled import find_judge
from vitascope.progress import OnProgress, Progress, no_progress
from vitascope.types import DtypeChoice
from vitascope.video import IMAGE_FPS, Video, contact_sheet, read_video

FEATURES = ("colours", "changes", "trunk")
NOISE = 25.0  # standard deviation in levels of 255
SHOWN_FRAMES = 6
REAL, GENERATED = (150, 150, 150), (40, 90, 170)


def frozen(video: Video, draw: np.random.Generator) -> Video:
    """The first frame, repeated."""
    return Video(np.repeat(video.frames[:1], video.num_frames, axis=0), video.fps)


def shuffled(video: Video, draw: np.random.Generator) -> Video:
    """The frames in random order."""
    return Video(video.frames[draw.permutation(video.num_frames)], video.fps)


def noisy(video: Video, draw: np.random.Generator) -> Video:
    """The video with independent noise on every frame."""
    noise = draw.standard_normal(video.frames.shape, dtype=np.float32) * NOISE
    return Video((video.frames + noise).round().clip(0, 255).astype(np.uint8), video.fps)


DEGRADATIONS = {"real, frozen": frozen, "real, frames shuffled": shuffled, "real, noise": noisy}
ORDER = ("generated", "real, other half", *DEGRADATIONS)  # of the table


@dataclass(frozen=True)
class FeatureTable:
    """Distances of each source from real clips, on one feature."""

    feature: Feature
    distances: dict[str, Distance]
    components: Components
    num_reference: int
    num_clips: int

    def lines(self) -> list[str]:
        """A table with one source per line."""
        dims = self.components.basis.shape[0]
        head = f"{self.feature.name}: {self.feature.description}"
        how = f"{dims} numbers"
        if self.components.num < dims:
            share = f"{100 * self.components.explained:.1f} % of the real clips' variance"
            how = f"{self.components.num} principal components of {dims} numbers ({share}; more need more clips)"
        rows = [f"{who:24} {d.value:12.4g} {f'{d.low:.4g} to {d.high:.4g}':>24}" for who, d in self.distances.items()]
        sides = f"{self.num_clips} clips of each against {self.num_reference} real ones"
        return [head, f"  {how}; {sides}", f"{'':24} {'distance':>12} {'95 %':>24}", *rows]


@dataclass(frozen=True)
class DistributionReport:
    """A table per feature, a picture, and the settings of the videos."""

    tables: list[FeatureTable]
    sheet: Video
    about: Mapping[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The tables, one after another."""
        return [line for table in self.tables for line in (*table.lines(), "")][:-1]

    def write(self, out: Path) -> None:
        """Write distribution.json, which begins with the settings, and distribution.png into a folder."""
        tree = {
            table.feature.name: {
                "is": table.feature.description,
                "dimensions": table.components.num,
                "of": table.components.basis.shape[0],
                "variance_held": table.components.explained,
                "clips": table.num_clips,
                "reference_clips": table.num_reference,
                "frechet_distance": {who: distance._asdict() for who, distance in table.distances.items()},
            }
            for table in self.tables
        }
        write_report(out, "distribution", {**self.about, "features": tree}, self.sheet)


def run(
    real: Path,
    videos: Sequence[Path] = (),
    *,
    model: str = "playground",
    features: Sequence[str] = FEATURES,
    num_clips: int = 256,
    seed: int = 0,
    max_frames: int = 241,
    judge: Path | None = None,
    device: str = "auto",
    dtype: DtypeChoice = "auto",
    out: Path | None = None,
    progress: Progress = no_progress,
) -> DistributionReport:
    """The report of `videos`, or of a model's videos of the real clips' captions, against real clips.

    At most `num_clips` clips of each source count, and at most twice that number of real ones. Generated videos are
    cached in `out`; the same call resumes from them.

    Raises:
        DatasetError: no clips, or none with captions to generate from.
        ModelError, DeviceError: the model or the judge can't be loaded there.
        ConfigError: `out` holds videos made with other settings.
        SizeError, MediaError: as `evaluate_distribution`.
    """
    kinds, about = _load_features(features, judge, device)
    clips = dataset_clips(real, seed)
    named = [(clip.id, clip.read) for clip in clips] or shuffled_media(real, seed)
    named = named[: 2 * num_clips]
    with cache_folder(out) as cache:
        if videos:
            generated = [pair for source in videos for pair in shuffled_media(source, seed)][:num_clips]
        else:
            if not clips:
                raise DatasetError(f"{real} has no captions to generate from; give videos or a dataset's folder")
            settings = {**generator_settings(model, device, dtype), "real": digest(clips), "seed": seed}
            about |= settings
            jobs = caption_jobs(clips[: len(named) // 2], seed)
            pipeline = load_generator(model, device, dtype)
            with progress("generating") as on_progress:
                paths = generate_missing(jobs, pipeline.run, cache / "model", settings, on_progress)
            generated = [(path.name, partial(read_video, path)) for path in paths.values()]
        with progress("comparing") as on_progress:
            report = evaluate_distribution(
                named, generated, kinds, seed=seed, max_frames=max_frames, on_progress=on_progress
            )
    return replace(report, about=about)


def _load_features(names: Sequence[str], judge: Path | None, device: str) -> tuple[list[Feature], dict[str, str | int]]:
    """The named features, and the digest of the judge they use."""
    kinds = {"colours": COLOURS, "changes": CHANGES}
    about: dict[str, str | int] = {}
    if "trunk" in names:
        kinds["trunk"] = trunk(load_judge(judge, device))
        about["judge"] = fingerprint(find_judge(judge))
    return [kinds[name] for name in dict.fromkeys(names)], about


def evaluate_distribution(
    real: Sequence[NamedVideo],
    generated: Sequence[NamedVideo] | None,
    features: Sequence[Feature],
    *,
    seed: int = 0,
    max_frames: int = 241,
    on_progress: OnProgress | None = None,
) -> DistributionReport:
    """Distances of generated, other real and degraded clips from one half of the real clips.

    All sources have the same number of clips, because the distance falls with it. Only the first `max_frames` frames of
    each clip count.

    Raises:
        SizeError: too few clips, or a clip of one frame.
        MediaError: a clip can't be read.
    """
    num_half = len(real) // 2
    num = num_half if generated is None else min(num_half, len(generated))
    if num < MIN_CLIPS:
        made = "" if generated is None else f" and {len(generated)} generated"
        raise SizeError(
            f"{len(real)} real{made} clips are too few; give {2 * MIN_CLIPS} real and {MIN_CLIPS} generated ones"
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
            for place, (who, degrade) in enumerate(DEGRADATIONS.items()):
                see(who, degrade(video, np.random.default_rng([seed, number, place])))
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


def _moving(clip: NamedVideo, max_frames: int) -> Video:
    name, read = clip
    video = read(max_frames=max_frames)
    if video.num_frames < 2:
        raise SizeError(f"{name} has one frame; give videos of two or more")
    return video


def _compare(feature: Feature, vectors: dict[str, Float[np.ndarray, "n d"]], seed: int) -> tuple[FeatureTable, Video]:
    """Distances of all sources from the reference, and a scatter plot of the clips."""
    reference, other = vectors["reference"], vectors["real, other half"]
    used = components(np.concatenate([reference, other]), len(other))
    projected = {who: each @ used.basis for who, each in vectors.items()}
    sources = sorted(set(projected) - {"reference"}, key=ORDER.index)
    distances = {who: bootstrapped(projected["reference"], projected[who], seed) for who in sources}
    plane = components(np.concatenate([reference, other]), MIN_CLIPS).basis[:, :2]
    plot = scatter(reference @ plane, vectors.get("generated", other) @ plane)
    return FeatureTable(feature, distances, used, len(reference), len(other)), plot


def scatter(real: Float[np.ndarray, "n 2"], other: Float[np.ndarray, "m 2"], side: int = 256) -> Video:
    """A scatter plot of real clips (grey) and others (blue), with equal scales on both axes."""
    every = np.concatenate([real, other])
    low = every.min(axis=0)
    scale = (side - 12) / max(float((every.max(axis=0) - low).max()), 1e-12)
    picture = np.full((side, side, 3), 255, np.uint8)
    for points, colour in ((real, REAL), (other, GENERATED)):
        for x, y in ((points - low) * scale + 4).astype(int):
            picture[side - 4 - y : side - y, x : x + 4] = colour
    return Video(picture[None], IMAGE_FPS)


def _sheet(plots: Sequence[Video], features: Sequence[Feature], examples: dict[str, Video]) -> Video:
    """Scatter plots on the real clips' first two components, and a clip of each source."""
    strips = [contact_sheet([_small(video)], columns=1, frames_per_video=SHOWN_FRAMES) for video in examples.values()]
    labels = [f"{feature.name}: real clips grey, compared clips blue" for feature in features] + list(examples)
    return labelled_sheet([*plots, *strips], labels, columns=2, scale=1)


def _small(video: Video) -> Video:
    scale = 64 / min(video.height, video.width)
    return video if scale >= 1 else video.fit(round(video.height * scale), round(video.width * scale))


def dataset_clips(source: Path, seed: int) -> list[Clip]:
    """A dataset's videos in random order, without images; empty if the source is no dataset.

    Raises:
        DatasetError: a record can't be read.
    """
    if not ((source / "clips").is_dir() or (source / SHARD_INDEX).is_file()):
        return []
    clips = [clip for clip in list_clips(source) if clip.num_frames > 1]
    return pick(clips, len(clips), seed)


def shuffled_media(source: Path, seed: int) -> list[NamedVideo]:
    """The videos of a file, a folder of files, or a dataset, in random order.

    Raises:
        DatasetError: a folder with neither.
    """
    if clips := dataset_clips(source, seed):
        return [(clip.id, clip.read) for clip in clips]
    named = list_media(source)
    return random.Random(seed).sample(named, len(named))


def caption_jobs(clips: Sequence[Clip], seed: int) -> list[VideoJob[Generate]]:
    """Jobs for a video of each real clip's caption, in its size, length and rate; languages alternate.

    Raises:
        DatasetError: a clip without a caption.
    """
    jobs = []
    for number, clip in enumerate(clips):
        texts = clip.some_captions(1)
        if not texts:
            raise DatasetError(f"clip {clip.id} has no caption; give a dataset whose clips all have one")
        prompt = texts[number % len(texts)]
        shape = {"height": clip.height, "width": clip.width, "num_frames": clip.num_frames, "fps": clip.fps}
        jobs.append(VideoJob(f"{number:05d}", prompt, Generate(prompt=prompt, seed=seed + number, **shape)))
    return jobs


def digest(clips: Sequence[Clip]) -> str:
    """A digest that identifies a set of clips by their ids and captions."""
    text = json.dumps([[clip.id, clip.captions] for clip in clips], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
