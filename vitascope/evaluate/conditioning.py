"""Conditioning: every verb on rendered clips whose ground truth is known (`vitascope evaluate abilities`).

Given frames should come back at the codec's own quality. Steps across joins should be no larger than steps within the
clip. Fills should beat a cross-fade and a frozen frame. Edits should change only the attributes in the prompt: the
judge reads these, and pixel measures cover the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from einops import reduce
from jaxtyping import Float, UInt8

from vitascope.codec.quality import psnr
from vitascope.codec.streaming import reconstruct
from vitascope.evaluate.measures.confidence import mean_interval
from vitascope.evaluate.measures.generator import (
    default_shape,
    generator_settings,
    load_generator,
    without_warnings,
)
from vitascope.evaluate.measures.oracle import OraclePipeline
from vitascope.evaluate.measures.questions import Question, scene_settings
from vitascope.evaluate.measures.readings import Read, load_judge
from vitascope.evaluate.measures.tasks import (
    Run,
    Subject,
    Task,
    find_hole,
    make_subjects,
    make_tasks,
    neighbour,
    recoloured,
)
from vitascope.evaluate.measures.video_cache import VideoJob, cache_folder, generate_missing, read_cached
from vitascope.evaluate.report import labelled_sheet, write_report
from vitascope.judge.scoring import verdicts
from vitascope.progress import OnProgress, Progress, no_progress
from vitascope.types import DtypeChoice
from vitascope.video import Video

INSIDE = 95.0  # percentile of the steps within a clip, the reference for steps across joins
MOTION_CELLS = 8  # cells per side of the picture, for the correlation of motion
NUM_SHOWN, SHOWN_FRAMES = 3, 9
ORACLE_CASES = ("first frame", "extend", "backward", "both ways", "fill")  # cases whose results are frames of the clip
FILLS = ("codec", "model", "cross-fade", "frozen frame")


@dataclass(frozen=True)
class Outcome:
    """Loss of given frames in dB beyond the codec's, and steps across joins relative to those within the clip."""

    case: str
    clip: str
    loss: float | None
    joins: tuple[float, ...]


@dataclass(frozen=True)
class EditScore:
    """The judge's reading of an edited clip and its source, and correlations of motion.

    `colour` and `kind` are true if every actor has the requested value. `motion` is the correlation with the source,
    `elsewhere` that with another clip.
    """

    clip: str
    prompt: str
    colour: bool
    colour_before: bool
    kind: bool
    kind_before: bool
    motion: float
    elsewhere: float


def judge_outcome(
    task: Task, name: str, made: Video, codec: Callable[[Video], Video], largest: Callable[[int], float]
) -> Outcome:
    """The outcome of a task on the clip of that name. `codec` encodes and decodes a video.

    `largest` returns the reference step of a clip, by its index.
    """
    losses = []
    for at, (video, start, stop) in task.given.items():
        wanted = video.frames[start:stop]
        returned = made.frames[at : at + stop - start]
        losses.append(psnr(codec(video).frames[start:stop], wanted) - psnr(returned, wanted))
    across = steps(np.concatenate([made.frames[-1:], made.frames]))
    joins = tuple(float(across[join] / largest(clip)) for join, clip in task.joins.items())
    return Outcome(task.case, name, max(losses, default=None), joins)


def steps(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, " _"]:
    """The mean absolute difference of each frame from the previous one, in levels of 255."""
    return np.abs(np.diff(frames.astype(np.float64), axis=0)).mean(axis=(1, 2, 3))


def score_fills(clip: Video, coded: Video, made: Video, step: int) -> dict[str, float]:
    """PSNR in dB of each of `FILLS` in the hole of `make_tasks`.

    The cross-fade and the frozen frame use the clip's own frames. The model's frames have been decoded, so the codec's
    own result, `coded`, bounds them.
    """
    hole = find_hole((clip.num_frames - 1) // step, step)
    truth, last, following = clip.frames[hole], clip.frames[hole.start - 1], clip.frames[hole.stop]
    share = (np.arange(1, len(truth) + 1) / (len(truth) + 1))[:, None, None, None]
    fade = ((1 - share) * last + share * following).round().astype(np.uint8)
    fills = (coded.frames[hole], made.frames[hole], fade, np.broadcast_to(last, truth.shape))
    return {name: psnr(frames, truth) for name, frames in zip(FILLS, fills, strict=True)}


def judge_edit(requested: Question, source: Video, made: Video, other: Video, read: Read) -> EditScore:
    """The score of an edit and its source against the requested scene."""
    found = {
        name: verdicts(requested.truth, read(video).sentence) for name, video in (("made", made), ("source", source))
    }

    def correct(name: str, attribute: str) -> bool:
        return all(verdict.right for verdict in found[name] if verdict.attribute == attribute)

    return EditScore(
        requested.name,
        requested.prompt,
        colour=correct("made", "colour"),
        colour_before=correct("source", "colour"),
        kind=correct("made", "kind"),
        kind_before=correct("source", "kind"),
        motion=motion_correlation(source, made),
        elsewhere=motion_correlation(other, made),
    )


def motion_correlation(a: Video, b: Video) -> float:
    """Pearson's correlation of the change per cell and step, in [-1, 1]; 0 if nothing changes."""
    x, y = (_changes(video).ravel() for video in (a, b))
    return 0.0 if min(x.std(), y.std()) == 0 else float(np.corrcoef(x, y)[0, 1])


def _changes(video: Video) -> Float[np.ndarray, "t r c"]:
    change = np.abs(np.diff(video.frames.astype(np.float64), axis=0)).mean(axis=-1)
    down, across = (side // MOTION_CELLS for side in change.shape[1:])
    cropped = change[:, : MOTION_CELLS * down, : MOTION_CELLS * across]
    return reduce(cropped, "t (r a) (c b) -> t r c", "mean", a=down, b=across)


@dataclass(frozen=True)
class ConditioningReport:
    """Outcomes of every case and clip, the oracle's outcomes, PSNR of fills by clip, and scores of edits."""

    outcomes: list[Outcome]
    oracle: list[Outcome]
    fills: dict[str, dict[str, float]]
    edits: list[EditScore]
    sheet: Video

    def lines(self) -> list[str]:
        """Three tables."""
        rows = [
            f"{'':14}{'given frames, dB lost':>30}{'steps across joins, %':>32}{'oracle':>24}",
            f"{'':14}{'mean (95 %)':>20}{'worst':>10}{'median':>12}{'up to 100 (95 %)':>20}{'median':>24}",
        ]
        for case in dict.fromkeys(outcome.case for outcome in self.outcomes):
            rows.append(self._outcome_row(case))
        rows += ["", f"{'fill, dB':14}{'mean (95 %)':>20}{'model better by (95 %)':>30}{'clips':>12}"]
        model = self._fills_by("model")
        for name in FILLS:
            values = self._fills_by(name)
            gain = f"{mean_interval(model - values):>30}{(model > values).sum():>6} of {len(model)}"
            rows.append(f"{name:14}{mean_interval(values):>20}{'' if name == 'model' else gain}")
        rows += ["", f"{'edit':30}{'source':>24}{'edited':>24}"]
        for title, before, after in (
            ("requested colours, % (95 %)", "colour_before", "colour"),
            ("requested kinds, % (95 %)", "kind_before", "kind"),
        ):
            cells = (mean_interval(100 * self._of_edits(name)) for name in (before, after))
            rows.append(f"{title:30}" + "".join(f"{cell:>24}" for cell in cells))
        motion, elsewhere = (mean_interval(self._of_edits(name), 2) for name in ("motion", "elsewhere"))
        rows.append(f"correlation of motion (95 %): {motion} with the source, {elsewhere} with another clip")
        return rows

    def write(self, out: Path) -> None:
        """Write abilities.json and abilities.png into a folder."""
        tree = {
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "oracle": [asdict(outcome) for outcome in self.oracle],
            "fills": self.fills,
            "edits": [asdict(edit) for edit in self.edits],
        }
        write_report(out, "abilities", tree, self.sheet)

    def _outcome_row(self, case: str) -> str:
        some = [outcome for outcome in self.outcomes if outcome.case == case]
        losses = np.array([outcome.loss for outcome in some if outcome.loss is not None])
        loss = f"{mean_interval(losses, 2):>20}{losses.max():10.2f}" if len(losses) else f"{'-':>20}{'-':>10}"
        median = 100 * float(np.median(_joins(self.outcomes, case)))
        oracle = _joins(self.oracle, case)
        best = f"{100 * float(np.median(oracle)):.0f}" if oracle else "-"
        within = np.array([100.0 * sum(join <= 1 for join in outcome.joins) for outcome in some])
        share = mean_interval(within, 0, np.array([float(len(outcome.joins)) for outcome in some]))
        return f"{case:14}{loss}{median:12.0f}{share:>20}{best:>24}"

    def _fills_by(self, name: str) -> Float[np.ndarray, " n"]:
        return np.array([fills[name] for fills in self.fills.values()])

    def _of_edits(self, name: str) -> Float[np.ndarray, " n"]:
        return np.array([getattr(edit, name) for edit in self.edits], np.float64)


def run(
    *,
    model: str = "playground",
    num_clips: int = 8,
    strength: float = 0.8,
    seed: int = 0,
    judge: Path | None = None,
    device: str = "auto",
    dtype: DtypeChoice = "auto",
    out: Path | None = None,
    progress: Progress = no_progress,
) -> ConditioningReport:
    """The report of a model's verbs on rendered clips of its own shape.

    Videos are cached in `out`; the same call resumes from them.

    Raises:
        ModelError, DeviceError: the model or the judge can't be loaded there.
        ConfigError: `out` holds videos made with other settings.
        SizeError: as `make_tasks`.
    """
    reader = load_judge(judge, device)
    pipeline = load_generator(model, device, dtype)
    step = pipeline.grid.frames_per_cell
    with progress("rendering") as on_progress:
        subjects = make_subjects(num_clips, seed, default_shape(pipeline.config), on_progress)
    oracle = OraclePipeline(pipeline, {subject.question.prompt: subject.video for subject in subjects})
    tasks = make_tasks(subjects, step, strength, seed)
    jobs = [VideoJob(task.name, task.prompt, task) for task in tasks]
    settings = {**scene_settings(seed), **generator_settings(model, device, dtype), "strength": strength}
    with without_warnings(), cache_folder(out) as cache:
        with progress("generating") as on_progress:
            paths = generate_missing(
                jobs, lambda task: task.make(pipeline.run), cache / "model", settings, on_progress, exact=True
            )
        with progress("measuring") as on_progress:
            return evaluate_conditioning(
                subjects,
                tasks,
                lambda task: read_cached(paths[task.name]),
                lambda video: reconstruct(pipeline.codec, video),
                reader.read,
                step=step,
                oracle=oracle.run,
                on_progress=on_progress,
            )


def evaluate_conditioning(
    subjects: Sequence[Subject],
    tasks: Sequence[Task],
    load: Callable[[Task], Video],
    codec: Callable[[Video], Video],
    read: Read,
    *,
    step: int,
    oracle: Run,
    on_progress: OnProgress | None = None,
) -> ConditioningReport:
    """The report of the tasks of `make_tasks`. `load` returns a task's video to the pixel.

    `codec` encodes and decodes a video. `oracle` runs requests with ground-truth latents in place of the model's.
    """

    @cache
    def coded(number: int) -> Video:
        return codec(subjects[number].video)

    def largest(number: int) -> float:
        return float(np.percentile(steps(coded(number).frames), INSIDE))

    def outcome(task: Task, video: Video) -> Outcome:
        return judge_outcome(task, subjects[task.clip].question.name, video, codec, largest)

    outcomes, best, fills, edits, shown, labels = [], [], {}, [], [], []
    for number, (question, clip) in enumerate(subjects):
        made = {"source": clip}
        for task in (task for task in tasks if task.clip == number):
            video = made[task.case] = load(task)
            if task.joins:
                outcomes.append(outcome(task, video))
            if task.case in ORACLE_CASES:
                best.append(outcome(task, task.make(oracle)))
        requested, other = recoloured(question), subjects[neighbour(number)].video
        fills[question.name] = score_fills(clip, coded(number), made["fill"], step)
        edits.append(judge_edit(requested, clip, made["edit"], other, read))
        if number < NUM_SHOWN:
            shown += made.values()
            prompts = {"source": question.prompt, "edit": requested.prompt}
            labels += [f"{name}: {prompts[name]}" if name in prompts else name for name in made]
        if on_progress is not None:
            on_progress(number + 1, len(subjects))
    sheet = labelled_sheet(shown, labels, columns=2, frames_per_video=SHOWN_FRAMES)
    return ConditioningReport(outcomes, best, fills, edits, sheet)


def _joins(outcomes: Sequence[Outcome], case: str) -> list[float]:
    return [join for outcome in outcomes if outcome.case == case for join in outcome.joins]
