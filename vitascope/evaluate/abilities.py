"""Do the abilities do what they are for? Each is used on rendered clips, whose truth is known.

Given frames should come back as the codec alone returns them; a step across a join should be no larger than those
inside the clip; what fills a hole should be nearer to what was there than a cross-fade or a frame held still; an edit
should change what it is asked to and nothing else. The judge reads edits, pixels tell the rest.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from einops import reduce
from jaxtyping import Float, UInt8

from vitascope.codec.quality import psnr
from vitascope.errors import SizeError
from vitascope.evaluate.faithful import Question, make_questions, render_question
from vitascope.evaluate.judge import Read
from vitascope.evaluate.report import confidence, write_report
from vitascope.judge.scoring import verdicts
from vitascope.judge.sentence import describe
from vitascope.production import ClipShape, OnProgress
from vitascope.video import Video, contact_sheet
from vitascope.world.captions import DETAILED
from vitascope.world.captions import describe as say
from vitascope.world.words import COLOURS

INSIDE = 95.0  # percentile of the steps inside a clip, beyond which one across a join stands out
MOTION_CELLS = 8  # along each side of a picture: where something moves
NUM_SHOWN, SHOWN_FRAMES = 3, 9
FILLED = ("model", "cross-fade", "held frame")


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


@dataclass(frozen=True)
class Task:
    """What is made of a clip. Given parts stand at frames of it; a join is a frame of other origin than the one before.

    The join after the last frame is that with the first.
    """

    ability: str
    make: Callable[[], Video]
    given: Mapping[int, Video]
    joins: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """How much worse than by the codec alone given frames came back, dB; steps across joins, 1 the largest inside."""

    ability: str
    clip: str
    lost: float
    seams: tuple[float, ...]


@dataclass(frozen=True)
class Edit:
    """Whether an edited clip shows the colour asked for, and still the kinds and the motion that were there.

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


def make_subjects(num: int, seed: int, shape: ClipShape) -> list[Subject]:
    """Clips of one or two actors, none of which was trained on.

    Raises:
        SizeError: fewer than two clips.
    """
    return [Subject(q, render_question(q, shape)) for q in make_questions(num, seed, variety=0.0)]


def make_tasks(maker: Maker, subject: Subject, other: Video, step: int, seed: int) -> list[Task]:
    """Every ability with given frames, used on a clip; `step` is how many frames latent frames hold.

    Raises:
        SizeError: a clip of fewer than four latent frames: too little to take something away from.
    """
    clip, prompt, fps = subject.video, subject.question.prompt, float(subject.video.fps)
    cells = (clip.num_frames - 1) // step
    if cells < 3:
        raise SizeError(f"clips of {clip.num_frames} frames: abilities are measured on {1 + 3 * step} or more")
    total = 1 + cells * step
    half, hole = 1 + cells // 2 * step, _hole(cells, step)
    seconds = (total - half) / fps
    size = {"height": clip.height, "width": clip.width, "fps": fps}

    def part(video: Video, start: int, stop: int) -> Video:
        return Video(video.frames[start:stop], video.fps)

    before, after = part(clip, 0, half), part(clip, total - half, total)
    whole, first = part(clip, 0, total), part(clip, 0, 1)
    tail = (cells - cells // 2) * step  # what a made half has, and a given one that others precede
    tasks = {
        "first frame": (
            lambda: maker.generate(prompt, image=first, num_frames=total, **size, seed=seed),
            {0: first},
            (1,),
        ),
        "extend": (lambda: maker.extend(before, prompt, seconds=seconds, seed=seed), {0: before}, (half,)),
        "backward": (
            lambda: maker.extend(after, prompt, seconds=seconds, backward=True, seed=seed),
            {total - half: after},
            (total - half,),
        ),
        "fill": (
            lambda: maker.fill(whole, [(hole.start / fps, hole.stop / fps)], prompt, seed=seed),
            {0: part(clip, 0, hole.start), hole.stop: part(clip, hole.stop, total)},
            (hole.start, hole.stop),
        ),
        "connect": (
            lambda: maker.connect(part(clip, 0, 1 + step), part(other, 0, step), prompt, seconds=tail / fps, seed=seed),
            {0: part(clip, 0, 1 + step), 1 + step + tail: part(other, 0, step)},
            (1 + step, 1 + step + tail),
        ),
        "loop": (lambda: maker.loop(before, prompt, seconds=seconds, seed=seed), {0: before}, (half, half + tail)),
    }
    return [Task(name, *task) for name, task in tasks.items()]


def _hole(cells: int, step: int) -> slice:
    """The frames that are taken away to be filled: half of the latent frames, from the second on."""
    return slice(1 + step, 1 + step + cells // 2 * step)


def judge_outcome(task: Task, subject: Subject, made: Video, codec: Callable[[Video], Video]) -> Outcome:
    """What came back of what was given, and how it joins; `codec` encodes and decodes."""
    lost = [
        psnr(codec(part).frames, part.frames) - psnr(made.frames[at : at + part.num_frames], part.frames)
        for at, part in task.given.items()
    ]
    largest = np.percentile(steps(codec(subject.video).frames), INSIDE)
    across = steps(np.concatenate([made.frames, made.frames[:1]]))
    return Outcome(task.ability, subject.question.name, max(lost), tuple(across[j - 1] / largest for j in task.joins))


def steps(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, " _"]:
    """The mean difference of each frame from the one before, in levels of 255."""
    return np.abs(np.diff(frames.astype(np.float64), axis=0)).mean(axis=(1, 2, 3))


def filled(clip: Video, made: Video, step: int) -> dict[str, float]:
    """PSNR in dB of what fills the hole of `make_tasks`: a model's, a cross-fade, the frame before it held still."""
    hole = _hole((clip.num_frames - 1) // step, step)
    truth, last, following = clip.frames[hole], clip.frames[hole.start - 1], clip.frames[hole.stop]
    share = (np.arange(1, len(truth) + 1) / (len(truth) + 1))[:, None, None, None]
    fade = ((1 - share) * last + share * following).round().astype(np.uint8)
    ways = {"model": made.frames[hole], "cross-fade": fade, "held frame": np.broadcast_to(last, truth.shape)}
    return {name: psnr(frames, truth) for name, frames in ways.items()}


def recoloured(question: Question) -> Question:
    """The question with its first actor in another colour, one that no other actor has."""
    first, *others = question.scene.actors
    taken = {actor.colour for actor in question.scene.actors}
    free = [colour for colour in COLOURS if colour not in taken]
    colour = free[question.scene.seed % len(free)]
    scene = replace(question.scene, actors=(replace(first, colour=colour), *others))
    prompt = say(scene, question.language, np.random.default_rng([scene.seed, 8]), telling=DETAILED)
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
    """Of every ability and clip what came back and how it joins; PSNR of what was filled, by contestant; and edits."""

    outcomes: list[Outcome]
    holes: list[dict[str, float]]
    edits: list[Edit]
    strength: float
    sheet: Video

    def lines(self) -> list[str]:
        """Three tables."""
        rows = [
            f"{'':14}{'given, dB lost':>24}{'steps across joins':>30}",
            f"{'':14}{'mean':>12}{'worst':>12}{'median':>18}{'within':>12}",
        ]
        for ability in dict.fromkeys(outcome.ability for outcome in self.outcomes):
            some = [outcome for outcome in self.outcomes if outcome.ability == ability]
            lost, seams = [o.lost for o in some], np.array([seam for o in some for seam in o.seams])
            within = f"{int((seams <= 1).sum())} of {len(seams)}"
            rows.append(
                f"{ability:14}{np.mean(lost):12.2f}{max(lost):12.2f}{100 * float(np.median(seams)):16.0f} %{within:>12}"
            )
        rows += ["", f"{'filled, dB':14}{'mean (95 %)':>24}{'model is better':>30}"]
        for who in FILLED:
            values = np.array([hole[who] for hole in self.holes])
            better = sum(hole["model"] > hole[who] for hole in self.holes)
            rows.append(f"{who:14}{_mean(values):>24}" + ("" if who == "model" else f"{better:>24} of {len(values)}"))
        rows += ["", f"{'edited':34}{'source':>20}{'edited':>20}"]
        for said, before, after in (
            ("colour as asked, % (95 %)", "colour_before", "colour"),
            ("kind as asked, % (95 %)", "kind_before", "kind"),
        ):
            shares = (np.array([100.0 * getattr(edit, name) for edit in self.edits]) for name in (before, after))
            rows.append(f"{said:34}" + "".join(f"{_mean(share):>20}" for share in shares))
        motion, elsewhere = (np.mean([getattr(edit, name) for edit in self.edits]) for name in ("motion", "elsewhere"))
        rows.append(f"motion's correlation {motion:.2f} with the source, {elsewhere:.2f} with another clip")
        return rows

    def write(self, out: Path) -> None:
        """Write abilities.json and abilities.png into a folder."""
        tree = {
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "filled": self.holes,
            "strength": self.strength,
            "edits": [asdict(edit) for edit in self.edits],
        }
        write_report(out, "abilities", tree, self.sheet)


def evaluate_abilities(
    maker: Maker,
    subjects: Sequence[Subject],
    codec: Callable[[Video], Video],
    read: Read,
    *,
    step: int,
    strength: float = 0.8,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> AbilitiesReport:
    """Use every ability on every clip. `codec` encodes and decodes; `step` is how many frames latent frames hold.

    Raises:
        SizeError: fewer than two clips, or clips that are too short.
    """
    if len(subjects) < 2:
        raise SizeError(f"{len(subjects)} clips: abilities are measured on two or more")
    outcomes, holes, edits, shown, labels = [], [], [], [], []
    for number, subject in enumerate(subjects):
        question, clip = subject
        other = subjects[(number + 1) % len(subjects)].video
        made = {"source": clip}
        for task in make_tasks(maker, subject, other, step, seed + number):
            made[task.ability] = task.make()
            outcomes.append(judge_outcome(task, subject, made[task.ability], codec))
        holes.append(filled(clip, made["fill"], step))
        asked = recoloured(question)
        made["edit"] = maker.edit(clip, asked.prompt, strength=strength, seed=seed + number)
        edits.append(judge_edit(asked, clip, made["edit"], other, read))
        if number < NUM_SHOWN:
            shown += made.values()
            said = {"source": question.prompt, "edit": asked.prompt}
            labels += [f"{name}: {said[name]}" if name in said else name for name in made]
        if on_progress is not None:
            on_progress(number + 1, len(subjects))
    has_pillow = importlib.util.find_spec("PIL") is not None
    sheet = contact_sheet(shown, columns=2, frames_per_video=SHOWN_FRAMES, labels=labels if has_pillow else None)
    return AbilitiesReport(outcomes, holes, edits, strength, sheet)


def _mean(values: Float[np.ndarray, " n"]) -> str:
    low, high = confidence(values)
    return f"{values.mean():.1f} ({low:.1f}-{high:.1f})"
