"""Codec quality: measures of clips after encoding and decoding, or of another system's copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from vitascope.codec.losses import PerceptualDistance
from vitascope.codec.quality import frame_psnr, psnr, ssim
from vitascope.codec.streaming import reconstruct, to_signal
from vitascope.codec.video_codec import VideoCodec
from vitascope.errors import ConfigError, MediaError, SizeError
from vitascope.evaluate.measures.confidence import confidence
from vitascope.evaluate.measures.media import list_media
from vitascope.evaluate.measures.plots import curve
from vitascope.evaluate.measures.seams import Seams, measure_seams
from vitascope.evaluate.measures.stability import added_flicker
from vitascope.evaluate.report import labelled_sheet, or_none, write_report
from vitascope.hub.find import find_model
from vitascope.hub.registry import load_codec
from vitascope.kernels.device import CPU, device_of, resolve_device
from vitascope.progress import OnProgress, Progress, no_progress
from vitascope.video import Video, contact_sheet
from vitascope.video.sheet import enlargement

NUM_SHOWN, SHOWN_FRAMES = 8, 2  # clips in the picture, and frames of each
AMPLIFIED = 4  # amplification of the difference in the picture
LOW_DB, HIGH_DB = 20.0, 50.0  # bounds of the PSNR curve
FRAMES_AT_ONCE = 8  # batch size of the feature network
NO_FEATURES = "lite0 is left out; install its network with: pip install 'vitascope[train]'"


class Measure(NamedTuple):
    """One figure of a clip, and its column in the table."""

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
    """The figures of one clip's copy; NaN where a figure is undefined.

    They are PSNR in dB (infinite for equal clips), overall and per frame; SSIM; and the feature distance of
    EfficientNet-Lite0. Added flicker and steps at edges of tiles and chunks are in levels of 255.
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
    """The figures of all clips, and a picture of originals, copies and differences."""

    scores: list[CodecScore]
    sheet: Video
    has_features: bool = True

    def values(self, key: str) -> Float[np.ndarray, " n"]:
        """The finite figures of a measure."""
        every = np.array([getattr(score, key) for score in self.scores], np.float64)
        return every[np.isfinite(every)]

    def summary(self, key: str) -> tuple[float, float, float]:
        """(mean, low, high): a measure's mean over clips and its 95 % interval."""
        values = self.values(key)
        return (float(np.mean(values)) if len(values) else float("nan"), *confidence(values))

    @property
    def _measures(self) -> list[Measure]:
        return [each for each in MEASURES if each.key != "lite0" or self.has_features]

    def lines(self) -> list[str]:
        """A table with one clip per line, then means, 95 % intervals and numbers of clips."""
        shown = self._measures
        head = f"{'clip':32} {'size':>9} {'frames':>6}" + "".join(f" {each.title:>8}" for each in shown)
        clips = [f"{s.name:32.32} {f'{s.width}x{s.height}':>9} {s.num_frames:6} {_row(s, shown)}" for s in self.scores]
        summaries = [self.summary(each.key) for each in shown]
        notes = [f"mean of {len(clips)} clips", "95 % from", "95 % to"]
        figures = [
            f"{note:49} " + " ".join(_figure(summary[k], each) for summary, each in zip(summaries, shown, strict=True))
            for k, note in enumerate(notes)
        ]
        counts = f"{'number of clips':49} " + " ".join(f"{len(self.values(each.key)):8}" for each in shown)
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


ReadCopy = Callable[[str, Video], Video]
NO_SEAMS = Seams(float("nan"), float("nan"))


def run(
    sources: Sequence[Path],
    *,
    model: str = "playground",
    videos: Path | None = None,
    rows: int | None = None,
    max_frames: int = 49,
    device: str = "auto",
    progress: Progress = no_progress,
) -> CodecReport:
    """The report of a model's codec, or of another system's copies in the folder `videos`.

    Sources, `rows` and `max_frames` are as in `evaluate_codec`. The rest of the model is not loaded.

    Raises:
        ModelError: no such model, or its codec is missing or damaged.
        MediaError, DatasetError, SizeError: as `evaluate_codec`.
        DeviceError: no such device.
    """
    place = resolve_device(device)
    codec = None
    if videos is None:
        codec = load_codec(find_model(model, part="vae"), device=place).requires_grad_(False)
    with progress("codec") as on_progress:
        return evaluate_codec(
            codec, sources, copies=videos, rows=rows, max_frames=max_frames, device=place, on_progress=on_progress
        )


def evaluate_codec(
    codec: VideoCodec | None,
    sources: Sequence[Path],
    *,
    copies: Path | None = None,
    rows: int | None = None,
    max_frames: int = 49,
    device: torch.device = CPU,
    on_progress: OnProgress | None = None,
) -> CodecReport:
    """The figures of video files, folders of files and datasets, for a codec or another system's `copies`.

    `copies` is a folder of videos with the same stems; they have no seams. `rows` resizes each clip to that height and
    keeps the aspect ratio. Only the first `max_frames` frames count. The feature network computes on `device`.

    Raises:
        MediaError, DatasetError: a source can't be read or has no copy.
        SizeError: a clip is smaller than SSIM's window, or a copy has another size or length.
    """
    named = [pair for source in sources for pair in list_media(source)]
    if not named:
        raise SizeError("there are no clips; give video files or dataset folders")
    read_copy = None if copies is None else _copies(copies, rows)
    features = _features(device)
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
        if len(shown) < NUM_SHOWN:
            shown.append((original, copy))
        if on_progress is not None:
            on_progress(len(scores), len(named))
    return CodecReport(scores, _sheet(shown, scores), features is not None)


def compare(
    name: str, original: Video, copy: Video, features: PerceptualDistance | None = None, seams: Seams = NO_SEAMS
) -> CodecScore:
    """The figures of one copy of a video."""
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


def _features(device: torch.device) -> PerceptualDistance | None:
    try:
        return PerceptualDistance().to(device)
    except ConfigError:  # its packages aren't installed
        return None


@torch.inference_mode()
def _distance(features: PerceptualDistance, a: UInt8[np.ndarray, "t h w 3"], b: UInt8[np.ndarray, "t h w 3"]) -> float:
    """The mean feature distance over frames."""
    device, total = device_of(features), 0.0
    for start in range(0, len(a), FRAMES_AT_ONCE):
        pair = [clip[start : start + FRAMES_AT_ONCE] for clip in (a, b)]
        total += len(pair[0]) * float(features(*(to_signal(each).to(device) for each in pair)))
    return total / len(a)


def _fitted(read: Callable[..., Video], rows: int | None, max_frames: int) -> Video:
    video = read(max_frames=max_frames)
    if rows is None or rows == video.height:
        return video
    width = max(16, 2 * round(video.width * rows / video.height / 2))
    return read(max_frames=max_frames, size=(rows, width))


def _copies(folder: Path, rows: int | None) -> ReadCopy:
    """A reader of another system's copies."""
    by_stem = {Path(name).stem: read for name, read in list_media(folder)}

    def read_copy(name: str, original: Video) -> Video:
        if (stem := Path(name).stem) not in by_stem:
            raise MediaError(f"{folder} has no copy of {name}; add {stem}.mp4, or another video file of that stem")
        copy = _fitted(by_stem[stem], rows, original.num_frames)
        if copy.frames.shape != original.frames.shape:
            here, there = (f"{v.num_frames} frames of {v.width}x{v.height}" for v in (original, copy))
            raise SizeError(f"the copy of {name} has {there}; it must have {here}, as the original")
        return copy

    return read_copy


def _sheet(shown: Sequence[tuple[Video, Video]], scores: Sequence[CodecScore]) -> Video:
    """A row per clip: its frames, its copy's, their difference on grey, and the PSNR of each frame."""
    pictures: list[Video] = []
    labels: list[str] = []
    for (original, copy), score in zip(shown, scores, strict=False):
        difference = copy.frames.astype(np.int16) - original.frames
        on_grey = Video(np.clip(128 + AMPLIFIED * difference, 0, 255).astype(np.uint8), original.fps)
        num = min(SHOWN_FRAMES, original.num_frames)
        pictures += [
            contact_sheet([video], columns=1, frames_per_video=num, scale=1) for video in (original, copy, on_grey)
        ]
        pictures.append(curve(score.frame_psnr, LOW_DB, HIGH_DB, original.height, num * original.width))
        summary = f"{score.psnr:.1f} dB, SSIM {score.ssim:.3f}"
        labels += [
            score.name,
            summary,
            f"difference x {AMPLIFIED}",
            f"PSNR of each frame, {LOW_DB:g} to {HIGH_DB:g} dB",
        ]
    return labelled_sheet(pictures, labels, columns=4, scale=enlargement([original for original, _ in shown]))
