"""Compare two ways to generate long videos, windows and keyframes: `python scripts/keyframes.py report`.

`generate --seconds` uses windows: each continues the video so far. The other way first generates the whole video at a
low frame rate, then fills each interval between two keyframes, with both as conditions. Both ways generate the same
held-out scenes. The judge reads every two seconds of the results; levels and steps between frames are measured. The
report's folder gets the figures and keyframes.png, one row per video (docs/decisions/0015-windows-for-long-videos.md).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

import vitascope
from vitascope.evaluate.measures.drift import measure_levels
from vitascope.evaluate.measures.questions import Question, make_questions
from vitascope.generate.pipeline import Pipeline
from vitascope.generate.planning import plan
from vitascope.generate.requests import Generate
from vitascope.judge.bundled import find_judge
from vitascope.judge.network import Judge
from vitascope.judge.scoring import Verdict, accuracy, verdicts
from vitascope.judge.sentence import Slot
from vitascope.video import Video, contact_sheet

PIECE = 2.0  # seconds that the judge reads at once, as long as the bundled model's clips
SHOWN = ("kind", "colour", "motion", "setting", "camera", "overall")
SHOWN_FRAMES = 16


class Made(NamedTuple):
    """A video, the first frames of its parts, frames without motion, and the generation time in seconds."""

    video: Video
    starts: list[int]
    still: list[int]
    took: float


def by_windows(pipeline: Pipeline, prompt: str, seconds: float, seed: int) -> Made:
    """A long video generated in overlapping windows, each a continuation of the one before."""
    began = time.perf_counter()
    video = pipeline.generate(prompt, seconds=seconds, seed=seed)
    took = time.perf_counter() - began
    timeline = plan(pipeline, Generate(prompt=prompt, seconds=seconds))
    windows = pipeline.rollout(timeline).windows()
    return Made(video, [pipeline.grid.first_frame(window.stop) for window in windows[:-1]], [], took)


def by_keyframes(pipeline: Pipeline, prompt: str, seconds: float, seed: int, spacing: int) -> Made:
    """A long video from keyframes, `spacing` seconds apart; the intervals between them are generated afterwards."""
    began = time.perf_counter()
    slow = pipeline.generate(prompt, num_frames=1 + round(seconds), fps=1, seed=seed)
    step = round(pipeline.config.fps * spacing)
    keys = slow.frames[::spacing]
    frames = [keys[:1]]
    for number, (first, last) in enumerate(pairwise(keys)):
        between = pipeline.generate(
            prompt, image=_picture(first), last_image=_picture(last), num_frames=step + 1, seed=seed + number
        )
        frames.append(between.frames[1:])
    video = Video(np.concatenate(frames), pipeline.config.fps)
    held = pipeline.grid.frames_per_cell  # a given last image fills a latent frame: this many frames without motion
    starts = [start for key in range(0, video.num_frames - 1, step) for start in (key + 1, key + step - held + 1)]
    still = [frame for key in range(step, video.num_frames, step) for frame in range(key - held + 2, key + 1)]
    return Made(video, starts, still, time.perf_counter() - began)


def _picture(frame: np.ndarray) -> Video:
    return Video(frame[None], 1)


def figures(question: Question, made: Made, judge: Judge) -> tuple[dict[str, float], list[list[Verdict]]]:
    """Measures of a video's pixels, and verdicts on the judge's readings of its pieces."""
    video = made.video
    levels = measure_levels(video)
    starts, still = (np.isin(np.arange(1, video.num_frames), frames) for frames in (made.starts, made.still))
    length = round(PIECE * float(video.fps))
    pieces = [
        Video(video.frames[start : start + length], video.fps)
        for start in range(0, video.num_frames - length + 1, length)
    ]
    sixth = levels.seconds / 6
    change = levels.change(levels.first(sixth), levels.last(sixth))
    measured = {
        "cuts": float(len(levels.cuts)),
        "step at joins": float(levels.steps[starts].mean()),
        "step elsewhere": float(levels.steps[~starts & ~still].mean()),
        "colour, %": abs(change.colour),
        "contrast, %": abs(change.contrast),
        "detail, %": change.detail,
        "seconds per second": made.took / levels.seconds,
    }
    readings = [judge.read(piece) for piece in pieces]
    return measured, [verdicts(question.truth, reading.sentence, reading.confidence) for reading in readings]


def _questions(num: int, seed: int) -> list[Question]:
    """Questions about held-out scenes of one shot."""
    asked = make_questions(8 * num, seed, variety=0.0)
    held_out = [each for each in asked if each.split == "held_out" and each.truth[Slot("shots")] == "1"]
    return held_out[:num]


def _table(rows: dict[str, dict[str, float]]) -> str:
    heads = list(next(iter(rows.values())))
    lines = ["".join([f"{'':18}", *(f"{head:>18}" for head in heads)])]
    lines += ["".join([f"{name:18}", *(f"{row[head]:18.2f}" for head in heads)]) for name, row in rows.items()]
    return "\n".join(lines)


def main() -> None:
    """Generate the videos by every method, print the tables and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("-n", type=int, default=8, help="number of scenes")
    parser.add_argument("--seconds", type=float, default=24.0)
    parser.add_argument("--spacings", type=int, nargs="+", default=[1, 2, 4], help="seconds between keyframes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="playground")
    options = parser.parse_args()
    pipeline, judge = vitascope.load(options.model), Judge.load(find_judge())
    ways: dict[str, Callable[[Pipeline, str, float, int], Made]] = {"windows": by_windows}
    for spacing in options.spacings:
        ways[f"keyframes, {spacing} s"] = partial(by_keyframes, spacing=spacing)
    measured: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    read: dict[str, list[list[list[Verdict]]]] = {way: [] for way in ways}
    rows, labels = [], []
    for number, question in enumerate(_questions(options.n, options.seed)):
        for way, make in ways.items():
            made = make(pipeline, question.prompt, options.seconds, options.seed + number)
            found, pieces = figures(question, made, judge)
            measured[way].append(found)
            read[way].append(pieces)
            shown = np.linspace(0, made.video.num_frames - 1, SHOWN_FRAMES).round().astype(int)
            rows.append(Video(made.video.frames[shown], 1))
            labels.append(f"{number + 1}, {way}")
        print(f"{number + 1}. {question.prompt}", flush=True)
    third = max(1, round(options.seconds / PIECE / 3))
    tables = {
        "pixels, means": {way: _means(each) for way, each in measured.items()},
        **{
            f"right of the {part}, %": {way: _right([video[which] for video in each]) for way, each in read.items()}
            for part, which in (("first third", slice(None, third)), ("last third", slice(-third, None)))
        },
    }
    for title, table in tables.items():
        print(f"\n{title}\n{_table(table)}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "keyframes.json").write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")
    contact_sheet(rows, columns=1, frames_per_video=SHOWN_FRAMES, labels=labels).save(options.out / "keyframes.png")


def _means(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def _right(videos: Sequence[list[list[Verdict]]]) -> dict[str, float]:
    """Accuracy of each attribute over the pieces of all videos, in percent."""
    shares = accuracy(verdict for pieces in videos for piece in pieces for verdict in piece)
    return {name: 100 * shares[name] for name in SHOWN}


if __name__ == "__main__":
    main()
