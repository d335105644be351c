"""Do storyboards cut where they are asked to, nowhere else, and with the same cast on both sides?

Storyboards tell scenes of several shots that no training clip has. Beside the model stand the renders of the same
scenes: a cut that isn't seen in those, since both shots look alike, can't be asked of the model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitascope.errors import SizeError
from vitascope.evaluate.coherence import CUT_STRENGTH
from vitascope.evaluate.faithful import FIRST_SEED
from vitascope.evaluate.judge import Read
from vitascope.evaluate.report import confidence, write_report
from vitascope.evaluate.steadiness import find_cuts
from vitascope.generate.storyboard import Storyboard, StoryboardShot
from vitascope.judge.sentence import Slot
from vitascope.production import ClipShape, OnProgress
from vitascope.video import Video, contact_sheet
from vitascope.world.captions import Told, storyboards
from vitascope.world.render import render_scene
from vitascope.world.sampling import sample_scene
from vitascope.world.scene import Scene
from vitascope.world.words import LANGUAGES, Language

NEAR = 2  # frames: a cut so near to where it was asked for is where it was asked for
NUM_SHOWN, SHOWN_FRAMES = 12, 8


class Board(NamedTuple):
    """A scene of several shots, told shot by shot."""

    name: str
    scene: Scene
    told: Told
    language: Language

    def storyboard(self, shape: ClipShape) -> Storyboard:
        """What a model is asked for: as long as the scene, cut where that is cut."""
        edges = [*self.scene.first_frames(shape.num_frames), shape.num_frames]
        shots = [
            StoryboardShot(text=text, seconds=(stop - start) / shape.fps)
            for text, (start, stop) in zip(self.told.shots, pairwise(edges), strict=True)
        ]
        return Storyboard(text=self.told.text, shots=tuple(shots))

    def render(self, shape: ClipShape) -> Video:
        """The simulator's own video of the scene."""
        num_frames, fps, height, width, _ = shape
        return render_scene(self.scene, num_frames=num_frames, fps=fps, height=height, width=width).video


@dataclass(frozen=True)
class Cutting:
    """Frames with which shots should begin, and begin; the first actor's kind and colour as read of each shot alone."""

    name: str
    asked: list[int]
    found: list[int]
    cast: list[str]

    @property
    def cuts_in_place(self) -> bool:
        """Whether every cut asked for is there."""
        return all(any(abs(cut - found) <= NEAR for found in self.found) for cut in self.asked)

    @property
    def no_others(self) -> bool:
        """Whether every cut that is there was asked for."""
        return all(any(abs(cut - asked) <= NEAR for asked in self.asked) for cut in self.found)

    @property
    def same_cast(self) -> bool:
        """Whether every shot shows whom the first shows."""
        return len(set(self.cast)) == 1


MEASURES = {"cuts_in_place": "cut where asked", "no_others": "no other cut", "same_cast": "same cast"}


def make_boards(num: int, seed: int, shape: ClipShape) -> list[Board]:
    """`num` scenes of several shots, told in both languages in turn.

    Raises:
        SizeError: clips so short that nothing happens in two shots of them.
    """
    boards: list[Board] = []
    for k in range(100 * num):
        if len(boards) == num:
            break
        scene = sample_scene(FIRST_SEED + 10**11 + seed * 10**6 + k, "held_out", seconds=shape.seconds)
        if len(scene.shots) > 1 and scene.style != "noir":  # in black and white a cast has no colours
            language = LANGUAGES[len(boards) % 2]
            told = storyboards(scene, 1)[language][0]
            boards.append(Board(f"{language}_{len(boards):04d}", scene, told, language))
    if len(boards) < num:
        raise SizeError(f"{shape.seconds:g} seconds are too short for scenes of several shots")
    return boards


def judge_board(board: Board, video: Video, read: Read) -> Cutting:
    """Where a video cuts, and whom a judge sees on either side of where it should."""
    asked = board.scene.first_frames(video.num_frames)[1:]
    parts = (Video(video.frames[a:b], video.fps) for a, b in pairwise([0, *asked, video.num_frames]))
    cast = []
    for part in parts:
        seen = read(part).sentence
        cast.append(" ".join(seen[Slot(attribute, 0)] for attribute in ("colour", "kind")))
    return Cutting(board.name, asked, find_cuts(video.frames, CUT_STRENGTH), cast)


@dataclass(frozen=True)
class StoryboardsReport:
    """By contestant, what became of each storyboard."""

    found: dict[str, list[Cutting]]
    sheet: Video

    def lines(self) -> list[str]:
        """A table: the share of storyboards that do as they should, in per cent, with its 95 % interval."""
        rows = [f"{'of storyboards, % (95 %)':26}" + "".join(f"{who:>22}" for who in self.found)]
        for name, said in MEASURES.items():
            cells = []
            for cuttings in self.found.values():
                values = np.array([100.0 * getattr(cutting, name) for cutting in cuttings])
                low, high = confidence(values)
                cells.append(f"{values.mean():.0f} ({low:.0f}-{high:.0f})")
            rows.append(f"{said:26}" + "".join(f"{cell:>22}" for cell in cells))
        return rows

    def write(self, out: Path) -> None:
        """Write storyboards.json and storyboards.png into a folder."""
        tree = {who: [asdict(cutting) for cutting in cuttings] for who, cuttings in self.found.items()}
        write_report(out, "storyboards", tree, self.sheet)


def evaluate_storyboards(
    boards: Sequence[Board],
    shape: ClipShape,
    make: Callable[[Storyboard, int], Video],
    read: Read,
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> StoryboardsReport:
    """Make every storyboard by `make(storyboard, seed)`, render its scene, and look for cuts and casts in both."""
    found: dict[str, list[Cutting]] = {"renders": [], "model": []}
    shown, labels = [], []
    for number, board in enumerate(boards):
        storyboard = board.storyboard(shape)
        videos = {"renders": board.render(shape), "model": make(storyboard, seed + number)}
        for who, video in videos.items():
            found[who].append(judge_board(board, video, read))
        if number < NUM_SHOWN:
            shown.append(videos["model"])
            texts = ([storyboard.text] if storyboard.text else []) + [shot.text for shot in storyboard.shots]
            labels.append(" | ".join(texts))
        if on_progress is not None:
            on_progress(number + 1, len(boards))
    has_pillow = importlib.util.find_spec("PIL") is not None
    sheet = contact_sheet(shown, columns=2, frames_per_video=SHOWN_FRAMES, labels=labels if has_pillow else None)
    return StoryboardsReport(found, sheet)
