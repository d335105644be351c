"""Prompt faithfulness, scored by the judge on videos of prompts whose scenes are known exactly.

Each score has three references. `judge` is the judge's own accuracy on validation renders. `renders` is its accuracy on
the simulator's videos of the same scenes; scores above either can't be trusted. `shuffled` compares those readings with
another scene: the level of chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from vitascope.errors import SizeError
from vitascope.evaluate.measures.generator import generator_settings, load_generator
from vitascope.evaluate.measures.questions import (
    SPLITS,
    Question,
    make_questions,
    render_jobs,
    render_question,
    render_shape,
    scene_settings,
)
from vitascope.evaluate.measures.rates import Rate, Verdicts, rate, rates
from vitascope.evaluate.measures.readings import Read, load_judge, shuffled
from vitascope.evaluate.measures.video_cache import VideoJob, cache_folder, find_videos, generate_missing
from vitascope.evaluate.measures.video_cache import write_prompts as write_job_prompts
from vitascope.evaluate.report import labelled_sheet, write_report
from vitascope.generate.requests import Generate
from vitascope.judge.network import Reading
from vitascope.judge.scoring import OVERALL, REPORTED, Verdict, verdicts
from vitascope.progress import OnProgress, Progress, no_progress
from vitascope.types import DtypeChoice
from vitascope.video import Video, contact_sheet, read_video
from vitascope.worlds.language import Language
from vitascope.worlds.splits import Split

SPLIT_TITLES: dict[Split, str] = {"train": "combinations seen", "held_out": "combinations unseen"}
LANGUAGE_TITLES: dict[Language, str] = {"en": "English", "zh": "Chinese"}
NUM_SHOWN, SHOWN_FRAMES = 16, 6
RIGHT, WRONG, BORDER = (60, 150, 60), (200, 40, 40), 3  # colours and width of a clip's border in the picture
Make = Callable[[Question], Video]


def run(
    videos: Path | None = None,
    *,
    model: str = "playground",
    num_prompts: int = 48,
    seed: int = 0,
    variety: float = 1.0,
    judge: Path | None = None,
    baseline: bool = True,
    device: str = "auto",
    dtype: DtypeChoice = "auto",
    out: Path | None = None,
    progress: Progress = no_progress,
) -> FaithfulReport:
    """The report of a model's videos of `num_prompts` prompts, or of another system's in the folder `videos`.

    Generated videos and renders are cached in `out`; the same call resumes from them. `baseline` also renders the
    scenes.

    Raises:
        ModelError, DeviceError: the model or the judge can't be loaded there.
        ConfigError: `out` holds videos made with other settings.
        DatasetError, SizeError: fewer than two prompts, or fewer than two with a video.
        MediaError: a video can't be read.
    """
    reader = load_judge(judge, device)
    questions = make_questions(num_prompts, seed, variety)
    settings = {**scene_settings(seed), "variety": variety}
    with cache_folder(out) as cache:
        if videos is not None:
            paths = find_videos(videos, {question.name: question.prompt for question in questions})
            questions = [question for question in questions if question.name in paths]
            if len(questions) < 2:
                raise SizeError(f"{videos} has a video of one prompt; give at least two, to measure chance")
        else:
            made_by = generator_settings(model, device, dtype)
            jobs = [
                VideoJob(question.name, question.prompt, Generate(prompt=question.prompt, seed=seed + number))
                for number, question in enumerate(questions)
            ]
            pipeline = load_generator(model, device, dtype)
            with progress("generating") as on_progress:
                paths = generate_missing(jobs, pipeline.run, cache / "model", {**made_by, **settings}, on_progress)
        renders = None
        if baseline:
            shape = render_shape(read_video(paths[questions[0].name]))
            with progress("rendering") as on_progress:
                renders = generate_missing(
                    render_jobs(questions),
                    lambda question: render_question(question, shape),
                    cache / "renders",
                    {"shape": list(shape), **settings},
                    on_progress,
                )
        with progress("reading") as on_progress:
            report = evaluate_faithful(
                questions,
                reader.read,
                render=None if renders is None else lambda question: read_video(renders[question.name]),
                make=lambda question: read_video(paths[question.name]),
                judge=reader.config.accuracy,
                on_progress=on_progress,
            )
    return replace(report, num_missing=num_prompts - len(questions))


def write_prompts(folder: Path, num_prompts: int = 48, seed: int = 0, variety: float = 1.0) -> Path:
    """Write the prompts for another system to metadata.jsonl and return the folder."""
    return write_job_prompts(render_jobs(make_questions(num_prompts, seed, variety)), folder)


@dataclass(frozen=True)
class FaithfulReport:
    """Verdicts by video source, the judge's own accuracy by attribute, and the number of prompts without a video."""

    questions: list[Question]
    found: dict[str, Verdicts]
    judge: dict[str, float]
    sheet: Video
    num_missing: int = 0

    def tables(self) -> dict[str, dict[str, Rate]]:
        """Rates of each source: by attribute, overall, and overall by language and by split."""
        parts = {title: [q.language == language for q in self.questions] for language, title in LANGUAGE_TITLES.items()}
        parts |= {SPLIT_TITLES[split]: [q.split == split for q in self.questions] for split in SPLITS}
        tables = {}
        for who, found in self.found.items():
            some = {
                name: rate([clip for clip, wanted in zip(found, chosen, strict=True) if wanted])
                for name, chosen in parts.items()
                if any(chosen)
            }
            tables[who] = rates(found) | some
        return tables

    def lines(self) -> list[str]:
        """A table of the accuracy of each attribute in percent, with its 95 % interval; one column per source."""
        tables = self.tables()
        rows = [f"{'correct, % (95 %)':20}{'judge':>8}" + "".join(f"{who:>22}" for who in tables)]
        for name in (*REPORTED, OVERALL, *LANGUAGE_TITLES.values(), *SPLIT_TITLES.values()):
            if any(name in table for table in tables.values()):
                own = f"{100 * self.judge[name]:.1f}" if name in self.judge else "-"
                cells = (_cell(table.get(name)) for table in tables.values())
                rows.append(f"{name:20}{own:>8}" + "".join(f"{cell:>22}" for cell in cells))
        num_prompts = self.num_missing + len(self.questions)
        missing = [f"left out: {self.num_missing} of {num_prompts} prompts have no video"] if self.num_missing else []
        return [*rows, *missing]

    def write(self, out: Path) -> None:
        """Write faithful.json and faithful.png into a folder."""
        clips = [
            {"name": q.name, "language": q.language, "split": q.split, "prompt": q.prompt}
            | {who: [verdict._asdict() for verdict in found[k]] for who, found in self.found.items()}
            for k, q in enumerate(self.questions)
        ]
        scores = {who: {name: asdict(r) for name, r in table.items()} for who, table in self.tables().items()}
        write_report(out, "faithful", {"scores": scores, "judge": self.judge, "clips": clips}, self.sheet)


def evaluate_faithful(
    questions: Sequence[Question],
    read: Read,
    *,
    render: Make | None = None,
    make: Make | None = None,
    judge: Mapping[str, float] | None = None,
    on_progress: OnProgress | None = None,
) -> FaithfulReport:
    """Verdicts on the simulator's videos (with chance) and a model's, or on one of them.

    `judge` is the judge's own accuracy by attribute, shown for reference.
    """
    makers = {who: each for who, each in (("renders", render), ("model", make)) if each is not None}
    readings: dict[str, list[Reading]] = {who: [] for who in makers}
    shown: list[Video] = []
    for question in questions:
        for who, each in makers.items():
            video = each(question)
            readings[who].append(read(video))
            if who == list(makers)[-1] and len(shown) < NUM_SHOWN:
                shown.append(_few_frames(video))
            if on_progress is not None:
                on_progress(sum(map(len, readings.values())), len(makers) * len(questions))
    truths = [question.truth for question in questions]
    found: dict[str, Verdicts] = {}
    for who, seen in readings.items():
        found[who] = [verdicts(t, r.sentence, r.confidence) for t, r in zip(truths, seen, strict=True)]
        if who == "renders":
            found["shuffled"] = [verdicts(t, r.sentence) for t, r in zip(truths, shuffled(seen), strict=True)]
    sheet = _sheet(questions[:NUM_SHOWN], shown, found[list(makers)[-1]])
    return FaithfulReport(list(questions), found, dict(judge or {}), sheet)


def _cell(rate: Rate | None) -> str:
    if rate is None or rate.num == 0:
        return "-"
    return f"{100 * rate.accuracy:.1f} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def _few_frames(video: Video) -> Video:
    """Evenly spaced frames of a video, at the judge's size."""
    chosen = np.linspace(0, video.num_frames - 1, SHOWN_FRAMES).round().astype(int)
    few = Video(video.frames[chosen], video.fps)
    shape = render_shape(few)
    return few.fit(shape.height, shape.width)


def _sheet(questions: Sequence[Question], shown: Sequence[Video], found: Verdicts) -> Video:
    """Frames of each video with its prompt and reading; the border is green if all attributes are correct, else red."""
    strips, labels = [], []
    for question, video, clip in zip(questions, shown, found, strict=False):
        strip = contact_sheet([video], columns=1, frames_per_video=SHOWN_FRAMES).frames[0]
        colour = RIGHT if all(verdict.right for verdict in clip) else WRONG
        framed = np.full((strip.shape[0] + 2 * BORDER, strip.shape[1] + 2 * BORDER, 3), colour, np.uint8)
        framed[BORDER:-BORDER, BORDER:-BORDER] = strip
        strips.append(Video(framed[None], video.fps))
        labels.append(f"prompt: {question.prompt} -- read: {', '.join(map(_verdict_text, clip))}")
    return labelled_sheet(strips, labels, columns=2, scale=1)


def _verdict_text(verdict: Verdict) -> str:
    """The value read; a wrong one in brackets with the requested value."""
    read = "nothing" if verdict.read is None else verdict.read
    text = f"{verdict.attribute} {read}" if verdict.attribute in ("count", "groups", "shots", "relation") else read
    return text if verdict.right else f"[{verdict.attribute}: {read}, not {verdict.wanted}]"
