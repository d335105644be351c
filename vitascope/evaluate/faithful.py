"""Does a model make what it is asked for? The judge reads its videos of prompts whose scenes are known exactly.

Three contestants stand in the table. `renders` are the simulator's own videos of the same scenes, as the judge reads
them: no score can be trusted above that. `shuffled` are the same readings against another scene: what is right by
chance. `model` is what was made of the prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vitascope.errors import SizeError
from vitascope.evaluate.judge import Read, others
from vitascope.evaluate.rates import Rate, Verdicts, rate, rates
from vitascope.evaluate.report import write_report
from vitascope.judge.scoring import verdicts
from vitascope.judge.sentence import Sentence, describe
from vitascope.production import Split
from vitascope.video import Video, contact_sheet
from vitascope.world.captions import DETAILED
from vitascope.world.captions import describe as say
from vitascope.world.sampling import sample_scene
from vitascope.world.scene import Scene
from vitascope.world.words import LANGUAGES, Language

FIRST_SEED = 10**12  # far beyond the seeds of datasets: no scene here was trained on
SPLITS: tuple[Split, ...] = ("train", "held_out")
SAID: dict[Split, str] = {"train": "combinations seen", "held_out": "combinations unseen"}
NUM_SHOWN = 8


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
        scene = sample_scene(FIRST_SEED + seed * 1_000_000 + k, split, variety=variety)
        prompt = say(scene, language, np.random.default_rng([scene.seed, 8]), telling=DETAILED)
        questions.append(Question(f"{language}_{split}_{k:04d}", scene, split, language, prompt))
    return questions


@dataclass(frozen=True)
class FaithfulReport:
    """Verdicts on every question by contestant, and what was seen."""

    questions: list[Question]
    found: dict[str, Verdicts]
    sheet: Video

    def tables(self) -> dict[str, dict[str, Rate]]:
        """Of each contestant, the rates by attribute, overall, and overall by language and by split."""
        parts = {"English": [q.language == "en" for q in self.questions]}
        parts["Chinese"] = [q.language == "zh" for q in self.questions]
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
        """A table: what is right of each attribute in per cent, a column a contestant, with its interval."""
        tables = self.tables()
        rows = [f"{'':20}" + "".join(f"{who:>22}" for who in tables)]
        for name in tables["renders"]:
            cells = (_cell(table.get(name)) for table in tables.values())
            rows.append(f"{name:20}" + "".join(f"{cell:>22}" for cell in cells))
        return rows

    def write(self, out: Path) -> None:
        """Write faithful.json and faithful.png into a folder."""
        tree = {
            "scores": {who: {name: asdict(r) for name, r in table.items()} for who, table in self.tables().items()},
            "questions": {question.name: question.prompt for question in self.questions},
        }
        write_report(out, "faithful", tree, self.sheet)


def evaluate_faithful(
    questions: Sequence[Question],
    read: Read,
    render: Make,
    make: Make | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> FaithfulReport:
    """What the judge reads of the simulator's videos, by chance, and of a model's."""
    readings, made_found, shown = [], [], []
    for done, question in enumerate(questions, start=1):
        true = render(question)
        readings.append(read(true))
        shown.append(true)
        if make is not None:
            video = make(question)
            reading = read(video)
            made_found.append(verdicts(question.truth, reading.sentence, reading.confidence))
            shown.append(video)
        shown = shown[: NUM_SHOWN * 2]
        if on_progress is not None:
            on_progress(done, len(questions))
    truths = [question.truth for question in questions]
    found: dict[str, Verdicts] = {
        "renders": [verdicts(t, r.sentence, r.confidence) for t, r in zip(truths, readings, strict=True)],
        "shuffled": [verdicts(t, r.sentence) for t, r in zip(truths, others(readings), strict=True)],
    }
    if make is not None:
        found["model"] = made_found
    return FaithfulReport(list(questions), found, contact_sheet(shown, columns=2, frames_per_video=5))


def _cell(rate: Rate | None) -> str:
    if rate is None or rate.num == 0:
        return "-"
    return f"{100 * rate.accuracy:.1f} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"
