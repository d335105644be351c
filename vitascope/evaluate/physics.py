"""Physical plausibility: continued experiments, tracked in metres and compared with the simulator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from vitascope.errors import SizeError
from vitascope.evaluate.measures.confidence import confidence
from vitascope.evaluate.measures.generator import default_shape, load_generator
from vitascope.evaluate.measures.tracking import track
from vitascope.evaluate.report import write_report
from vitascope.files import write_text
from vitascope.generate.requests import Extend
from vitascope.hub.card import PipelineConfig
from vitascope.progress import OnProgress, Progress, no_progress
from vitascope.types import DtypeChoice
from vitascope.video import Video, contact_sheet, read_video, write_video
from vitascope.worlds.solids.camera import unproject
from vitascope.worlds.solids.cast import PALETTE
from vitascope.worlds.solids.laboratory import CAPTIONS, VIEW_METRES, laboratory_view, render_experiment
from vitascope.worlds.solids.physics import LAWS, Experiment, Law, sample_experiment, simulate
from vitascope.worlds.solids.words import Colour

TRACKED_COLOURS: tuple[Colour, ...] = ("red", "blue", "green", "pink", "purple")  # distant hues, also from wood
TRACKED_LAWS: tuple[Law, ...] = tuple(law for law in LAWS if law != "topple")  # dominoes turn more than they move
WIDENED = 1.4  # factor of speeds, heights and angles beyond the usual range
NUM_SHOWN = 6
MAX_DRAWS = 20  # per trial

Track = Float[np.ndarray, "t bodies 2"]


@dataclass(frozen=True)
class Trial:
    """One experiment: its clip, whose first `num_given` frames condition the model, and the true positions."""

    name: str
    law: Law
    widened: bool
    experiment: Experiment
    clip: Video
    truth: Track  # (x, z) in metres
    in_sight: Bool[np.ndarray, "t bodies"]  # truly visible as a whole
    num_given: int

    @property
    def prompt(self) -> str:
        """The experiment in English."""
        return CAPTIONS[self.law]["en"].format(TRACKED_COLOURS[0])

    @property
    def given(self) -> Video:
        """The frames that condition the model."""
        return Video(self.clip.frames[: self.num_given], self.clip.fps)


Continue = Callable[[Trial], Video]


@dataclass(frozen=True)
class TrialScore:
    """Errors of a continuation: mean position error in metres, mean velocity error in metres per second.

    `energy_gain` is the relative excess of a body's energy per kilogram over the true maximum. `lost` is the share of
    undetected bodies, which count as standing still.
    """

    name: str
    law: Law
    widened: bool
    position: float
    velocity: float
    energy_gain: float
    lost: float


def make_trials(
    num: int,
    *,
    laws: Sequence[Law] = TRACKED_LAWS,
    seed: int = 0,
    num_frames: int = 17,
    num_given: int = 5,
    fps: float = 8.0,
    height: int = 64,
    width: int = 64,
) -> list[Trial]:
    """`num` experiments of each law within the usual ranges, and `num` beyond them.

    Raises:
        SizeError: too few frames are given, or none are left to continue.
        RenderError: MuJoCo can't render here.
    """
    if not 2 <= num_given < num_frames:
        raise SizeError(f"{num_given} of {num_frames} frames are given; give at least 2 and leave at least 1")
    shape = {"num_frames": num_frames, "fps": fps, "height": height, "width": width}
    trials = []
    for law in laws:
        for widened in (False, True):
            draw = np.random.default_rng([seed, LAWS.index(law), int(widened)])
            drawn = (_draw_trial(law, widened, draw, num_given, shape) for _ in range(MAX_DRAWS * num))
            usable = list(islice((trial for trial in drawn if trial is not None), num))
            if len(usable) < num:
                raise SizeError(
                    f"{num_given} given frames of {num_frames} at {fps} fps leave nothing of {law}; give fewer"
                )
            for number, trial in enumerate(usable):
                trials.append(replace(trial, name=f"{law}_{'beyond' if widened else 'within'}_{number:03d}"))
    return trials


def _draw_trial(
    law: Law, widened: bool, draw: np.random.Generator, num_given: int, shape: dict[str, Any]
) -> Trial | None:
    """A trial, or None if its event happens during the given frames or out of sight."""
    experiment = sample_experiment(law, draw, widened=WIDENED if widened else 1.0)
    motion = simulate(experiment, num_samples=shape["num_frames"], rate=shape["fps"])
    given_seconds = (num_given - 1) / shape["fps"]
    if law == "collision" and not any(c.other is not None and c.seconds > given_seconds for c in motion.contacts):
        return None
    size = {"height": shape["height"], "width": shape["width"]}
    made = render_experiment(experiment, motion, **size, colours=TRACKED_COLOURS)
    bodies = [frame["bodies"] for frame in made.truth["frames"]]
    places = np.array([[body["position"] for body in frame] for frame in bodies])[..., [0, 2]]
    in_sight = _in_sight(np.array([[body["pixel"] for body in frame] for frame in bodies]), experiment, **size)
    if in_sight[num_given:].mean() < 0.5:
        return None
    return Trial("", law, widened, experiment, made.video, places, in_sight, num_given)


def _in_sight(
    pixels: Float[np.ndarray, "t bodies 2"], experiment: Experiment, height: int, width: int
) -> Bool[np.ndarray, "t bodies"]:
    scale = min(height, width) / VIEW_METRES
    margin = np.array([max(body.size) for body in experiment.bodies])[:, None] * scale
    return np.all((pixels > margin) & (pixels < np.array([height, width]) - margin), axis=2)


def observe(trial: Trial, video: Video) -> Track:
    """Tracked positions (x, z) of the trial's bodies in metres, NaN where they are not detected."""
    colours = [PALETTE[colour] for colour in TRACKED_COLOURS[: len(trial.experiment.bodies)]]
    pixels = track(video.frames, colours)
    look = laboratory_view(video.width / video.height)
    return np.stack([unproject(pixels[:, k], look, video.height, video.width) for k in range(len(colours))], axis=1)


def score(trial: Trial, places: Track) -> TrialScore:
    """The score of tracked or predicted positions, over the continued frames and visible bodies.

    Raises:
        SizeError: fewer frames than the trial.
    """
    if len(places) < len(trial.truth):
        raise SizeError(f"{trial.name} has {len(places)} frames; it needs {len(trial.truth)}")
    places = places[: len(trial.truth)]
    lost = np.any(np.isnan(places), axis=2)
    held = _held(places)
    seen, true = (_velocity(each, float(trial.clip.fps)) for each in (held, trial.truth))
    counted = trial.in_sight.copy()
    counted[: trial.num_given] = False
    distance, difference = np.linalg.norm(held - trial.truth, axis=2), np.linalg.norm(seen - true, axis=2)
    energy, true_energy = (
        0.5 * (v**2).sum(axis=2) + trial.experiment.gravity * place[..., 1]
        for v, place in ((seen, held), (true, trial.truth))
    )
    most = true_energy[trial.in_sight].max()
    return TrialScore(
        name=trial.name,
        law=trial.law,
        widened=trial.widened,
        position=float(distance[counted].mean()),
        velocity=float(difference[counted].mean()),
        energy_gain=float(max(0.0, energy[counted].max() - most) / most),
        lost=float(lost[counted].mean()),
    )


def frozen(trial: Trial) -> Track:
    """The baseline that repeats the last given position."""
    places = observe(trial, trial.given)
    return np.concatenate([places, np.repeat(places[-1:], len(trial.truth) - trial.num_given, axis=0)])


def extrapolated(trial: Trial) -> Track:
    """The baseline that continues in a straight line at the last given velocity."""
    places = observe(trial, trial.given)
    steps = np.arange(1, len(trial.truth) - trial.num_given + 1)[:, None, None]
    return np.concatenate([places, places[-1:] + steps * (places[-1:] - places[-2:-1])])


def _held(places: Track) -> Track:
    """Positions with gaps filled by the last position before them, or the first after."""
    filled = places.copy()
    for body in range(filled.shape[1]):
        known = np.flatnonzero(~np.isnan(filled[:, body, 0]))
        if len(known) == 0:
            filled[:, body] = 0.0
            continue
        last = np.maximum.accumulate(np.where(np.isnan(filled[:, body, 0]), -1, np.arange(len(filled))))
        filled[:, body] = filled[np.where(last < 0, known[0], last), body]
    return filled


def _velocity(places: Track, fps: float) -> Track:
    """Velocity of each frame from the previous one, in metres per second; the first frame repeats the second's."""
    steps = np.diff(places, axis=0) * fps
    return np.concatenate([steps[:1], steps])


FIGURES = {"position": "cm", "velocity": "cm/s", "energy_gain": "energy+%", "lost": "lost %"}
ALL = "all"


class Row(NamedTuple):
    """(mean, low, high) of one source over the trials of a law and range, in metres and shares."""

    law: str
    range: str
    source: str
    num: int
    means: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class PhysicsReport:
    """Scores of a model and its baselines, by law."""

    scores: dict[str, list[TrialScore]]  # by source
    sheet: Video

    def rows(self) -> list[Row]:
        """Means of every source by law, then over all laws, within and beyond the usual ranges."""
        laws = dict.fromkeys(each.law for each in next(iter(self.scores.values())))
        found = []
        for law in (*laws, ALL):
            for widened in (False, True):
                for source, scores in self.scores.items():
                    part = [each for each in scores if law in (each.law, ALL) and each.widened == widened]
                    means = {key: _mean([getattr(each, key) for each in part]) for key in FIGURES}
                    found.append(Row(law, "beyond" if widened else "within", source, len(part), means))
        return found

    def lines(self) -> list[str]:
        """A table of the rows in cm, cm/s and percent, with 95 % intervals over the trials."""
        titles = " ".join(f"{title:>8} {'95 %':>12}" for title in FIGURES.values())
        rows = []
        for row in self.rows():
            figures = " ".join(
                f"{100 * mean:8.1f} {f'{100 * low:.0f} to {100 * high:.0f}':>12}"
                for mean, low, high in row.means.values()
            )
            rows.append(f"{row.law:10} {row.range:6} {row.source:13} {figures} {row.num:4}")
        return [f"{'law':10} {'range':6} {'source':13} {titles} {'n':>4}", *rows]

    def write(self, out: Path) -> None:
        """Write physics.json and physics.png into a folder."""
        scores = {source: [vars(each) for each in scores] for source, scores in self.scores.items()}
        write_report(out, "physics", {"rows": [row._asdict() for row in self.rows()], "trials": scores}, self.sheet)


def _mean(values: Sequence[float]) -> tuple[float, float, float]:
    return (float(np.mean(values)), *confidence(np.array(values, np.float64)))


def run(
    *,
    model: str = "playground",
    num_trials: int = 4,
    seed: int = 0,
    num_given: int = 5,
    videos: Path | None = None,
    device: str = "auto",
    dtype: DtypeChoice = "auto",
    progress: Progress = no_progress,
) -> PhysicsReport:
    """The report of a model's continuations, or of another system's `NAME.mp4` files in the folder `videos`.

    Trials have the shape of the model's videos.

    Raises:
        ModelError, DeviceError: the model can't be loaded there.
        SizeError, RenderError: as `make_trials`.
        MediaError: one of `videos` is missing or can't be read.
    """
    pipeline = load_generator(model, device, dtype, weights=videos is None)
    trials = model_trials(pipeline.config, num_trials, seed, num_given)
    extend = read_continuation(videos) if videos else lambda trial: pipeline.run(extend_request(trial, seed))
    with progress("physics") as on_progress:
        return evaluate_physics(trials, extend, on_progress=on_progress)


def write_given(
    folder: Path, *, model: str = "playground", num_trials: int = 4, seed: int = 0, num_given: int = 5
) -> Path:
    """Write inputs for another system, `NAME.mp4` with each trial's given frames and prompts.json; return the folder.

    Raises:
        ModelError: no such model.
        SizeError, RenderError: as `make_trials`.
    """
    pipeline = load_generator(model, "auto", "auto", weights=False)
    trials = model_trials(pipeline.config, num_trials, seed, num_given)
    folder.mkdir(parents=True, exist_ok=True)
    for trial in trials:
        write_video(trial.given, folder / f"{trial.name}.mp4")
    write_text(folder / "prompts.json", json.dumps({trial.name: trial.prompt for trial in trials}, indent=2) + "\n")
    return folder


def model_trials(config: PipelineConfig, num: int, seed: int, num_given: int) -> list[Trial]:
    """`make_trials` in the shape of a model's videos."""
    shape = default_shape(config)
    return make_trials(
        num,
        seed=seed,
        num_frames=shape.num_frames,
        num_given=num_given,
        fps=shape.fps,
        height=shape.height,
        width=shape.width,
    )


def evaluate_physics(
    trials: Sequence[Trial], extend: Continue | None = None, *, on_progress: OnProgress | None = None
) -> PhysicsReport:
    """Scores of the simulator's clips (the tracker's noise), of two baselines, and of a model's continuations."""
    sources: dict[str, list[TrialScore]] = {"simulator": [], "frozen": [], "straight line": []}
    if extend is not None:
        sources["model"] = []
    shown: list[Video] = []
    for done, trial in enumerate(trials, start=1):
        sources["simulator"].append(score(trial, observe(trial, trial.clip)))
        sources["frozen"].append(score(trial, frozen(trial)))
        sources["straight line"].append(score(trial, extrapolated(trial)))
        if extend is not None:
            video = extend(trial)
            sources["model"].append(score(trial, observe(trial, video)))
            if len(shown) < 2 * NUM_SHOWN:
                shown += [trial.clip, video]
        elif len(shown) < NUM_SHOWN:
            shown.append(trial.clip)
        if on_progress is not None:
            on_progress(done, len(trials))
    return PhysicsReport(sources, contact_sheet(shown, columns=2, frames_per_video=6))


def extend_request(trial: Trial, seed: int) -> Extend:
    """The request for a trial's continuation. Its seed depends on the trial's name alone."""
    digest = hashlib.sha256(f"{seed} {trial.name}".encode()).digest()
    return Extend(
        video=trial.given,
        prompt=trial.prompt,
        seconds=(len(trial.truth) - trial.num_given) / float(trial.clip.fps),
        seed=int.from_bytes(digest[:8], "big") >> 1,
    )


def read_continuation(folder: Path) -> Continue:
    """A reader of another system's `NAME.mp4` of each trial, at any frame rate; it begins with the given frames.

    Raises:
        MediaError: when called, if the file is missing or can't be read.
    """
    return lambda trial: read_video(folder / f"{trial.name}.mp4", fps=trial.clip.fps)
