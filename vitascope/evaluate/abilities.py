"""Do the abilities do what they are for? Each is used on rendered clips, whose truth is known.

Given frames should come back as the codec alone returns them; a step across a join should be no larger than those
inside the clip; what fills a hole should be nearer to what was there than a cross-fade or a frame held still; an edit
should change what it is asked to and nothing else. The judge reads edits, pixels tell the rest.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from einops import reduce
from jaxtyping import Float, UInt8

from vitascope.codec.quality import psnr
from vitascope.data.production import OnProgress
from vitascope.errors import SizeError
from vitascope.evaluate.faithful import Question, make_questions, render_question
from vitascope.evaluate.judge import Read
from vitascope.evaluate.measures.report import confidence, write_report
from vitascope.judge.scoring import verdicts
from vitascope.judge.sentence import describe
from vitascope.video import Video, contact_sheet
from vitascope.video.shape import VideoShape
from vitascope.worlds.solids.captions import DETAILED, write_caption
from vitascope.worlds.solids.words import COLOURS

INSIDE = 95.0  # percentile of the steps inside a clip, beyond which one across a join stands out
MOTION_CELLS = 8  # along each side of a picture: where something moves
NUM_SHOWN, SHOWN_FRAMES = 3, 9
KNOWN = ("first frame", "extend", "backward", "both ways", "fill")  # abilities that make what a clip has
FILLED = ("codec", "model", "cross-fade", "held frame")


@runtime_checkable
class Maker(Protocol):
    """The abilities of a `Pipeline`."""

    @property
    def generate(self) -> Callable[..., Video]: ...

    @property
    def extend(self) -> Callable[..., Video]: ...

    @property
    def fill(self) -> Callable[..., Video]: ...

    @property
    def connect(self) -> Callable[..., Video]: ...

    @property
    def loop(self) -> Callable[..., Video]: ...

    @property
    def edit(self) -> Callable[..., Video]: ...


class Subject(NamedTuple):
    """A rendered clip, and what it shows."""

    question: Question
    video: Video


class Given(NamedTuple):
    """Frames of a video that an ability is given: those that are to come back."""

    video: Video
    start: int
    stop: int


@dataclass(frozen=True)
class Task:
    """What is made of a clip. Given frames stand from a frame of it on.

    A join is a frame of other origin than the one before, which for frame 0 is the last. With it goes the number of the
    clip that is given there.
    """

    ability: str
    clip: int
    name: str
    prompt: str
    make: Callable[[], Video]
    given: Mapping[int, Given]
    joins: Mapping[int, int]


@dataclass(frozen=True)
class Outcome:
    """How much worse than by the codec alone given frames came back, dB; steps across joins, 1 the largest inside."""

    ability: str
    clip: str
    lost: float | None
    seams: tuple[float, ...]


@dataclass(frozen=True)
class Edit:
    """Whether an edited clip shows every actor in the colour asked for, and still the kinds and motion that were there.

    `motion` is the correlation of where and when something changes with the source, `elsewhere` that with another clip.
    """

    clip: str
    prompt: str
    colour: bool
    colour_before: bool
    kind: bool
    kind_before: bool
    motion: float
    elsewhere: float


def make_subjects(num: int, seed: int, shape: VideoShape, on_progress: OnProgress | None = None) -> list[Subject]:
    """Clips of one or two actors, none of which was trained on.

    Raises:
        SizeError: fewer than two clips.
    """
    subjects = []
    for question in make_questions(num, seed, variety=0.0):
        subjects.append(Subject(question, render_question(question, shape)))
        if on_progress is not None:
            on_progress(len(subjects), num)
    return subjects


def make_tasks(maker: Maker, subjects: Sequence[Subject], step: int, strength: float, seed: int) -> list[Task]:
    """Every ability, used on every clip; `step` is how many frames latent frames hold.

    Raises:
        SizeError: fewer than two clips, or such of fewer than four latent frames: too little to take something away.
    """
    if len(subjects) < 2:
        raise SizeError(f"{len(subjects)} clips: abilities are measured on two or more")
    shortest = min(subject.video.num_frames for subject in subjects)
    if shortest < 1 + 3 * step:
        raise SizeError(f"clips of {shortest} frames: abilities are measured on {1 + 3 * step} or more")
    return [
        task
        for number in range(len(subjects))
        for task in _tasks_of(maker, subjects, number, step, strength, seed + number)
    ]


def _tasks_of(
    maker: Maker, subjects: Sequence[Subject], number: int, step: int, strength: float, seed: int
) -> list[Task]:
    question, clip = subjects[number]
    neighbour = _neighbour(number)
    other, prompt, fps = subjects[neighbour].video, question.prompt, float(clip.fps)
    cells = (clip.num_frames - 1) // step
    total = 1 + cells * step
    half, hole = 1 + cells // 2 * step, _hole(cells, step)
    seconds = (total - half) / fps
    size = {"height": clip.height, "width": clip.width, "fps": fps}

    def part(video: Video, start: int, stop: int) -> Video:
        return Video(video.frames[start:stop], video.fps)

    def task(
        ability: str,
        make: Callable[[], Video],
        given: Mapping[int, Given],
        joins: Mapping[int, int],
        prompt: str = prompt,
    ) -> Task:
        return Task(ability, number, f"{question.name}_{ability.replace(' ', '_')}", prompt, make, given, joins)

    first, whole = part(clip, 0, 1), part(clip, 0, total)
    before, after = part(clip, 0, half), part(clip, total - half, total)
    beginning, middle, following = part(clip, 0, 1 + step), part(clip, step, 1 + 2 * step), part(other, 0, step)
    asked = recoloured(question)

    def both_ways() -> Video:
        longer = maker.extend(middle, prompt, seconds=step / fps, backward=True, seed=seed)
        return maker.extend(longer, prompt, seconds=(total - longer.num_frames) / fps, seed=seed)

    return [
        task(
            "first frame",
            lambda: maker.generate(prompt, image=first, num_frames=total, **size, seed=seed),
            {0: _all_of(first)},
            {1: number},
        ),
        task(
            "extend",
            lambda: maker.extend(before, prompt, seconds=seconds, seed=seed),
            {0: _all_of(before)},
            {half: number},
        ),
        task(
            "backward",
            lambda: maker.extend(after, prompt, seconds=seconds, backward=True, seed=seed),
            {total - half: _all_of(after)},
            {total - half: number},
        ),
        # what was given goes through the codec twice, so nothing is said of how it comes back
        task("both ways", both_ways, {}, {step: number, 1 + 2 * step: number}),
        task(
            "fill",
            lambda: maker.fill(whole, [(hole.start / fps, hole.stop / fps)], prompt, seed=seed),
            {0: Given(whole, 0, hole.start), hole.stop: Given(whole, hole.stop, total)},
            {hole.start: number, hole.stop: number},
        ),
        task(
            "connect",
            lambda: maker.connect(beginning, following, prompt, seconds=seconds, seed=seed),
            {0: _all_of(beginning), 1 + step + total - half: _all_of(following)},
            {1 + step: number, 1 + step + total - half: neighbour},
        ),
        task(
            "loop",
            lambda: maker.loop(before, prompt, seconds=seconds, seed=seed),
            {0: _all_of(before)},
            {half: number, 0: number},
        ),
        task("edit", lambda: maker.edit(clip, asked.prompt, strength=strength, seed=seed), {}, {}, asked.prompt),
    ]


def _all_of(video: Video) -> Given:
    return Given(video, 0, video.num_frames)


def _neighbour(number: int) -> int:
    """Another clip, the same one however many there are."""
    return number - 1 if number else 1


def _hole(cells: int, step: int) -> slice:
    """The frames that are taken away to be filled: half of the latent frames, from the second on."""
    return slice(1 + step, 1 + step + cells // 2 * step)


def judge_outcome(
    task: Task, name: str, made: Video, codec: Callable[[Video], Video], largest: Callable[[int], float]
) -> Outcome:
    """What came back of what was given of the clip of that name, and how it joins; `codec` encodes and decodes.

    `largest` gives of each clip, by its number, the step inside beyond which one across a join stands out.
    """
    lost = []
    for at, (video, start, stop) in task.given.items():
        wanted = video.frames[start:stop]
        returned = made.frames[at : at + stop - start]
        lost.append(psnr(codec(video).frames[start:stop], wanted) - psnr(returned, wanted))
    across = steps(np.concatenate([made.frames[-1:], made.frames]))
    seams = tuple(float(across[join] / largest(clip)) for join, clip in task.joins.items())
    return Outcome(task.ability, name, max(lost, default=None), seams)


def steps(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, " _"]:
    """The mean difference of each frame from the one before, in levels of 255."""
    return np.abs(np.diff(frames.astype(np.float64), axis=0)).mean(axis=(1, 2, 3))


def filled(clip: Video, coded: Video, made: Video, step: int) -> dict[str, float]:
    """PSNR in dB of what fills the hole of `make_tasks`, by contestant: see `FILLED`.

    A cross-fade and the frame before the hole held still are of the clip's own frames. What is made has been through
    the codec, so it can't come above what that alone returns of the clip, `coded`.
    """
    hole = _hole((clip.num_frames - 1) // step, step)
    truth, last, following = clip.frames[hole], clip.frames[hole.start - 1], clip.frames[hole.stop]
    share = (np.arange(1, len(truth) + 1) / (len(truth) + 1))[:, None, None, None]
    fade = ((1 - share) * last + share * following).round().astype(np.uint8)
    ways = (coded.frames[hole], made.frames[hole], fade, np.broadcast_to(last, truth.shape))
    return {name: psnr(frames, truth) for name, frames in zip(FILLED, ways, strict=True)}


def recoloured(question: Question) -> Question:
    """The question with its first actor in another colour, one that no other actor has."""
    first, *others = question.scene.actors
    taken = {actor.colour for actor in question.scene.actors}
    free = [colour for colour in COLOURS if colour not in taken]
    colour = free[question.scene.seed % len(free)]
    scene = replace(question.scene, actors=(replace(first, colour=colour), *others))
    prompt = write_caption(scene, question.language, np.random.default_rng([scene.seed, 8]), verbosity=DETAILED)
    return replace(question, scene=scene, prompt=prompt)


def judge_edit(asked: Question, source: Video, made: Video, other: Video, read: Read) -> Edit:
    """What the judge reads of an edit, and of its source, against what was asked for."""
    truth = describe(asked.scene.attributes())
    found = {who: verdicts(truth, read(video).sentence) for who, video in (("made", made), ("source", source))}

    def right(who: str, attribute: str) -> bool:
        return all(verdict.right for verdict in found[who] if verdict.attribute == attribute)

    return Edit(
        asked.name,
        asked.prompt,
        colour=right("made", "colour"),
        colour_before=right("source", "colour"),
        kind=right("made", "kind"),
        kind_before=right("source", "kind"),
        motion=motion_correlation(source, made),
        elsewhere=motion_correlation(other, made),
    )


def motion_correlation(a: Video, b: Video) -> float:
    """Pearson's correlation, over cells and steps, of how much changes there, in [-1, 1]; 0 where nothing does."""
    x, y = (_changes(video).ravel() for video in (a, b))
    return 0.0 if min(x.std(), y.std()) == 0 else float(np.corrcoef(x, y)[0, 1])


def _changes(video: Video) -> Float[np.ndarray, "t r c"]:
    change = np.abs(np.diff(video.frames.astype(np.float64), axis=0)).mean(axis=-1)
    down, across = (side // MOTION_CELLS for side in change.shape[1:])
    cropped = change[:, : MOTION_CELLS * down, : MOTION_CELLS * across]
    return reduce(cropped, "t (r a) (c b) -> t r c", "mean", a=down, b=across)


@dataclass(frozen=True)
class AbilitiesReport:
    """Of every ability and clip what came back and how it joins; of clips what filled them, PSNR in dB; and edits.

    `known` are the outcomes of one who knows what is to be made, as far as anybody can.
    """

    outcomes: list[Outcome]
    known: list[Outcome]
    holes: dict[str, dict[str, float]]
    edits: list[Edit]
    sheet: Video

    def lines(self) -> list[str]:
        """Three tables."""
        rows = [
            f"{'':14}{'given, dB lost':>30}{'steps across joins, %':>32}{'if the truth is made':>24}",
            f"{'':14}{'mean (95 %)':>20}{'worst':>10}{'median':>12}{'up to 100 (95 %)':>20}{'median':>24}",
        ]
        for ability in dict.fromkeys(outcome.ability for outcome in self.outcomes):
            rows.append(self._outcome_row(ability))
        rows += ["", f"{'filled, dB':14}{'mean (95 %)':>20}{'model is better by (95 %)':>30}{'in':>12}"]
        model = self._filled_by("model")
        for who in FILLED:
            values = self._filled_by(who)
            beaten = "" if who == "model" else f"{_mean(model - values):>30}{(model > values).sum():>6} of {len(model)}"
            rows.append(f"{who:14}{_mean(values):>20}{beaten}")
        rows += ["", f"{'edited':30}{'source':>24}{'edited':>24}"]
        for said, before, after in (
            ("colours as asked, % (95 %)", "colour_before", "colour"),
            ("kinds as asked, % (95 %)", "kind_before", "kind"),
        ):
            cells = (_mean(100 * self._of_edits(name)) for name in (before, after))
            rows.append(f"{said:30}" + "".join(f"{cell:>24}" for cell in cells))
        motion, elsewhere = (_mean(self._of_edits(name), 2) for name in ("motion", "elsewhere"))
        rows.append(f"motion's correlation (95 %): {motion} with the source, {elsewhere} with another clip")
        return rows

    def write(self, out: Path) -> None:
        """Write abilities.json and abilities.png into a folder."""
        tree = {
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "outcomes if the truth is made": [asdict(outcome) for outcome in self.known],
            "filled": self.holes,
            "edits": [asdict(edit) for edit in self.edits],
        }
        write_report(out, "abilities", tree, self.sheet)

    def _outcome_row(self, ability: str) -> str:
        some = [outcome for outcome in self.outcomes if outcome.ability == ability]
        lost = np.array([outcome.lost for outcome in some if outcome.lost is not None])
        returned = f"{_mean(lost, 2):>20}{lost.max():10.2f}" if len(lost) else f"{'-':>20}{'-':>10}"
        median = 100 * float(np.median(_seams(self.outcomes, ability)))
        known = _seams(self.known, ability)
        best = f"{100 * float(np.median(known)):.0f}" if known else "-"
        within = np.array([100.0 * sum(seam <= 1 for seam in outcome.seams) for outcome in some])
        share = _mean(within, 0, np.array([float(len(outcome.seams)) for outcome in some]))
        return f"{ability:14}{returned}{median:12.0f}{share:>20}{best:>24}"

    def _filled_by(self, who: str) -> Float[np.ndarray, " n"]:
        return np.array([hole[who] for hole in self.holes.values()])

    def _of_edits(self, name: str) -> Float[np.ndarray, " n"]:
        return np.array([getattr(edit, name) for edit in self.edits], np.float64)


def evaluate_abilities(
    subjects: Sequence[Subject],
    tasks: Sequence[Task],
    known: Sequence[Task],
    show: Callable[[Task], Video],
    codec: Callable[[Video], Video],
    read: Read,
    *,
    step: int,
    on_progress: OnProgress | None = None,
) -> AbilitiesReport:
    """What became of the tasks of `make_tasks`; `show` is what was made, to the pixel; `codec` encodes and decodes.

    `known` are the same tasks, for one who knows the clips; none if there is nobody.
    """

    @cache
    def coded(number: int) -> Video:
        return codec(subjects[number].video)

    def largest(number: int) -> float:
        return float(np.percentile(steps(coded(number).frames), INSIDE))

    def outcome(task: Task, video: Video) -> Outcome:
        return judge_outcome(task, subjects[task.clip].question.name, video, codec, largest)

    outcomes, best, holes, edits, shown, labels = [], [], {}, [], [], []
    for number, (question, clip) in enumerate(subjects):
        made = {"source": clip}
        for task in (task for task in tasks if task.clip == number):
            video = made[task.ability] = show(task)
            if task.joins:
                outcomes.append(outcome(task, video))
        best += [outcome(task, task.make()) for task in known if task.clip == number and task.ability in KNOWN]
        asked, other = recoloured(question), subjects[_neighbour(number)].video
        holes[question.name] = filled(clip, coded(number), made["fill"], step)
        edits.append(judge_edit(asked, clip, made["edit"], other, read))
        if number < NUM_SHOWN:
            shown += made.values()
            said = {"source": question.prompt, "edit": asked.prompt}
            labels += [f"{name}: {said[name]}" if name in said else name for name in made]
        if on_progress is not None:
            on_progress(number + 1, len(subjects))
    has_pillow = importlib.util.find_spec("PIL") is not None
    sheet = contact_sheet(shown, columns=2, frames_per_video=SHOWN_FRAMES, labels=labels if has_pillow else None)
    return AbilitiesReport(outcomes, best, holes, edits, sheet)


def _seams(outcomes: Sequence[Outcome], ability: str) -> list[float]:
    return [seam for outcome in outcomes if outcome.ability == ability for seam in outcome.seams]


def _mean(values: Float[np.ndarray, " n"], digits: int = 1, counts: Float[np.ndarray, " n"] | None = None) -> str:
    """A mean and its 95 % interval; with `counts`, values are sums of so many."""
    mean = values.mean() if counts is None else values.sum() / counts.sum()
    low, high = confidence(values, counts)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
