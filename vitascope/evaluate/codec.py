"""How much of a video a codec keeps, and what it adds: each clip's measures after encoding and decoding."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from vitascope.codec.losses import PerceptualDistance
from vitascope.codec.network import Codec
from vitascope.codec.quality import frame_psnr, psnr, ssim
from vitascope.codec.streaming import reconstruct, to_signal
from vitascope.errors import ConfigError, MediaError, SizeError
from vitascope.evaluate.measures.report import confidence, curve, list_media, or_none, write_report
from vitascope.evaluate.measures.seams import Seams, measure_seams
from vitascope.evaluate.measures.stability import added_flicker
from vitascope.video import Video, contact_sheet

SHOWN, SHOWN_FRAMES = 8, 2  # clips in the picture, and frames of each
AMPLIFIED = 4  # times, the difference in the picture
MIN_SHOWN_ROWS = 96  # smaller clips are shown twice as large
LOW_DB, HIGH_DB = 20.0, 50.0  # of the curve of PSNR
FRAMES_AT_ONCE = 8  # of which features are taken
NO_FEATURES = "lite0 left out: its network comes with pip install 'vitascope[train]'"


class Measure(NamedTuple):
    """One figure of a clip, and how the table shows it."""

    key: str
    title: str
    digits: int


MEASURES = (
    Measure("psnr", "PSNR dB", 2),
    Measure("ssim", "SSIM", 4),
    Measure("lite0", "lite0", 4),
    Measure("flicker", "flicker", 3),
    Measure("tile_seam", "tiles", 3),
    Measure("chunk_seam", "chunks", 3),
)


@dataclass(frozen=True)
class CodecScore:
    """One clip's figures, of its copy against itself; NaN where it has nothing to measure by.

    PSNR in dB, infinite for equal clips, also of each frame; SSIM; the distance in EfficientNet-Lite0's features; added
    flicker and the steps at edges of tiles and of chunks, in levels of 255.
    """

    name: str
    width: int
    height: int
    num_frames: int
    psnr: float
    ssim: float
    lite0: float
    flicker: float
    tile_seam: float
    chunk_seam: float
    frame_psnr: list[float]


@dataclass(frozen=True)
class CodecReport:
    """All clips' figures, and originals, copies and their differences as one picture."""

    scores: list[CodecScore]
    sheet: Video
    has_features: bool = True

    def values(self, key: str) -> Float[np.ndarray, " n"]:
        """A measure's figures, of the clips that have a finite one."""
        every = np.array([getattr(score, key) for score in self.scores], np.float64)
        return every[np.isfinite(every)]

    def summary(self, key: str) -> tuple[float, float, float]:
        """(mean, low, high): a measure's mean over clips, and its 95 % interval."""
        values = self.values(key)
        return (float(np.mean(values)) if len(values) else float("nan"), *confidence(values))

    @property
    def _measures(self) -> list[Measure]:
        return [each for each in MEASURES if each.key != "lite0" or self.has_features]

    def lines(self) -> list[str]:
        """A table, one clip a line, then the means, their 95 % intervals and how many clips they are of."""
        shown = self._measures
        head = f"{'clip':32} {'size':>9} {'frames':>6}" + "".join(f" {each.title:>8}" for each in shown)
        clips = [f"{s.name:32.32} {f'{s.width}x{s.height}':>9} {s.num_frames:6} {_row(s, shown)}" for s in self.scores]
        summaries = [self.summary(each.key) for each in shown]
        notes = [f"mean of {len(clips)} clips", "95 % from", "95 % to"]
        figures = [
            f"{note:49} " + " ".join(_figure(summary[k], each) for summary, each in zip(summaries, shown, strict=True))
            for k, note in enumerate(notes)
        ]
        counts = f"{'clips that have it':49} " + " ".join(f"{len(self.values(each.key)):8}" for each in shown)
        return [head, *clips, *figures, counts, *([] if self.has_features else [NO_FEATURES])]

    def write(self, out: Path) -> None:
        """Write codec.json and codec.png into a folder."""
        measures = {
            each.key: {"mean": list(map(or_none, self.summary(each.key))), "clips": len(self.values(each.key))}
            for each in self._measures
        }
        clips = [
            {key: list(map(or_none, v)) if isinstance(v, list) else or_none(v) for key, v in asdict(score).items()}
            for score in self.scores
        ]
        write_report(out, "codec", {"measures": measures, "clips": clips}, self.sheet)


def _row(score: CodecScore, shown: Sequence[Measure]) -> str:
    return " ".join(_figure(getattr(score, each.key), each) for each in shown)


def _figure(value: float, measure: Measure) -> str:
    return f"{'-':>8}" if np.isnan(value) else f"{value:8.{measure.digits}f}"


Copy = Callable[[str, Video], Video]
NO_SEAMS = Seams(float("nan"), float("nan"))


def evaluate_codec(
    codec: Codec | None,
    sources: Sequence[Path],
    *,
    copies: Path | None = None,
    rows: int | None = None,
    max_frames: int = 49,
    on_progress: Callable[[int, int], None] | None = None,
) -> CodecReport:
    """Figures of video files, of folders of them and of dataset folders; of a codec, or of another system's `copies`.

    `copies` is a folder of videos of the same names, whatever their endings; they have no seams to measure.
    `rows` resizes each clip to that height, aspect kept; at most the first `max_frames` frames are taken.

    Raises:
        MediaError, DatasetError: a source that can't be read, or one without a copy.
        SizeError: clips smaller than SSIM's window, or copies of another size or length.
    """
    named = [pair for source in sources for pair in list_media(source)]
    if not named:
        raise SizeError("no clips to evaluate: name video files or dataset folders")
    read_copy = None if copies is None else _copies(copies, rows)
    features = _features()
    scores: list[CodecScore] = []
    shown: list[tuple[Video, Video]] = []
    for name, read in named:
        original = _fitted(read, rows, max_frames)
        if read_copy is not None:
            copy, seams = read_copy(name, original), NO_SEAMS
        else:
            assert codec is not None
            copy, seams = reconstruct(codec, original), measure_seams(codec, original)
        scores.append(compare(name, original, copy, features, seams))
        if len(shown) < SHOWN:
            shown.append((original, copy))
        if on_progress is not None:
            on_progress(len(scores), len(named))
    return CodecReport(scores, _sheet(shown, scores), features is not None)


def compare(
    name: str, original: Video, copy: Video, features: PerceptualDistance | None = None, seams: Seams = NO_SEAMS
) -> CodecScore:
    """The figures of a copy of a video."""
    frames, true_frames = copy.frames, original.frames
    return CodecScore(
        name=name,
        width=original.width,
        height=original.height,
        num_frames=original.num_frames,
        psnr=psnr(true_frames, frames),
        ssim=ssim(true_frames, frames),
        lite0=float("nan") if features is None else _distance(features, true_frames, frames),
        flicker=added_flicker(frames, true_frames),
        tile_seam=seams.tiles,
        chunk_seam=seams.chunks,
        frame_psnr=frame_psnr(true_frames, frames),
    )


def _features() -> PerceptualDistance | None:
    try:
        return PerceptualDistance()
    except ConfigError:  # the packages that carry it aren't installed
        return None


@torch.inference_mode()
def _distance(features: PerceptualDistance, a: UInt8[np.ndarray, "t h w 3"], b: UInt8[np.ndarray, "t h w 3"]) -> float:
    """The mean over frames."""
    total = 0.0
    for start in range(0, len(a), FRAMES_AT_ONCE):
        pair = [clip[start : start + FRAMES_AT_ONCE] for clip in (a, b)]
        total += len(pair[0]) * float(features(*map(to_signal, pair)))
    return total / len(a)


def _fitted(read: Callable[..., Video], rows: int | None, max_frames: int) -> Video:
    video = read(max_frames=max_frames)
    if rows is None or rows == video.height:
        return video
    width = max(16, 2 * round(video.width * rows / video.height / 2))
    return read(max_frames=max_frames, size=(rows, width))


def _copies(folder: Path, rows: int | None) -> Copy:
    """Another system's copy of each clip."""
    by_stem = {Path(name).stem: read for name, read in list_media(folder)}

    def read_copy(name: str, original: Video) -> Video:
        if (stem := Path(name).stem) not in by_stem:
            raise MediaError(f"{folder} has no copy of {name}: a video called {stem}.mp4, or with another ending")
        copy = _fitted(by_stem[stem], rows, original.num_frames)
        if copy.frames.shape != original.frames.shape:
            here, there = (f"{v.num_frames} frames of {v.width}x{v.height}" for v in (original, copy))
            raise SizeError(f"the copy of {name} has {there}, not {here}; copies need their originals' size and length")
        return copy

    return read_copy


def _sheet(shown: Sequence[tuple[Video, Video]], scores: Sequence[CodecScore]) -> Video:
    """A row for each clip: frames of it, of its copy, of their difference on grey, and the PSNR of all frames."""
    pictures: list[Video] = []
    labels: list[str] = []
    for (original, copy), score in zip(shown, scores, strict=False):
        difference = copy.frames.astype(np.int16) - original.frames
        on_grey = Video(np.clip(128 + AMPLIFIED * difference, 0, 255).astype(np.uint8), original.fps)
        num = min(SHOWN_FRAMES, original.num_frames)
        pictures += [contact_sheet([video], columns=1, frames_per_video=num) for video in (original, copy, on_grey)]
        pictures.append(curve(score.frame_psnr, LOW_DB, HIGH_DB, original.height, num * original.width))
        told = f"{score.psnr:.1f} dB, SSIM {score.ssim:.3f}"
        labels += [score.name, told, f"difference x {AMPLIFIED}", f"PSNR of each frame, {LOW_DB:g} to {HIGH_DB:g} dB"]
    scale = 1 if max(original.height for original, _ in shown) >= MIN_SHOWN_ROWS else 2
    has_pillow = importlib.util.find_spec("PIL") is not None
    return contact_sheet(pictures, columns=4, labels=labels if has_pillow else None, scale=scale)
