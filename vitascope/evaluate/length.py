"""Does a long video cost no more than its length, and does it hold to its end? Beside a short one of its prompt."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from vitascope.errors import SizeError
from vitascope.evaluate.measures.drift import Course, Pace, follow_course, read_small
from vitascope.evaluate.measures.report import curves, write_report
from vitascope.evaluate.measures.resources import Usage, run_vitascope
from vitascope.generate.pipeline import Pipeline
from vitascope.generate.timeline import Timeline
from vitascope.video import Video, contact_sheet

PROPORTION = 1.1  # of the short video's memory, and of its time for each second
MIN_COMPARED = 4  # frames at either end: a slope and its error take three
DRIFT = 2.0  # times the beginning's
# So little may always be. What stands still changes by more in none of 40 rendered clips of ten seconds; whole frames
# do in one of ten, whose camera shows other things.
NO_DRIFT = Pace(still_colour=0.1, still_contrast=0.1, colour=0.7, contrast=1.0, detail=1.7)
SHOWN_ROWS, SHOWN_FRAMES, GRAPH_ROWS = 12, 12, 80
RED, GREEN, BLUE, DARK = (200, 40, 40), (40, 140, 60), (60, 90, 200), (60, 60, 60)
NAN = float("nan")
PACE_TITLES = (
    "colour of what stands still, %/s",
    "contrast of what stands still, %/s",
    "colour of whole frames, %/s",
    "contrast of whole frames, %/s",
    "detail of whole frames, %/s",
)


class Row(NamedTuple):
    """Two figures that belong together. `holds` is None where nothing is asked of them."""

    title: str
    first: float
    second: float
    ratio: float = NAN
    holds: bool | None = None

    def line(self) -> str:
        """As a table has it."""
        numbers = "".join(f"{'-' if np.isnan(each) else f'{each:.2f}':>11}" for each in self[1:4])
        verdict = "" if self.holds is None else "holds" if self.holds else "FAILS"
        return f"{self.title:38}{numbers}  {verdict}".rstrip()


@dataclass(frozen=True)
class Costs:
    """What three processes took: a picture in one step, which is little but starting, and both videos."""

    start: Usage
    short: Usage
    long: Usage

    def rows(self, short: float, long: float) -> list[Row]:
        """Time, in proportion to the seconds of both videos, and memory."""
        rows = []
        for title, key in (("time", "wall"), ("processors' time", "processor")):
            start, first, second = (getattr(each, key) for each in (self.start, self.short, self.long))
            rows += [
                _limited(f"{title}, s", first, second, second / (first * long / short)),
                _limited(
                    f"{title} per second, {start:.1f} s to start aside",
                    (first - start) / short,
                    (second - first) / (long - short),
                ),
            ]
        peaks = self.short.peak / 1e6, self.long.peak / 1e6
        return [*rows, _limited("peak memory, MB", *peaks)]


def _limited(title: str, first: float, second: float, ratio: float | None = None) -> Row:
    """A figure of the long video that may be a tenth above the short one's."""
    ratio = _ratio(first, second) if ratio is None else ratio
    return Row(title, first, second, ratio, None if np.isnan(ratio) else ratio <= PROPORTION)


@dataclass(frozen=True)
class LengthReport:
    """A short and a long video of a prompt. Of files, nothing is known of what they took, nor of windows."""

    short: Course
    long: Course
    costs: Costs | None = None
    joins: Bool[np.ndarray, " steps"] | None = None  # which of the long video's steps lead from a window to the next
    starts: Bool[np.ndarray, " steps"] | None = None  # and which to a latent frame
    about: Mapping[str, Any] | None = None

    @property
    def part(self) -> float:
        """The seconds of its beginning and of its end that are compared."""
        return min(self.short.seconds, self.long.seconds / 2)

    def videos(self) -> list[Row]:
        """The short one beside the long one."""
        lengths = self.short.seconds, self.long.seconds
        num_cuts = [float(len(course.cuts)) for course in (self.short, self.long)]
        return [
            *(self.costs.rows(*lengths) if self.costs else []),
            Row("cuts nobody asked for", *num_cuts, holds=num_cuts[1] == 0),
        ]

    def ends(self) -> list[Row]:
        """The long one's beginning beside its end."""
        first, last = self.long.first(self.part), self.long.last(self.part)
        paces = zip(PACE_TITLES, NO_DRIFT, self.long.pace(first), self.long.pace(last), strict=True)
        drifts = [_drift(title, none, abs(before), abs(after)) for title, none, before, after in paces]
        moves = self.long.motion(first), self.long.motion(last)
        return [*drifts, Row("step between frames, of 255", *moves, _ratio(*moves))]

    def windows(self) -> list[Row]:
        """Steps at joins of windows beside others: those to any other latent frame, and those inside latent frames."""
        if self.joins is None or self.starts is None or not self.joins.any():
            return []
        at, others, inside = (
            float(self.long.steps[which].mean()) if which.any() else NAN
            for which in (self.joins, self.starts & ~self.joins, ~self.starts & ~self.joins)
        )
        return [
            Row("step to a latent frame, of 255", others, at, _ratio(others, at)),
            Row("step inside latent frames", inside, at, _ratio(inside, at)),
        ]

    def lines(self) -> list[str]:
        """Three tables, and what has become of the picture."""
        change = self.long.change(self.long.first(self.part), self.long.last(self.part))
        part, windows = f"{self.part:g} s", self.windows()
        cuts = ", ".join(f"{cut / self.long.video.fps:.1f}" for cut in self.long.cuts)
        return [
            _head("", f"{self.short.seconds:.4g} s", f"{self.long.seconds:.4g} s"),
            *(row.line() for row in self.videos()),
            *([f"cuts at {cuts} s"] if cuts else []),
            _head("drift of the long one", f"first {part}", f"last {part}"),
            *(row.line() for row in self.ends()),
            *([_head("joins of windows", "elsewhere", "at joins")] if windows else []),
            *(row.line() for row in windows),
            f"from the first {part} to the last: colour {change.colour:+.1f} %, contrast {change.contrast:+.1f} %, "
            f"detail {change.detail:+.1f} %",
        ]

    def write(self, out: Path) -> None:
        """Write length.json and length.png into a folder."""
        rows = {"videos": self.videos(), "ends": self.ends(), "windows": self.windows()}
        tables = {name: [_plain(row._asdict()) for row in table] for name, table in rows.items()}
        change = self.long.change(self.long.first(self.part), self.long.last(self.part))
        tree = {
            "about": dict(self.about or {}),
            "seconds": {"short": self.short.seconds, "long": self.long.seconds, "part": self.part},
            "limits": {"proportion": PROPORTION, "drift": DRIFT, "no drift": NO_DRIFT._asdict()},
            "tables": tables,
            "change": _plain(change._asdict()),
            "processes": {name: _plain(usage) for name, usage in asdict(self.costs).items()} if self.costs else None,
            "cuts": {"short": self.short.cuts, "long": self.long.cuts},
            "joins": [] if self.joins is None else (1 + np.flatnonzero(self.joins)).tolist(),
            "each second": self._each_second(),
        }
        write_report(out, "length", tree, self._sheet())

    def _each_second(self) -> dict[str, list[Any]]:
        """The long one's levels, averaged over seconds."""
        edges = np.round(np.arange(1, int(self.long.seconds)) * float(self.long.video.fps)).astype(int)
        levels = {key: getattr(self.long, key) for key in ("colour", "contrast", "detail", "steps")}
        return {
            key: [np.round(part.mean(axis=0), 2).tolist() for part in np.split(values, edges) if len(part)]
            for key, values in levels.items()
        }

    def _sheet(self) -> Video:
        """The long one in rows, and beneath them its levels from the first frame to the last."""
        num_rows = min(SHOWN_ROWS, max(1, round(self.long.seconds / self.part)))
        parts = [Video(frames, self.long.video.fps) for frames in np.array_split(self.long.video.frames, num_rows)]
        rows = [contact_sheet([part], columns=1, frames_per_video=SHOWN_FRAMES) for part in parts]
        stops = np.cumsum([part.num_frames for part in parts]) / self.long.video.fps
        labels = [f"to {stop:.4g} s" for stop in stops]
        graphs: dict[str, list[tuple[Float[np.ndarray, " t"], tuple[int, int, int]]]] = {
            "mean red, green and blue": list(zip(self.long.colour.T, (RED, GREEN, BLUE), strict=True)),
            "contrast (dark) and detail (red), each of its largest": [
                (values / max(values.max(), 1e-9), colour)
                for values, colour in ((self.long.contrast, DARK), (self.long.detail, RED))
            ],
            "step between frames": [(self.long.steps, BLUE)],
        }
        width = rows[0].width
        rows += [curves([v for v, _ in lines], [c for _, c in lines], GRAPH_ROWS, width) for lines in graphs.values()]
        has_pillow = importlib.util.find_spec("PIL") is not None
        return contact_sheet(rows, columns=1, labels=[*labels, *graphs] if has_pillow else None)


def _head(title: str, first: str, second: str) -> str:
    return f"{title:38}{first:>11}{second:>11}{'ratio':>11}"


def _ratio(first: float, second: float) -> float:
    """How many times the first the second is; NaN of nothing."""
    return second / first if first > 0 else NAN


def _drift(title: str, none: float, first: float, second: float) -> Row:
    """Drift at the end, which may be twice that of the beginning, or none to speak of."""
    known = not np.isnan([first, second]).any()
    return Row(
        title,
        first,
        second,
        _ratio(first, second),
        second <= max(DRIFT * first, none) if known else None,
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in values.items()}


def measure_files(short: Path, long: Path) -> LengthReport:
    """What two files tell.

    Raises:
        MediaError: one that can't be read.
        SizeError: one with too few frames or too many, or a long one that is no longer than the short one.
    """
    first, second = read_small(short), read_small(long)
    if second.num_frames / second.fps <= first.num_frames / first.fps:
        raise SizeError(f"{long} is no longer than {short}; name the short video first")
    report = LengthReport(follow_course(first), follow_course(second))
    if (num := round(report.part * float(second.fps))) < MIN_COMPARED:
        raise SizeError(f"{num} frames at either end of {long} are too few to compare: {MIN_COMPARED} are needed")
    return report


def measure_model(
    pipeline: Pipeline,
    timeline: Timeline,
    words: Callable[[Sequence[str]], Sequence[str]],
    seconds: tuple[float, float],
    out: Path,
    *,
    about: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> LengthReport:
    """Make both videos, short.mp4 and long.mp4 in a folder, and measure what that took and what they are.

    `words` completes what `vitascope` is told; the pipeline and the long video's timeline tell where windows join.

    Raises:
        VitascopeError: options that the command refuses.
        OSError: a run that failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in ("start.png", "short.mp4", "long.mp4")]
    sizes = [["--frames", "1", "--steps", "1"], *(["--seconds", repr(each)] for each in seconds)]
    costs = Costs(
        *(run_vitascope(words([*size, "-o", str(path)]), say) for size, path in zip(sizes, paths, strict=True))
    )
    short, long = map(follow_course, map(read_small, paths[1:]))
    lattice, num_steps = pipeline.grid, len(long.steps)
    windows = pipeline.rollout(timeline).windows()
    return LengthReport(
        short,
        long,
        costs,
        joins=_steps_to([lattice.first_frame(window.stop) for window in windows[:-1]], num_steps),
        starts=_steps_to([lattice.first_frame(cell) for cell in range(1, timeline.latent.shape[1])], num_steps),
        about=about,
    )


def _steps_to(frames: Sequence[int], num_steps: int) -> Bool[np.ndarray, " steps"]:
    """Which steps lead to one of these frames."""
    return np.isin(np.arange(1, num_steps + 1), frames)
