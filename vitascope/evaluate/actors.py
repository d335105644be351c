"""Codec quality on the actors of simulated clips, next to principal components of the same number of values.

PSNR over all pixels hides what viewers look at: actors cover a tenth of the picture. Owner masks of unseen clips show
the actors' own PSNR, by their speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from vitascope.codec.streaming import reconstruct
from vitascope.codec.video_codec import Stride, VideoCodec
from vitascope.config import parse_config
from vitascope.data import render, render_emoji
from vitascope.data.production import MAX_CLIPS, ProductionConfig
from vitascope.data.render import RenderConfig
from vitascope.errors import SizeError
from vitascope.evaluate.measures import owners
from vitascope.evaluate.measures.components import cross_fitted_copies
from vitascope.evaluate.report import labelled_sheet, or_none, write_report
from vitascope.hub.find import find_model
from vitascope.hub.registry import load_codec
from vitascope.kernels.device import resolve_device
from vitascope.progress import OnProgress, Progress, no_progress
from vitascope.video import IMAGE_FPS, Video
from vitascope.worlds.frame import RenderedClip

UNSEEN = 900_000  # first seed; training sets have far fewer clips
VARIETY, NUM_FRAMES, FPS = 0.35, 17, 8.0
NUM_SHOWN, SHOWN_FRAMES, ENLARGED = 6, 4, 3  # clips in the picture, frames of each, and factor

Figure = tuple[float, float, float]
"""A value and its 95 % interval."""


@dataclass(frozen=True)
class ActorScores:
    """Sums of all clips for one system, as `measures/owners.py` defines them."""

    errors: Float[np.ndarray, "clips groups 2"]
    edges: Float[np.ndarray, "clips 4"]
    changes: Float[np.ndarray, "clips 4"]

    def psnr(self, group: int) -> Figure:
        """PSNR in dB of one of `owners.GROUPS`."""
        return owners.summary(self.errors[:, group], owners.psnr_of)

    def block_edges(self) -> Figure:
        """Bend of the error across cell borders, relative to that within cells; 1 is none."""
        return owners.summary(self.edges, owners.ratio_of)

    def flicker(self) -> Figure:
        """Change of the error of still pixels per frame, in levels of 255."""
        return owners.summary(self.changes, owners.mean_of)

    def cadence(self) -> Figure:
        """The same change at the borders of latent frames, relative to all frames; 1 is even."""
        return owners.summary(self.changes[:, [2, 3, 0, 1]], owners.ratio_of)


@dataclass(frozen=True)
class CorpusReport:
    """The scores of one corpus, of the codec and of principal components."""

    name: str
    description: str
    code: str
    codec: ActorScores
    components: ActorScores

    def gain(self, group: int) -> Figure:
        """PSNR of the codec minus that of the components."""
        both = np.concatenate([self.codec.errors[:, group], self.components.errors[:, group]], axis=-1)
        return owners.summary(both, owners.gain_of)

    def lines(self) -> list[str]:
        """The table of the corpus."""
        rows = [f"{self.name}: {self.description}; later frames"]
        head = ("PSNR, dB (95 %)", f"codec {self.code}", f"PCA {self.code}", "codec - PCA", "pixels", "clips")
        rows.append(f"{head[0]:28} {head[1]:>22} {head[2]:>22} {head[3]:>22} {head[4]:>8} {head[5]:>6}")
        for group, name in enumerate(owners.GROUPS):
            title = name if group < 2 else f"  {name} px/frame"
            figures = (self.codec.psnr(group), self.components.psnr(group), self.gain(group))
            counts = self.codec.errors[:, group, 1]
            share = 100 * counts.sum() / self.codec.errors[:, 0, 1].sum()
            shown = " ".join(f"{_figure(each, 1):>22}" for each in figures)
            rows.append(f"{title:28} {shown} {share:7.2f}% {np.count_nonzero(counts):6}")
        for title, digits, method in (
            ("block edges (1: none)", 2, ActorScores.block_edges),
            ("flicker, levels of 255", 3, ActorScores.flicker),
            ("at latent borders (1: even)", 2, ActorScores.cadence),
        ):
            shown = " ".join(f"{_figure(method(each), digits):>22}" for each in (self.codec, self.components))
            rows.append(f"{title:28} {shown}")
        return rows

    def tree(self) -> dict[str, Any]:
        """All figures, for JSON."""
        counts = self.codec.errors[:, :, 1]
        psnr = {
            name: {
                "codec": _tree(self.codec.psnr(group)),
                "pca": _tree(self.components.psnr(group)),
                "gain": _tree(self.gain(group)),
                "pixels": int(counts[:, group].sum()),
                "clips": int(np.count_nonzero(counts[:, group])),
            }
            for group, name in enumerate(owners.GROUPS)
        }
        others = {
            name: {
                "block_edges": _tree(each.block_edges()),
                "flicker": _tree(each.flicker()),
                "flicker_at_latent_borders": _tree(each.cadence()),
            }
            for name, each in (("codec", self.codec), ("pca", self.components))
        }
        return {"description": self.description, "code": self.code, "psnr": psnr, **others}


@dataclass(frozen=True)
class ActorReport:
    """The reports of all corpora, and a picture of originals, copies and linear copies."""

    corpora: list[CorpusReport]
    sheet: Video

    def lines(self) -> list[str]:
        """A table per corpus."""
        return [line for corpus in self.corpora for line in corpus.lines()]

    def write(self, out: Path) -> None:
        """Write codec.json and codec.png into a folder."""
        write_report(out, "codec", {each.name: each.tree() for each in self.corpora}, self.sheet)


def run(
    *,
    model: str = "playground",
    num_clips: int = 150,
    size: str = "64x64",
    emoji: Path | None = None,
    seed: int = UNSEEN,
    device: str = "auto",
    num_workers: int = 1,
    progress: Progress = no_progress,
) -> ActorReport:
    """The report of a model's codec on clips of the world and, if `emoji` holds the packages, of emoji.

    `size` is WIDTHxHEIGHT. More than one process needs `if __name__ == "__main__":` in scripts.

    Raises:
        ModelError: no such model, or its codec is missing or damaged.
        SizeError: the codec's stride does not divide the size.
        ConfigError: a size that can't be rendered.
        RenderError, DatasetError, MediaError: clips can't be drawn.
        DeviceError: no such device.
    """
    codec = load_codec(find_model(model, part="vae"), device=resolve_device(device)).requires_grad_(False)
    corpora: list[CorpusReport] = []
    shown: list[tuple[Video, str]] = []
    for name in ("world", "emoji") if emoji is not None else ("world",):
        with progress(f"draw {name}") as on_progress:
            clips = draw_unseen(num_clips, size, seed, emoji if name == "emoji" else None, num_workers, on_progress)
        with progress(f"codec, {name}") as on_progress:
            corpus, pictures = measure_actors(codec, clips, name, seed, on_progress)
        corpora.append(corpus)
        shown += pictures
    return ActorReport(corpora, _sheet(shown))


def draw_unseen(
    num_clips: int,
    size: str = "64x64",
    seed: int = UNSEEN,
    emoji: Path | None = None,
    num_workers: int = 1,
    on_progress: OnProgress | None = None,
) -> list[RenderedClip]:
    """Clips of the world, or of the emoji in a folder, with owner masks; no training set holds their seeds.

    Raises:
        SizeError: seeds past 1,000,000.
        ConfigError, RenderError, DatasetError, MediaError: as `run`.
    """
    if seed + num_clips > MAX_CLIPS:
        raise SizeError(f"seeds {seed} to {seed + num_clips - 1}: must be below {MAX_CLIPS}; draw fewer clips")
    settings = {"sizes": (size,), "num_frames": (NUM_FRAMES,), "fps": (FPS,), "image_share": 0.0, "truth": ("masks",)}
    draw: Callable[[int], RenderedClip]
    if emoji is None:
        draw = partial(render.draw_clip, parse_config({**settings, "variety": VARIETY}, RenderConfig))
    else:
        draw = partial(render_emoji.draw_clip, parse_config(settings, ProductionConfig), source=emoji)
    numbers, clips = range(seed, seed + num_clips), []
    pool = ProcessPoolExecutor(num_workers, get_context("spawn")) if num_workers > 1 else None
    try:
        for clip in map(draw, numbers) if pool is None else pool.map(draw, numbers, chunksize=4):
            clips.append(clip)
            if on_progress is not None:
                on_progress(len(clips), num_clips)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return clips


@torch.inference_mode()
def measure_actors(
    codec: VideoCodec,
    clips: Sequence[RenderedClip],
    name: str = "world",
    seed: int = UNSEEN,
    on_progress: OnProgress | None = None,
) -> tuple[CorpusReport, list[tuple[Video, str]]]:
    """The report of clips with owner masks, and a labelled picture of some of them.

    Raises:
        SizeError: fewer than two clips, or the codec's stride does not divide the clips.
    """
    stride = codec.stride
    _check_shapes(clips, stride)
    copies: list[UInt8[np.ndarray, "t h w 3"]] = []
    for clip in clips:
        copies.append(reconstruct(codec, clip.video).frames)
        if on_progress is not None:
            on_progress(len(copies), len(clips))
    linear = cross_fitted_copies([clip.video.frames for clip in clips], stride, codec.latent_channels)
    scores, components = (_scores(clips, each, stride) for each in (copies, linear))
    frames, height, width = clips[0].video.frames.shape[:3]
    corpus = CorpusReport(
        name,
        f"{len(clips)} clips of {width}x{height}, {frames} frames, seeds {seed} to {seed + len(clips) - 1}",
        f"{stride.time}x{stride.rows}x{stride.columns}, {codec.latent_channels}",
        scores,
        components,
    )
    shown = np.linspace(0, len(clips) - 1, min(NUM_SHOWN, len(clips))).round().astype(int)
    pictures = []
    for number in shown.tolist():
        values = [owners.psnr_of(each.errors[number, 1]) for each in (scores, components)]
        label = f"{name} {seed + number}: original; codec, {values[0]:.1f} dB on actors; PCA, {values[1]:.1f} dB"
        stack = [clips[number].video.frames, copies[number], linear[number]]
        pictures.append((Video(np.concatenate([_strip(each) for each in stack])[None], IMAGE_FPS), label))
    return corpus, pictures


def _check_shapes(clips: Sequence[RenderedClip], stride: Stride) -> None:
    if len(clips) < 2:
        raise SizeError(f"{len(clips)} clips; principal components need at least 2")
    frames, height, width = clips[0].video.frames.shape[:3]
    if (frames - 1) % stride.time or height % stride.rows or width % stride.columns:
        cell = f"{stride.time}x{stride.rows}x{stride.columns}"
        raise SizeError(
            f"{width}x{height} with {frames} frames: the codec's cells of {cell} don't divide it; choose another"
        )


def _scores(clips: Sequence[RenderedClip], copies: Sequence[np.ndarray], stride: Stride) -> ActorScores:
    errors, edges, changes = [], [], []
    for clip, copy in zip(clips, copies, strict=True):
        assert clip.maps.masks is not None
        original = clip.video.frames
        speeds = owners.actor_speeds(clip.truth["frames"])
        errors.append(owners.squared_errors(original, copy, clip.maps.masks, speeds))
        edges.append(owners.edge_errors(original, copy, stride))
        changes.append(owners.still_changes(original, copy, stride.time))
    return ActorScores(np.stack(errors), np.stack(edges), np.stack(changes))


def _strip(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "h w2 3"]:
    chosen = np.linspace(1, len(frames) - 1, SHOWN_FRAMES).round().astype(int)
    return np.concatenate(list(frames[chosen]), axis=1)


def _sheet(shown: Sequence[tuple[Video, str]]) -> Video:
    pictures, labels = zip(*shown, strict=True)
    return labelled_sheet(pictures, labels, columns=2, scale=ENLARGED)


def _figure(figure: Figure, digits: int) -> str:
    value, low, high = figure
    return "-" if np.isnan(value) else f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _tree(figure: Figure) -> list[Any]:
    return [or_none(each) for each in figure]
