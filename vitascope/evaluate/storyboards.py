"""Do storyboards cut where they are asked to, nowhere else, and with the same cast on both sides?

Storyboards tell scenes of several shots that no training clip has. Beside the model stand the renders of the same
scenes: a cut that isn't seen in those, since both shots look alike, can't be asked of the model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from vitascope.data.production import OnProgress
from vitascope.errors import SizeError
from vitascope.evaluate.coherence import CUT_STRENGTH
from vitascope.evaluate.faithful import FIRST_SEED
from vitascope.evaluate.judge import Read
from vitascope.evaluate.measures.report import confidence, write_report
from vitascope.evaluate.measures.video_cache import Order
from vitascope.generate.requests import Storyboard, StoryboardShot
from vitascope.judge.network import Reading
from vitascope.judge.sentence import Slot
from vitascope.video import Video, contact_sheet
from vitascope.video.cuts import cut_strengths
from vitascope.video.shape import VideoShape
from vitascope.worlds.language import LANGUAGES, Language, ShotCaptions
from vitascope.worlds.solids.captions import storyboards
from vitascope.worlds.solids.render import render_scene
from vitascope.worlds.solids.sampling import sample_scene
from vitascope.worlds.solids.scene import Scene

NEAR = 2  # frames: a cut so near to where it was asked for is where it was asked for
# Times the steps around it: where one looks for a cut, less will do. Of 283 renders of one shot, 2 at most have as much
# near any given frame; of 100 with a cut, 93 there
ASKED_STRENGTH = 0.8
DRAWS = 100  # scenes for each storyboard: of clips that are long enough, far more than it takes
NUM_SHOWN, SHOWN_FRAMES = 12, 8


class Board(NamedTuple):
    """A scene of several shots, told shot by shot."""

    name: str
    scene: Scene
    told: ShotCaptions
    language: Language

    def storyboard(self, shape: VideoShape) -> Storyboard:
        """What a model is asked for: as long as the scene, cut where that is cut."""
        edges = [*self.scene.first_frames(shape.num_frames), shape.num_frames]
        shots = [
            StoryboardShot(text=text, seconds=(stop - start) / shape.fps)
            for text, (start, stop) in zip(self.told.shots, pairwise(edges), strict=True)
        ]
        return Storyboard(text=self.told.text, shots=tuple(shots))

    @property
    def prompt(self) -> str:
        """All texts in one line."""
        return " | ".join(text for text in (self.told.text, *self.told.shots) if text)

    def render(self, shape: VideoShape) -> Video:
        """The simulator's own video of the scene."""
        num_frames, fps, height, width, _ = shape
        return render_scene(self.scene, num_frames=num_frames, fps=fps, height=height, width=width).video


@dataclass(frozen=True)
class Cutting:
    """Frames with which shots should begin, and begin; the first actor as told, and who is read of each shot alone."""

    name: str
    asked: list[int]
    found: list[int]
    told: str
    cast: list[list[str]]

    @property
    def cuts_in_place(self) -> bool:
        """Whether every cut asked for is there."""
        return None not in answers(self.asked, self.found)

    @property
    def no_others(self) -> bool:
        """Whether every cut that is there was asked for."""
        return set(self.found) <= set(answers(self.asked, self.found))

    @property
    def same_cast(self) -> bool:
        """Whether somebody is in every shot."""
        return bool(set.intersection(*map(set, self.cast)))

    @property
    def cast_as_told(self) -> bool:
        """Whether the first actor is in every shot."""
        return all(self.told in shot for shot in self.cast)


MEASURES = {
    "cuts_in_place": "cut where asked",
    "no_others": "no other cut",
    "same_cast": "same cast",
    "cast_as_told": "first actor as told",
}


def answers(asked: Sequence[int], found: Sequence[int]) -> list[int | None]:
    """For each cut asked for, the one that answers it: the nearest that no other has; None where there is none."""
    taken: list[int | None] = []
    for cut in asked:
        near = [other for other in found if abs(other - cut) <= NEAR and other not in taken]
        taken.append(min(near, key=lambda other: abs(other - cut)) if near else None)
    return taken


def make_boards(num: int, seed: int, shape: VideoShape) -> list[Board]:
    """`num` scenes of several shots, told in both languages in turn.

    Raises:
        SizeError: images, or clips so short that nothing happens in two shots of them.
    """
    if shape.is_image:
        raise SizeError("storyboards have several shots, and this model makes images")
    boards: list[Board] = []
    for k in count():
        if len(boards) == num:
            break
        if k == DRAWS * (len(boards) + 1):
            raise SizeError(f"{shape.seconds:g} seconds are too short for scenes of several shots")
        scene = sample_scene(FIRST_SEED + 10**11 + seed * 10**6 + k, "held_out", seconds=shape.seconds)
        if len(scene.shots) > 1 and scene.style != "noir":  # in black and white a cast has no colours
            language = LANGUAGES[len(boards) % 2]
            told = storyboards(scene, 1)[language][0]
            boards.append(Board(f"{language}_{len(boards):04d}", scene, told, language))
    return boards


def generated(boards: Sequence[Board], shape: VideoShape, make: Callable[..., Video], seed: int) -> list[Order]:
    """A model's video of each storyboard, to be made; `make` is its pipeline's."""
    return [
        Order(board.name, board.prompt, partial(make, board.storyboard(shape), seed=seed + number))
        for number, board in enumerate(boards)
    ]


def rendered(boards: Sequence[Board], shape: VideoShape) -> list[Order]:
    """The simulator's own video of each scene, to be made."""
    return [Order(board.name, board.prompt, partial(board.render, shape)) for board in boards]


def judge_board(board: Board, video: Video, read: Read) -> Cutting:
    """Where a video cuts, and whom a judge sees in each shot; where a cut is missing, on either side of its place."""
    asked = board.scene.first_frames(video.num_frames)[1:]
    found = find_asked_cuts(video.frames, asked)
    borders = [cut if answer is None else answer for cut, answer in zip(asked, answers(asked, found), strict=True)]
    parts = (Video(video.frames[a:b], video.fps) for a, b in pairwise([0, *borders, video.num_frames]))
    first = board.scene.actors[0]
    return Cutting(board.name, asked, found, f"{first.colour} {first.kind}", [_who(read(part)) for part in parts])


def find_asked_cuts(frames: UInt8[np.ndarray, "t h w 3"], asked: Sequence[int]) -> list[int]:
    """The frames that begin a new shot: by `CUT_STRENGTH` anywhere, by `ASKED_STRENGTH` near those asked for."""
    strengths = cut_strengths(frames)
    found = set(np.flatnonzero(strengths > CUT_STRENGTH).tolist())
    for cut in asked:
        near = range(max(0, cut - 1 - NEAR), min(len(strengths), cut + NEAR))
        strongest = max(near, key=lambda step: strengths[step])
        if strengths[strongest] > ASKED_STRENGTH:
            found.add(strongest)
    return sorted(step + 1 for step in found)


def _who(seen: Reading) -> list[str]:
    """Colour and kind of everybody that a reading names."""
    groups = [slot.group for slot in seen.sentence if slot.attribute == "kind"]
    return [" ".join(seen.sentence[Slot(attribute, group)] for attribute in ("colour", "kind")) for group in groups]


@dataclass(frozen=True)
class StoryboardsReport:
    """By contestant, what became of each storyboard."""

    boards: list[Board]
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
        found = {who: [asdict(cutting) for cutting in cuttings] for who, cuttings in self.found.items()}
        tree = {"prompts": {board.name: board.prompt for board in self.boards}, **found}
        write_report(out, "storyboards", tree, self.sheet)


def evaluate_storyboards(
    boards: Sequence[Board],
    render: Callable[[Board], Video],
    make: Callable[[Board], Video],
    read: Read,
    *,
    on_progress: OnProgress | None = None,
) -> StoryboardsReport:
    """Cuts and casts of the simulator's video of every storyboard, and of a model's."""
    found: dict[str, list[Cutting]] = {"renders": [], "model": []}
    shown: list[Video] = []
    for done, board in enumerate(boards, start=1):
        video = make(board)
        found["renders"].append(judge_board(board, render(board), read))
        found["model"].append(judge_board(board, video, read))
        if len(shown) < NUM_SHOWN:
            shown.append(video)
        if on_progress is not None:
            on_progress(done, len(boards))
    labels = [board.prompt for board in boards[:NUM_SHOWN]]
    has_pillow = importlib.util.find_spec("PIL") is not None
    sheet = contact_sheet(shown, columns=2, frames_per_video=SHOWN_FRAMES, labels=labels if has_pillow else None)
    return StoryboardsReport(list(boards), found, sheet)
