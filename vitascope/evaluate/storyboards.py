"""Storyboards: cuts where requested and nowhere else, and the same cast in every shot.

The scenes have several shots and occur in no training clip. Renders of the same scenes are the reference. A cut between
similar shots may be invisible in them, and then can't be expected of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from vitascope.errors import SizeError
from vitascope.evaluate.measures.confidence import confidence
from vitascope.evaluate.measures.generator import (
    default_shape,
    generator_settings,
    load_generator,
    without_warnings,
)
from vitascope.evaluate.measures.questions import FIRST_SEED, scene_settings
from vitascope.evaluate.measures.readings import Read, load_judge
from vitascope.evaluate.measures.stability import CUT_STRENGTH
from vitascope.evaluate.measures.video_cache import VideoJob, cache_folder, generate_missing, read_cached
from vitascope.evaluate.report import labelled_sheet, write_report
from vitascope.generate.requests import Storyboard, StoryboardShot
from vitascope.judge.network import Reading
from vitascope.judge.sentence import Slot
from vitascope.progress import OnProgress, Progress, no_progress
from vitascope.types import DtypeChoice
from vitascope.video import Video
from vitascope.video.cuts import cut_strengths
from vitascope.video.shape import VideoShape
from vitascope.worlds.language import LANGUAGES, Language, ShotCaptions
from vitascope.worlds.solids.captions import storyboards
from vitascope.worlds.solids.render import render_scene
from vitascope.worlds.solids.sampling import sample_scene
from vitascope.worlds.solids.scene import Scene

NEAR = 2  # largest distance in frames of a cut from its request
# Strength relative to the steps around it. Near a request a weaker step is enough: 93 of 100 renders with a cut have
# one there. At any given frame, at most 2 of 283 renders of one shot have one.
NEAR_STRENGTH = 0.8
DRAWS = 100  # scenes per storyboard; far more than needed if clips are long enough
NUM_SHOWN, SHOWN_FRAMES = 12, 8


class Board(NamedTuple):
    """A scene of several shots, with a text for each."""

    name: str
    scene: Scene
    captions: ShotCaptions
    language: Language

    def request(self, shape: VideoShape, seed: int) -> Storyboard:
        """A request with the scene's length and cuts."""
        edges = [*self.scene.first_frames(shape.num_frames), shape.num_frames]
        shots = [
            StoryboardShot(text=text, seconds=(stop - start) / shape.fps)
            for text, (start, stop) in zip(self.captions.shots, pairwise(edges), strict=True)
        ]
        return Storyboard(text=self.captions.text, shots=tuple(shots), seed=seed)

    @property
    def prompt(self) -> str:
        """All texts on one line."""
        return " | ".join(text for text in (self.captions.text, *self.captions.shots) if text)

    def render(self, shape: VideoShape) -> Video:
        """The simulator's video of the scene."""
        num_frames, fps, height, width, _ = shape
        return render_scene(self.scene, num_frames=num_frames, fps=fps, height=height, width=width).video


@dataclass(frozen=True)
class BoardScore:
    """Requested and detected first frames of shots, the first actor requested, and the cast read in each shot."""

    name: str
    requested: list[int]
    found: list[int]
    first_actor: str
    cast: list[list[str]]

    @property
    def cuts_in_place(self) -> bool:
        """True if every requested cut was found."""
        return None not in match_cuts(self.requested, self.found)

    @property
    def no_others(self) -> bool:
        """True if every cut found was requested."""
        return set(self.found) <= set(match_cuts(self.requested, self.found))

    @property
    def same_cast(self) -> bool:
        """True if at least one actor is in every shot."""
        return bool(set.intersection(*map(set, self.cast)))

    @property
    def first_actor_kept(self) -> bool:
        """True if the first actor is in every shot."""
        return all(self.first_actor in shot for shot in self.cast)


MEASURES = {
    "cuts_in_place": "requested cuts found",
    "no_others": "no other cut",
    "same_cast": "same cast",
    "first_actor_kept": "first actor kept",
}


def match_cuts(requested: Sequence[int], found: Sequence[int]) -> list[int | None]:
    """The nearest unmatched cut for each requested one; None if no cut is near."""
    taken: list[int | None] = []
    for cut in requested:
        near = [other for other in found if abs(other - cut) <= NEAR and other not in taken]
        taken.append(min(near, key=lambda other: abs(other - cut)) if near else None)
    return taken


def make_boards(num: int, seed: int, shape: VideoShape) -> list[Board]:
    """`num` scenes of several shots, alternating between the languages.

    Raises:
        SizeError: the model makes images, or clips too short for two shots.
    """
    if shape.is_image:
        raise SizeError("this model makes images; storyboards need a model that makes videos")
    boards: list[Board] = []
    for k in count():
        if len(boards) == num:
            break
        if k == DRAWS * (len(boards) + 1):
            raise SizeError(f"videos of {shape.seconds:g} s are too short for scenes of several shots")
        scene = sample_scene(FIRST_SEED + 10**11 + seed * 10**6 + k, "held_out", seconds=shape.seconds)
        if len(scene.shots) > 1 and scene.style != "noir":  # black and white hides the cast's colours
            language = LANGUAGES[len(boards) % 2]
            texts = storyboards(scene, 1)[language][0]
            boards.append(Board(f"{language}_{len(boards):04d}", scene, texts, language))
    return boards


def judge_board(board: Board, video: Video, read: Read) -> BoardScore:
    """The score of a video. A missing cut still separates two shots for the judge."""
    requested = board.scene.first_frames(video.num_frames)[1:]
    found = find_cuts_near(video.frames, requested)
    matches = match_cuts(requested, found)
    borders = [cut if match is None else match for cut, match in zip(requested, matches, strict=True)]
    parts = (Video(video.frames[a:b], video.fps) for a, b in pairwise([0, *borders, video.num_frames]))
    first = board.scene.actors[0]
    cast = [_actors(read(part)) for part in parts]
    return BoardScore(board.name, requested, found, f"{first.colour} {first.kind}", cast)


def find_cuts_near(frames: UInt8[np.ndarray, "t h w 3"], requested: Sequence[int]) -> list[int]:
    """First frames of new shots: steps above `CUT_STRENGTH`, or above `NEAR_STRENGTH` near a requested cut."""
    strengths = cut_strengths(frames)
    found = set(np.flatnonzero(strengths > CUT_STRENGTH).tolist())
    for cut in requested:
        near = range(max(0, cut - 1 - NEAR), min(len(strengths), cut + NEAR))
        strongest = max(near, key=lambda step: strengths[step])
        if strengths[strongest] > NEAR_STRENGTH:
            found.add(strongest)
    return sorted(step + 1 for step in found)


def _actors(seen: Reading) -> list[str]:
    """Colour and kind of every actor in a reading."""
    groups = [slot.group for slot in seen.sentence if slot.attribute == "kind"]
    return [" ".join(seen.sentence[Slot(attribute, group)] for attribute in ("colour", "kind")) for group in groups]


@dataclass(frozen=True)
class StoryboardsReport:
    """Scores of each storyboard by source: renders and model."""

    boards: list[Board]
    scores: dict[str, list[BoardScore]]
    sheet: Video

    def lines(self) -> list[str]:
        """A table of the share of storyboards that satisfy each measure, in percent, with its 95 % interval."""
        rows = [f"{'storyboards, % (95 %)':26}" + "".join(f"{source:>22}" for source in self.scores)]
        for name, title in MEASURES.items():
            cells = []
            for scores in self.scores.values():
                values = np.array([100.0 * getattr(score, name) for score in scores])
                low, high = confidence(values)
                cells.append(f"{values.mean():.0f} ({low:.0f}-{high:.0f})")
            rows.append(f"{title:26}" + "".join(f"{cell:>22}" for cell in cells))
        return rows

    def write(self, out: Path) -> None:
        """Write storyboards.json and storyboards.png into a folder."""
        scores = {source: [asdict(score) for score in scores] for source, scores in self.scores.items()}
        tree = {"prompts": {board.name: board.prompt for board in self.boards}, **scores}
        write_report(out, "storyboards", tree, self.sheet)


def run(
    *,
    model: str = "playground",
    num_boards: int = 20,
    seed: int = 0,
    judge: Path | None = None,
    device: str = "auto",
    dtype: DtypeChoice = "auto",
    out: Path | None = None,
    progress: Progress = no_progress,
) -> StoryboardsReport:
    """The report of a model's storyboards. Videos and renders are cached in `out`; the same call resumes from them.

    Raises:
        ModelError, DeviceError: the model or the judge can't be loaded there.
        ConfigError: `out` holds videos made with other settings.
        SizeError: as `make_boards`.
    """
    reader = load_judge(judge, device)
    pipeline = load_generator(model, device, dtype)
    shape = default_shape(pipeline.config)
    boards = make_boards(num_boards, seed, shape)
    scenes = scene_settings(seed)
    renders = [VideoJob(board.name, board.prompt, board) for board in boards]
    jobs = [VideoJob(b.name, b.prompt, b.request(shape, seed + number)) for number, b in enumerate(boards)]
    with without_warnings(), cache_folder(out) as cache:
        with progress("rendering") as on_progress:
            settings = {"shape": list(shape), **scenes}
            rendered = generate_missing(
                renders, lambda board: board.render(shape), cache / "renders", settings, on_progress
            )
        with progress("generating") as on_progress:
            settings = {**scenes, **generator_settings(model, device, dtype)}
            made = generate_missing(jobs, pipeline.run, cache / "model", settings, on_progress)
        with progress("reading") as on_progress:
            return evaluate_storyboards(
                boards,
                lambda board: read_cached(rendered[board.name]),
                lambda board: read_cached(made[board.name]),
                reader.read,
                on_progress=on_progress,
            )


def evaluate_storyboards(
    boards: Sequence[Board],
    render: Callable[[Board], Video],
    make: Callable[[Board], Video],
    read: Read,
    *,
    on_progress: OnProgress | None = None,
) -> StoryboardsReport:
    """Scores of the simulator's and a model's video of every storyboard."""
    scores: dict[str, list[BoardScore]] = {"renders": [], "model": []}
    shown: list[Video] = []
    for done, board in enumerate(boards, start=1):
        video = make(board)
        scores["renders"].append(judge_board(board, render(board), read))
        scores["model"].append(judge_board(board, video, read))
        if len(shown) < NUM_SHOWN:
            shown.append(video)
        if on_progress is not None:
            on_progress(done, len(boards))
    labels = [board.prompt for board in boards[:NUM_SHOWN]]
    sheet = labelled_sheet(shown, labels, columns=2, frames_per_video=SHOWN_FRAMES)
    return StoryboardsReport(list(boards), scores, sheet)
