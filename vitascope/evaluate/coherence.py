"""Coherence of videos, measured on pixels alone. Each measure has a limit that no rendered clip exceeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitascope.errors import SizeError
from vitascope.evaluate.measures.blobs import track_blobs
from vitascope.evaluate.measures.confidence import confidence
from vitascope.evaluate.measures.generator import load_generator
from vitascope.evaluate.measures.media import list_media
from vitascope.evaluate.measures.permanence import find_vanished, hue_change, rebound_gain
from vitascope.evaluate.measures.plots import bars
from vitascope.evaluate.measures.stability import CUT_STRENGTH, MIN_FRAMES, ROWS, cadence, closure, drift, flicker
from vitascope.evaluate.report import labelled_sheet, or_none, write_report
from vitascope.generate.requests import Generate
from vitascope.progress import OnProgress, Progress, no_progress
from vitascope.types import DtypeChoice
from vitascope.video import Video, contact_sheet
from vitascope.video.cuts import find_cuts
from vitascope.worlds.solids.captions import captions
from vitascope.worlds.solids.sampling import sample_scene

SHOWN_FRAMES = 6
TIME_STRIDE = 4  # frames of a latent frame, of the bundled codec, Wan's and most others


class Measure(NamedTuple):
    """One figure of a clip. The clip fails above the limit."""

    key: str
    title: str
    limit: float


# None of 138 rendered clips exceeds a limit; docs/evaluation.md has their worst figures
MEASURES = (
    Measure("cuts", "unrequested cuts", 0.0),
    Measure("flicker", "flicker, levels of 255", 1.0),
    Measure("cadence", "change at latent borders, relative", 1.2),
    Measure("colour", "colour drift, %/s", 2.0),
    Measure("contrast", "contrast drift, %/s", 3.0),
    Measure("vanished", "objects vanished", 0.0),
    Measure("rebound", "bounce gain, %", 40.0),
    Measure("identity", "hue change at a cut, degrees", 22.0),
    Measure("loop", "loop step, relative", 1.0),
)


@dataclass(frozen=True)
class CoherenceScore:
    """The figures of one clip; NaN where a measure does not apply.

    cadence_low and cadence_high are the 95 % interval of cadence.
    """

    name: str
    cuts: float
    flicker: float
    cadence: float
    cadence_low: float
    cadence_high: float
    colour: float
    contrast: float
    vanished: float
    rebound: float
    identity: float
    loop: float

    @property
    def failed(self) -> list[str]:
        """The measures whose limits the clip exceeds; cadence only if it is certainly above an even share."""
        over = [measure.key for measure in MEASURES if getattr(self, measure.key) > measure.limit]
        return [key for key in over if key != "cadence" or self.cadence_low > 1]

    @property
    def verdict(self) -> str:
        """The clip's name and the measures that it fails; cadence with its figures."""
        steps = f"cadence ({self.cadence:.2f} times even, {self.cadence_low:.2f} to {self.cadence_high:.2f})"
        return f"{self.name}: {', '.join(steps if key == 'cadence' else key for key in self.failed)}"


def measure(
    video: Video, *, name: str = "", num_cuts: int = 0, loops: bool = False, time_stride: int = TIME_STRIDE
) -> CoherenceScore:
    """The figures of a video that should have `num_cuts` cuts and, with `loops`, join its own beginning.

    time_stride is the number of frames in a latent frame. Identity is measured across the requested cuts, all other
    measures except the loop and the cadence within shots.

    Raises:
        SizeError: fewer than 6 frames.
    """
    if video.num_frames < MIN_FRAMES:
        raise SizeError(f"{name or 'the video'} has {video.num_frames} frames; coherence needs at least {MIN_FRAMES}")
    small = _shrunk(video)
    height, width = small.height, small.width
    cuts = find_cuts(small.frames, CUT_STRENGTH)
    shots = [shot for shot in np.split(small.frames, cuts) if len(shot) > 0]
    blobs = [track_blobs(shot) for shot in shots]
    drifts = [drift(shot, float(video.fps)) for shot in shots if len(shot) >= MIN_FRAMES]
    changes = [hue_change(*pair, height, width) for pair in pairwise(blobs)]
    # cuts that nobody requested count: steps at every border look like cuts
    steps = cadence(small.frames, time_stride, cuts if len(cuts) <= num_cuts else ())
    return CoherenceScore(
        name=name,
        cadence=steps.ratio,
        cadence_low=steps.low,
        cadence_high=steps.high,
        cuts=float(max(0, len(cuts) - num_cuts)),
        flicker=_worst(map(flicker, shots)),
        colour=_worst(abs(each.colour) for each in drifts),
        contrast=_worst(abs(each.contrast) for each in drifts),
        vanished=float(sum(len(find_vanished(*pair)) for pair in zip(shots, blobs, strict=True))),
        rebound=_worst(rebound_gain(shot, height, width) for shot in blobs),
        identity=_worst(changes) if 0 < len(cuts) <= num_cuts else float("nan"),
        loop=closure(small.frames) if loops else float("nan"),
    )


def _shrunk(video: Video) -> Video:
    scale = ROWS / min(video.height, video.width)
    return video if scale >= 1 else video.fit(round(video.height * scale), round(video.width * scale))


def _worst(values: Iterator[float] | Sequence[float]) -> float:
    return max((value for value in values if not np.isnan(value)), default=float("nan"))


@dataclass(frozen=True)
class CoherenceReport:
    """The figures of all clips. `left_out` counts clips that are too short."""

    scores: list[CoherenceScore]
    left_out: int
    sheet: Video

    def values(self, key: str) -> Float[np.ndarray, " n"]:
        """The figures of a measure, NaN left out."""
        every = np.array([getattr(score, key) for score in self.scores], np.float64)
        return every[~np.isnan(every)]

    def lines(self) -> list[str]:
        """A table with each measure's mean, limit and share of failing clips, with 95 % intervals."""
        rows = [f"{'measure':34} {'mean':>8} {'95 %':>18} {'limit':>6} {'fail %':>7} {'95 %':>12} {'n':>5}"]
        for each in MEASURES:
            num = len(self.values(each.key))
            if num == 0:
                rows.append(f"{each.title:34} {'-':>8} {'':>18} {each.limit:6g} {'-':>7} {'':>12} {num:5}")
                continue
            mean, share = self.summary(each)
            rows.append(
                f"{each.title:34} {mean[0]:8.2f} {f'{mean[1]:.2f} to {mean[2]:.2f}':>18} {each.limit:6g} "
                f"{100 * share[0]:7.1f} {f'{100 * share[1]:.0f} to {100 * share[2]:.0f}':>12} "
                f"{num:5}"
            )
        failing = [score.verdict for score in self.scores if score.failed]
        left_out = [f"left out: {self.left_out} with fewer than {MIN_FRAMES} frames"] if self.left_out else []
        return [*rows, *self._cadence_verdict(), *failing, *left_out]

    def _cadence_verdict(self) -> list[str]:
        """A line if the clips' mean cadence is above its limit, and certainly above an even share."""
        each = next(each for each in MEASURES if each.key == "cadence")
        (mean, low, high), _ = self.summary(each)
        if not (mean > each.limit and low > 1):
            return []
        figures = f"{mean:.2f} times even ({low:.2f} to {high:.2f})"
        return [f"the picture steps at the borders of latent frames: change there is {figures}, the limit {each.limit}"]

    def summary(self, measure: Measure) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """(mean, low, high) of a measure's figures, and of the share of failing clips."""
        values = self.values(measure.key)
        failing = np.array(
            [measure.key in score.failed for score in self.scores if not np.isnan(getattr(score, measure.key))],
            np.float64,
        )
        mean, share = (float(np.mean(each)) if len(each) else float("nan") for each in (values, failing))
        return (mean, *confidence(values)), (share, *confidence(failing))

    def write(self, out: Path) -> None:
        """Write coherence.json and coherence.png into a folder."""
        summary = {}
        for each in MEASURES:
            keys = ("mean", "fails")
            figures = {key: list(map(or_none, figure)) for key, figure in zip(keys, self.summary(each), strict=True)}
            summary[each.key] = {"limit": each.limit, "clips": len(self.values(each.key)), **figures}
        clips = [{key: or_none(value) for key, value in asdict(score).items()} for score in self.scores]
        write_report(out, "coherence", {"measures": summary, "clips": clips, "left_out": self.left_out}, self.sheet)


def run(
    sources: Sequence[Path] = (),
    *,
    model: str = "playground",
    num_videos: int = 12,
    seed: int = 0,
    max_frames: int = 241,
    num_cuts: int = 0,
    loops: bool = False,
    time_stride: int = TIME_STRIDE,
    device: str = "auto",
    dtype: DtypeChoice = "auto",
    progress: Progress = no_progress,
) -> CoherenceReport:
    """The report of files, folders and datasets; without sources, of a model's videos of held-out prompts.

    `time_stride` is the number of frames in a latent frame of the files' codec; a model's own stride replaces it.

    Raises:
        SizeError, MediaError: as `evaluate_coherence`.
        DatasetError: a folder without videos.
        ModelError, DeviceError: the model can't be loaded there.
    """
    if sources:
        clips = list_files(sources, max_frames)
    else:
        pipeline = load_generator(model, device, dtype)
        time_stride = pipeline.codec.stride.time
        clips = [(request.prompt, partial(pipeline.run, request)) for request in held_out_requests(num_videos, seed)]
    with progress("coherence") as on_progress:
        return evaluate_coherence(
            clips, num_cuts=num_cuts, loops=loops, time_stride=time_stride, on_progress=on_progress
        )


def evaluate_coherence(
    clips: Sequence[tuple[str, Callable[[], Video]]],
    *,
    num_cuts: int = 0,
    loops: bool = False,
    time_stride: int = TIME_STRIDE,
    on_progress: OnProgress | None = None,
) -> CoherenceReport:
    """The figures of named clips, which are generated or read one at a time.

    Raises:
        SizeError: no clip is long enough.
        MediaError: a clip can't be read.
    """
    scores: list[CoherenceScore] = []
    worst: dict[str, tuple[float, Video]] = {}
    left_out = 0
    for done, (name, read) in enumerate(clips, start=1):
        video = _shrunk(read())
        if video.num_frames < MIN_FRAMES:
            left_out += 1
        else:
            scores.append(measure(video, name=name, num_cuts=num_cuts, loops=loops, time_stride=time_stride))
            for each in MEASURES:
                value = getattr(scores[-1], each.key)
                if value > worst.get(each.key, (-np.inf,))[0]:
                    worst[each.key] = value, video
        if on_progress is not None:
            on_progress(done, len(clips))
    if not scores:
        raise SizeError(f"none of {len(clips)} videos has {MIN_FRAMES} frames or more; give longer ones")
    return CoherenceReport(scores, left_out, _sheet(scores, {key: video for key, (_, video) in worst.items()}))


def _sheet(scores: Sequence[CoherenceScore], worst: dict[str, Video]) -> Video:
    """A row per measure with figures: all clips in ascending order, and frames of the worst one."""
    pictures, labels = [], []
    for each in (each for each in MEASURES if each.key in worst):
        strip = contact_sheet([worst[each.key]], columns=1, frames_per_video=SHOWN_FRAMES)
        graph = bars([getattr(score, each.key) for score in scores], each.limit, strip.height, strip.width // 2)
        pictures += [graph, strip]
        labels += [each.title, ""]
    return labelled_sheet(pictures, labels, columns=2, scale=1)


def list_files(sources: Sequence[Path], max_frames: int) -> list[tuple[str, Callable[[], Video]]]:
    """Names and readers of the videos in files, folders and datasets.

    Raises:
        DatasetError: a folder without videos.
    """
    named = [pair for source in sources for pair in list_media(source)]
    return [(name, partial(read, max_frames=max_frames)) for name, read in named]


def held_out_requests(num: int, seed: int) -> list[Generate]:
    """Requests for videos of prompts held out from training."""
    scenes = (sample_scene(seed + k, "held_out", variety=0.0) for k in range(num))
    prompts = [captions(scene, is_image=False)["en"][0] for scene in scenes]
    return [Generate(prompt=prompt, seed=seed + k) for k, prompt in enumerate(prompts)]
