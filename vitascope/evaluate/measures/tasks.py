"""Tasks: every verb applied to parts of rendered clips, with the frames given and the joins expected in the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from vitascope.errors import SizeError
from vitascope.evaluate.measures.questions import Question, make_questions, render_question, scene_prompt
from vitascope.generate.requests import Connect, Edit, Extend, Fill, Generate, Loop, Request
from vitascope.progress import OnProgress
from vitascope.video import Video
from vitascope.video.shape import VideoShape
from vitascope.worlds.solids.words import COLOURS

Run = Callable[[Request], Video]
"""Generates the video of a request, as `Pipeline.run` does."""


class Subject(NamedTuple):
    """A question and its rendered clip."""

    question: Question
    video: Video


class Given(NamedTuple):
    """Frames of a video that a request contains and its result should reproduce."""

    video: Video
    start: int
    stop: int


@dataclass(frozen=True)
class Task:
    """One case of conditioning on a clip.

    `make` runs the requests; most cases have one. `given` maps frames of the result to the given frames that start
    there. `joins` maps frames whose predecessor has another origin (frame 0 follows the last) to the index of the clip
    given there.
    """

    case: str
    clip: int
    name: str
    prompt: str
    make: Callable[[Run], Video]
    given: Mapping[int, Given]
    joins: Mapping[int, int]


def make_subjects(num: int, seed: int, shape: VideoShape, on_progress: OnProgress | None = None) -> list[Subject]:
    """Rendered clips of one or two actors, none of them used in training.

    Raises:
        SizeError: fewer than two clips.
    """
    subjects = []
    for question in make_questions(num, seed, variety=0.0):
        subjects.append(Subject(question, render_question(question, shape)))
        if on_progress is not None:
            on_progress(len(subjects), num)
    return subjects


def make_tasks(subjects: Sequence[Subject], step: int, strength: float, seed: int) -> list[Task]:
    """All cases for every clip; `step` is the number of frames in a latent frame, `strength` that of the edits.

    Raises:
        SizeError: fewer than two clips, or clips shorter than four latent frames.
    """
    if len(subjects) < 2:
        raise SizeError(f"{len(subjects)} clips; give two or more, since some cases use a second clip")
    shortest = min(subject.video.num_frames for subject in subjects)
    if shortest < 1 + 3 * step:
        raise SizeError(f"clips of {shortest} frames; give clips of {1 + 3 * step} or more")
    return [
        task for number in range(len(subjects)) for task in _tasks_of(subjects, number, step, strength, seed + number)
    ]


def _tasks_of(subjects: Sequence[Subject], number: int, step: int, strength: float, seed: int) -> list[Task]:
    question, clip = subjects[number]
    other = neighbour(number)
    prompt, fps = question.prompt, float(clip.fps)
    cells = (clip.num_frames - 1) // step
    total = 1 + cells * step
    half, hole = 1 + cells // 2 * step, find_hole(cells, step)
    seconds = (total - half) / fps
    shared = {"prompt": prompt, "seed": seed}

    def part(video: Video, start: int, stop: int) -> Video:
        return Video(video.frames[start:stop], video.fps)

    def task(
        case: str, request: Request | Callable[[Run], Video], given: Mapping[int, Given], joins: Mapping[int, int]
    ) -> Task:
        name = f"{question.name}_{case.replace(' ', '_')}"
        if isinstance(request, Request):
            return Task(case, number, name, request.prompt, partial(_run_one, request), given, joins)
        return Task(case, number, name, prompt, request, given, joins)

    first, whole = part(clip, 0, 1), part(clip, 0, total)
    before, after = part(clip, 0, half), part(clip, total - half, total)
    beginning, middle = part(clip, 0, 1 + step), part(clip, step, 1 + 2 * step)
    following = part(subjects[other].video, 0, step)

    def both_ways(run: Run) -> Video:
        longer = run(Extend(video=middle, seconds=step / fps, backward=True, **shared))
        return run(Extend(video=longer, seconds=(total - longer.num_frames) / fps, **shared))

    size = {"height": clip.height, "width": clip.width, "fps": fps}
    return [
        task("first frame", Generate(image=first, num_frames=total, **size, **shared), {0: _whole(first)}, {1: number}),
        task("extend", Extend(video=before, seconds=seconds, **shared), {0: _whole(before)}, {half: number}),
        task(
            "backward",
            Extend(video=after, seconds=seconds, backward=True, **shared),
            {total - half: _whole(after)},
            {total - half: number},
        ),
        # the given frames are coded twice, so their loss is undefined
        task("both ways", both_ways, {}, {step: number, 1 + 2 * step: number}),
        task(
            "fill",
            Fill(video=whole, missing=((hole.start / fps, hole.stop / fps),), **shared),
            {0: Given(whole, 0, hole.start), hole.stop: Given(whole, hole.stop, total)},
            {hole.start: number, hole.stop: number},
        ),
        task(
            "connect",
            Connect(before=beginning, after=following, seconds=seconds, **shared),
            {0: _whole(beginning), 1 + step + total - half: _whole(following)},
            {1 + step: number, 1 + step + total - half: other},
        ),
        task("loop", Loop(video=before, seconds=seconds, **shared), {0: _whole(before)}, {half: number, 0: number}),
        task("edit", Edit(video=clip, prompt=recoloured(question).prompt, strength=strength, seed=seed), {}, {}),
    ]


def _run_one(request: Request, run: Run) -> Video:
    return run(request)


def _whole(video: Video) -> Given:
    return Given(video, 0, video.num_frames)


def neighbour(number: int) -> int:
    """The index of another clip, the same one for any number of clips."""
    return number - 1 if number else 1


def find_hole(cells: int, step: int) -> slice:
    """The frames removed for `fill`: half of the latent frames, from the second on."""
    return slice(1 + step, 1 + step + cells // 2 * step)


def recoloured(question: Question) -> Question:
    """The question with its first actor in a colour that no other actor has."""
    first, *others = question.scene.actors
    taken = {actor.colour for actor in question.scene.actors}
    free = [colour for colour in COLOURS if colour not in taken]
    colour = free[question.scene.seed % len(free)]
    scene = replace(question.scene, actors=(replace(first, colour=colour), *others))
    return replace(question, scene=scene, prompt=scene_prompt(scene, question.language))
