"""Does a model make what it is asked for? The judge reads its videos of prompts whose scenes are known exactly.

Beside the model stand what its score is to be compared with. `judge` is the judge's own accuracy on renders that it was
not trained on; `renders` are the simulator's own videos of the same scenes, as the judge reads them: no score can
be trusted above these. `shuffled` are the readings of those against another scene: what is right by chance.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vitascope.data.production import OnProgress
from vitascope.errors import SizeError
from vitascope.evaluate.judge import Read, others
from vitascope.evaluate.measures.rates import Rate, Verdicts, rate, rates
from vitascope.evaluate.measures.report import write_report
from vitascope.evaluate.measures.video_cache import Order
from vitascope.judge.network import Reading
from vitascope.judge.scoring import OVERALL, REPORTED, Verdict, verdicts
from vitascope.judge.sentence import Sentence, describe
from vitascope.video import Video, contact_sheet
from vitascope.video.shape import VideoShape
from vitascope.worlds.language import LANGUAGES, Language
from vitascope.worlds.solids.captions import DETAILED, write_caption
from vitascope.worlds.solids.render import render_scene
from vitascope.worlds.solids.sampling import sample_scene
from vitascope.worlds.solids.scene import Scene
from vitascope.worlds.splits import Split

FIRST_SEED = 10**12  # far beyond the seeds of datasets: no scene here was trained on
SECONDS = 2.0  # within which everything asked for can happen: the same prompts for every model
SPLITS: tuple[Split, ...] = ("train", "held_out")
SAID: dict[Split, str] = {"train": "combinations seen", "held_out": "combinations unseen"}
SPOKEN: dict[Language, str] = {"en": "English", "zh": "Chinese"}
NUM_SHOWN, SHOWN_FRAMES = 16, 6
RIGHT, WRONG, FRAME = (60, 150, 60), (200, 40, 40), 3  # colours and width of a clip's frame in the picture
MAX_ROWS, MAX_FPS = 96, 8.0  # of renders: the judge sees no more of them


@dataclass(frozen=True)
class Question:
    """A scene, and a prompt that says all of it. The first actor's combination may have occurred in training or not."""

    name: str
    scene: Scene
    split: Split
    language: Language
    prompt: str

    @property
    def truth(self) -> Sentence:
        """What a faithful video shows."""
        return describe(self.scene.attributes())


Make = Callable[[Question], Video]


def make_questions(num: int, seed: int = 0, variety: float = 1.0) -> list[Question]:
    """`num` questions, in both languages and of both splits in turn.

    Raises:
        SizeError: fewer than two, which leave nothing to shuffle.
    """
    if num < 2:
        raise SizeError(f"{num} prompts: chance needs at least two")
    questions = []
    for k in range(num):
        language, split = LANGUAGES[k % 2], SPLITS[k // 2 % 2]
        scene = sample_scene(FIRST_SEED + seed * 1_000_000 + k, split, variety=variety, seconds=SECONDS)
        prompt = write_caption(scene, language, np.random.default_rng([scene.seed, 8]), verbosity=DETAILED)
        questions.append(Question(f"{language}_{split}_{k:04d}", scene, split, language, prompt))
    return questions


def render_shape(video: Video) -> VideoShape:
    """How the simulator is to render what this video shows: as long, and as large and as often as the judge can see."""
    scale = min(1.0, MAX_ROWS / min(video.height, video.width))
    height, width = (max(2, 2 * round(side * scale / 2)) for side in (video.height, video.width))
    fps = min(float(video.fps), MAX_FPS)
    return VideoShape(max(1, round(video.duration * fps)), fps, height, width, 0.0)


def generated(questions: Sequence[Question], generate: Callable[..., Video], seed: int) -> list[Order]:
    """A model's video of each prompt, to be made; `generate` is its pipeline's."""
    return [
        Order(q.name, q.prompt, partial(generate, q.prompt, seed=seed + number)) for number, q in enumerate(questions)
    ]


def rendered(questions: Sequence[Question], shape: VideoShape) -> list[Order]:
    """The simulator's own video of each scene, to be made."""
    return [Order(q.name, q.prompt, partial(render_question, q, shape)) for q in questions]


def render_question(question: Question, shape: VideoShape) -> Video:
    """The simulator's own video of a question's scene."""
    num_frames, fps, height, width, start = shape
    return render_scene(question.scene, num_frames=num_frames, fps=fps, height=height, width=width, start=start).video


@dataclass(frozen=True)
class FaithfulReport:
    """Verdicts on every question by contestant, what was seen, and the judge's own accuracy by attribute."""

    questions: list[Question]
    found: dict[str, Verdicts]
    judge: dict[str, float]
    sheet: Video

    def tables(self) -> dict[str, dict[str, Rate]]:
        """Of each contestant, the rates by attribute, overall, and overall by language and by split."""
        parts = {said: [q.language == language for q in self.questions] for language, said in SPOKEN.items()}
        parts |= {SAID[split]: [q.split == split for q in self.questions] for split in SPLITS}
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
        """A table: what is right of each attribute in per cent, a column a contestant, with its 95 % interval."""
        tables = self.tables()
        rows = [f"{'right, % (95 %)':20}{'judge':>8}" + "".join(f"{who:>22}" for who in tables)]
        for name in (*REPORTED, OVERALL, *SPOKEN.values(), *SAID.values()):
            if any(name in table for table in tables.values()):
                own = f"{100 * self.judge[name]:.1f}" if name in self.judge else "-"
                cells = (_cell(table.get(name)) for table in tables.values())
                rows.append(f"{name:20}{own:>8}" + "".join(f"{cell:>22}" for cell in cells))
        return rows

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
    """What the judge reads of the simulator's videos, by chance, and of a model's; of either where there are some.

    `judge` is the judge's own accuracy by attribute, to stand beside.
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
            found["shuffled"] = [verdicts(t, r.sentence) for t, r in zip(truths, others(seen), strict=True)]
    sheet = _sheet(questions[:NUM_SHOWN], shown, found[list(makers)[-1]])
    return FaithfulReport(list(questions), found, dict(judge or {}), sheet)


def _cell(rate: Rate | None) -> str:
    if rate is None or rate.num == 0:
        return "-"
    return f"{100 * rate.accuracy:.1f} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def _few_frames(video: Video) -> Video:
    """What the picture shows of a video, small."""
    chosen = np.linspace(0, video.num_frames - 1, SHOWN_FRAMES).round().astype(int)
    few = Video(video.frames[chosen], video.fps)
    shape = render_shape(few)
    return few.fit(shape.height, shape.width)


def _sheet(questions: Sequence[Question], shown: Sequence[Video], found: Verdicts) -> Video:
    """Frames of each video, in green where all was read as asked, else in red; beneath, what was asked and read."""
    strips, labels = [], []
    for question, video, clip in zip(questions, shown, found, strict=False):
        strip = contact_sheet([video], columns=1, frames_per_video=SHOWN_FRAMES).frames[0]
        colour = RIGHT if all(verdict.right for verdict in clip) else WRONG
        framed = np.full((strip.shape[0] + 2 * FRAME, strip.shape[1] + 2 * FRAME, 3), colour, np.uint8)
        framed[FRAME:-FRAME, FRAME:-FRAME] = strip
        strips.append(Video(framed[None], video.fps))
        labels.append(f"asked: {question.prompt} -- read: {', '.join(map(_told, clip))}")
    has_pillow = importlib.util.find_spec("PIL") is not None
    return contact_sheet(strips, columns=2, labels=labels if has_pillow else None)


def _told(verdict: Verdict) -> str:
    """What was read; what is wrong in brackets, with what was asked for."""
    read = "nothing" if verdict.read is None else verdict.read
    said = f"{verdict.attribute} {read}" if verdict.attribute in ("count", "groups", "shots", "relation") else read
    return said if verdict.right else f"[{verdict.attribute}: {read}, not {verdict.wanted}]"
