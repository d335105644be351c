"""Does a video hold together? Measures of its pixels alone, each with a limit that rendered clips keep."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vitascope.errors import SizeError
from vitascope.evaluate.measures.blobs import follow
from vitascope.evaluate.measures.permanence import changed_hue, rebound_gain, vanishings
from vitascope.evaluate.measures.report import bars, confidence, list_media, or_none, write_report
from vitascope.evaluate.measures.stability import closure, drift, flicker
from vitascope.video import Video, contact_sheet
from vitascope.video.cuts import find_cuts
from vitascope.worlds.solids.captions import captions
from vitascope.worlds.solids.sampling import sample_scene

MIN_FRAMES = 6
ROWS = 96  # pixels of the shorter side that larger videos are brought to
CUT_STRENGTH = 1.6  # times the steps around it
SHOWN_FRAMES = 6


class Measure(NamedTuple):
    """One figure of a clip, above whose limit the clip fails."""

    key: str
    title: str
    limit: float


# Of 138 rendered clips none passes a limit: see docs/evaluation.md for how far they stay below
MEASURES = (
    Measure("cuts", "cuts nobody asked for", 0.0),
    Measure("flicker", "flicker, levels of 255", 1.0),
    Measure("colour", "colour drift, %/s", 2.0),
    Measure("contrast", "contrast drift, %/s", 3.0),
    Measure("vanished", "things vanished", 0.0),
    Measure("rebound", "bounces higher, %", 40.0),
    Measure("identity", "hue after a cut, degrees", 22.0),
    Measure("loop", "loop's step, of those inside", 1.0),
)


@dataclass(frozen=True)
class CoherenceScore:
    """One clip's figures; NaN where the clip has nothing to measure by."""

    name: str
    cuts: float
    flicker: float
    colour: float
    contrast: float
    vanished: float
    rebound: float
    identity: float
    loop: float

    @property
    def failed(self) -> list[str]:
        """The measures whose limits it passes."""
        return [measure.key for measure in MEASURES if getattr(self, measure.key) > measure.limit]


def measure(video: Video, *, name: str = "", num_cuts: int = 0, loops: bool = False) -> CoherenceScore:
    """The figures of a video that was to have `num_cuts` cuts, and to begin anew after its end if it `loops`.

    Identity is measured across cuts that were asked for; all else but loops, within shots.

    Raises:
        SizeError: fewer than 6 frames.
    """
    if video.num_frames < MIN_FRAMES:
        raise SizeError(f"{name or 'the video'} has {video.num_frames} frames; coherence takes {MIN_FRAMES} or more")
    small = _shrunk(video)
    height, width = small.height, small.width
    cuts = find_cuts(small.frames, CUT_STRENGTH)
    shots = [shot for shot in np.split(small.frames, cuts) if len(shot) > 0]
    things = [follow(shot) for shot in shots]
    drifts = [drift(shot, float(video.fps)) for shot in shots if len(shot) >= MIN_FRAMES]
    changes = [changed_hue(*pair, height, width) for pair in pairwise(things)]
    return CoherenceScore(
        name=name,
        cuts=float(max(0, len(cuts) - num_cuts)),
        flicker=_worst(map(flicker, shots)),
        colour=_worst(abs(each.colour) for each in drifts),
        contrast=_worst(abs(each.contrast) for each in drifts),
        vanished=float(sum(len(vanishings(*pair)) for pair in zip(shots, things, strict=True))),
        rebound=_worst(rebound_gain(shot, height, width) for shot in things),
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
    """All clips' figures; `left_out` clips were too short to measure."""

    scores: list[CoherenceScore]
    left_out: int
    sheet: Video

    def values(self, key: str) -> Float[np.ndarray, " n"]:
        """A measure's figures, of the clips that have one."""
        every = np.array([getattr(score, key) for score in self.scores], np.float64)
        return every[~np.isnan(every)]

    def lines(self) -> list[str]:
        """A table: of each measure the mean and the share of clips that fail, with 95 % intervals, and its limit."""
        rows = [f"{'measure':30} {'mean':>8} {'95 %':>18} {'limit':>6} {'fail %':>7} {'95 %':>12} {'n':>5}"]
        for each in MEASURES:
            num = len(self.values(each.key))
            if num == 0:
                rows.append(f"{each.title:30} {'-':>8} {'':>18} {each.limit:6g} {'-':>7} {'':>12} {num:5}")
                continue
            mean, share = self.summary(each)
            rows.append(
                f"{each.title:30} {mean[0]:8.2f} {f'{mean[1]:.2f} to {mean[2]:.2f}':>18} {each.limit:6g} "
                f"{100 * share[0]:7.1f} {f'{100 * share[1]:.0f} to {100 * share[2]:.0f}':>12} "
                f"{num:5}"
            )
        failing = [f"{score.name}: {', '.join(score.failed)}" for score in self.scores if score.failed]
        left_out = [f"left out: {self.left_out} of less than {MIN_FRAMES} frames"] if self.left_out else []
        return [*rows, *failing, *left_out]

    def summary(self, measure: Measure) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """(mean, low, high) of a measure's figures, and of the share of clips that fail it."""
        values = self.values(measure.key)
        failing = (values > measure.limit).astype(np.float64)
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


def evaluate_coherence(
    clips: Sequence[tuple[str, Callable[[], Video]]],
    *,
    num_cuts: int = 0,
    loops: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> CoherenceReport:
    """The figures of named clips, each made or read when its turn comes.

    Raises:
        SizeError: none of them is long enough.
        MediaError: one that can't be read.
    """
    scores: list[CoherenceScore] = []
    worst: dict[str, tuple[float, Video]] = {}
    left_out = 0
    for done, (name, read) in enumerate(clips, start=1):
        video = _shrunk(read())  # once: what is small already stays as it is
        if video.num_frames < MIN_FRAMES:
            left_out += 1
        else:
            scores.append(measure(video, name=name, num_cuts=num_cuts, loops=loops))
            for each in MEASURES:
                value = getattr(scores[-1], each.key)
                if value > worst.get(each.key, (-np.inf,))[0]:
                    worst[each.key] = value, video
        if on_progress is not None:
            on_progress(done, len(clips))
    if not scores:
        raise SizeError(f"nothing to measure: none of {len(clips)} videos has {MIN_FRAMES} frames or more")
    return CoherenceReport(scores, left_out, _sheet(scores, {key: video for key, (_, video) in worst.items()}))


def _sheet(scores: Sequence[CoherenceScore], worst: dict[str, Video]) -> Video:
    """A row for each measure that has figures: all clips in ascending order, and frames of the one that is worst."""
    pictures, labels = [], []
    for each in (each for each in MEASURES if each.key in worst):
        height, width = worst[each.key].height, worst[each.key].width * SHOWN_FRAMES
        graph = bars([getattr(score, each.key) for score in scores], each.limit, height, width // 2)
        pictures += [graph, contact_sheet([worst[each.key]], columns=1, frames_per_video=SHOWN_FRAMES)]
        labels += [each.title, ""]
    has_pillow = importlib.util.find_spec("PIL") is not None
    return contact_sheet(pictures, columns=2, labels=labels if has_pillow else None)


def files(sources: Sequence[Path], max_frames: int) -> list[tuple[str, Callable[[], Video]]]:
    """Videos of files, of folders of them and of dataset folders, to be measured.

    Raises:
        DatasetError: a folder without videos.
    """
    named = [pair for source in sources for pair in list_media(source)]
    return [(name, lambda read=read: read(max_frames=max_frames)) for name, read in named]


def generated(generate: Callable[..., Video], num: int, seed: int) -> list[tuple[str, Callable[[], Video]]]:
    """A model's videos of prompts that were held out of its training, to be measured; `generate` is its pipeline's."""
    prompts = [captions(sample_scene(seed + k, "held_out", variety=0.0), is_image=False)["en"][0] for k in range(num)]
    return [(prompt, lambda prompt=prompt, k=k: generate(prompt, seed=seed + k)) for k, prompt in enumerate(prompts)]
