"""Cost and drift of a long video, compared with a short one of the same prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from vitascope.errors import SizeError
from vitascope.evaluate.measures.drift import DriftRates, VideoLevels, measure_levels, read_small
from vitascope.evaluate.measures.generator import load_generator, model_fingerprint, without_warnings
from vitascope.evaluate.measures.plots import curves
from vitascope.evaluate.measures.resources import Usage, run_vitascope
from vitascope.evaluate.measures.video_cache import cache_folder
from vitascope.evaluate.report import labelled_sheet, write_report
from vitascope.generate.pipeline import Pipeline
from vitascope.generate.planning import plan
from vitascope.generate.requests import Generate
from vitascope.generate.timeline import Timeline
from vitascope.types import DtypeChoice
from vitascope.video import Video, contact_sheet

PROPORTION = 1.1  # largest memory, and time per second, relative to the short video
MIN_COMPARED = 4  # minimum frames at either end; a slope and its error need three
DRIFT = 2.0  # largest drift at the end, relative to the beginning
# Drift below this always passes. Of 40 rendered clips of ten seconds, none exceeds it in static regions. One in ten
# exceeds it in whole frames, because its camera moves.
NO_DRIFT = DriftRates(still_colour=0.1, still_contrast=0.1, colour=0.7, contrast=1.0, detail=1.7)
SHOWN_ROWS, SHOWN_FRAMES, GRAPH_ROWS = 12, 12, 80
RED, GREEN, BLUE, DARK = (200, 40, 40), (40, 140, 60), (60, 90, 200), (60, 60, 60)
NAN = float("nan")
PROMPT = "a red ball bounces up and down on the grass, the camera is still"
SECONDS = 10.0, 60.0  # of the short and the long video
DRIFT_TITLES = (
    "colour of static regions, %/s",
    "contrast of static regions, %/s",
    "colour of whole frames, %/s",
    "contrast of whole frames, %/s",
    "detail of whole frames, %/s",
)


class Row(NamedTuple):
    """Two figures to compare. `holds` is None if there is no limit."""

    title: str
    first: float
    second: float
    ratio: float = NAN
    holds: bool | None = None

    def line(self) -> str:
        """The row as text."""
        numbers = "".join(f"{'-' if np.isnan(each) else f'{each:.2f}':>11}" for each in self[1:4])
        verdict = "" if self.holds is None else "holds" if self.holds else "FAILS"
        return f"{self.title:38}{numbers}  {verdict}".rstrip()


@dataclass(frozen=True)
class Costs:
    """Resources of three processes: both videos, and an image in one step, which is mostly start-up."""

    start: Usage
    short: Usage
    long: Usage

    def rows(self, short: float, long: float) -> list[Row]:
        """Time relative to the duration of the videos, and memory."""
        rows = []
        for title, key in (("time", "wall"), ("processor time", "processor")):
            start, first, second = (getattr(each, key) for each in (self.start, self.short, self.long))
            rows += [
                _limited(f"{title}, s", first, second, second / (first * long / short)),
                _limited(
                    f"{title} per second, without {start:.1f} s start",
                    (first - start) / short,
                    (second - first) / (long - short),
                ),
            ]
        peaks = self.short.peak / 1e6, self.long.peak / 1e6
        return [*rows, _limited("peak memory, MB", *peaks)]


def _limited(title: str, first: float, second: float, ratio: float | None = None) -> Row:
    """A row whose second figure may exceed the first by a tenth."""
    ratio = _ratio(first, second) if ratio is None else ratio
    return Row(title, first, second, ratio, None if np.isnan(ratio) else ratio <= PROPORTION)


@dataclass(frozen=True)
class LengthReport:
    """A short and a long video of one prompt. For files, costs and windows are unknown."""

    short: VideoLevels
    long: VideoLevels
    costs: Costs | None = None
    joins: Bool[np.ndarray, " steps"] | None = None  # steps of the long video from one window to the next
    starts: Bool[np.ndarray, " steps"] | None = None  # steps into the first frame of a latent frame
    about: Mapping[str, Any] | None = None

    @property
    def part(self) -> float:
        """The seconds at either end that are compared."""
        return min(self.short.seconds, self.long.seconds / 2)

    def videos(self) -> list[Row]:
        """Rows of the short and the long video."""
        lengths = self.short.seconds, self.long.seconds
        num_cuts = [float(len(levels.cuts)) for levels in (self.short, self.long)]
        return [
            *(self.costs.rows(*lengths) if self.costs else []),
            Row("unrequested cuts", *num_cuts, holds=num_cuts[1] == 0),
        ]

    def ends(self) -> list[Row]:
        """Rows of the long video's beginning and end."""
        first, last = self.long.first(self.part), self.long.last(self.part)
        rates = zip(DRIFT_TITLES, NO_DRIFT, self.long.drift(first), self.long.drift(last), strict=True)
        drifts = [_drift(title, none, abs(before), abs(after)) for title, none, before, after in rates]
        moves = self.long.motion(first), self.long.motion(last)
        return [*drifts, Row("step between frames, of 255", *moves, _ratio(*moves))]

    def windows(self) -> list[Row]:
        """Rows of the steps at joins of windows, against steps into other latent frames and within latent frames."""
        if self.joins is None or self.starts is None or not self.joins.any():
            return []
        at, others, inside = (
            float(self.long.steps[which].mean()) if which.any() else NAN
            for which in (self.joins, self.starts & ~self.joins, ~self.starts & ~self.joins)
        )
        return [
            Row("step into a latent frame, of 255", others, at, _ratio(others, at)),
            Row("step within a latent frame", inside, at, _ratio(inside, at)),
        ]

    def lines(self) -> list[str]:
        """Three tables, and the change of the picture from beginning to end."""
        change = self.long.change(self.long.first(self.part), self.long.last(self.part))
        part, windows = f"{self.part:g} s", self.windows()
        cuts = ", ".join(f"{cut / self.long.video.fps:.1f}" for cut in self.long.cuts)
        return [
            _head("", f"{self.short.seconds:.4g} s", f"{self.long.seconds:.4g} s"),
            *(row.line() for row in self.videos()),
            *([f"cuts at {cuts} s"] if cuts else []),
            _head("drift of the long video", f"first {part}", f"last {part}"),
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
        """The long video's levels, averaged over each second."""
        edges = np.round(np.arange(1, int(self.long.seconds)) * float(self.long.video.fps)).astype(int)
        levels = {key: getattr(self.long, key) for key in ("colour", "contrast", "detail", "steps")}
        return {
            key: [np.round(part.mean(axis=0), 2).tolist() for part in np.split(values, edges) if len(part)]
            for key, values in levels.items()
        }

    def _sheet(self) -> Video:
        """The long video in rows, and plots of its levels below."""
        num_rows = min(SHOWN_ROWS, max(1, round(self.long.seconds / self.part)))
        parts = [Video(frames, self.long.video.fps) for frames in np.array_split(self.long.video.frames, num_rows)]
        rows = [contact_sheet([part], columns=1, frames_per_video=SHOWN_FRAMES) for part in parts]
        stops = np.cumsum([part.num_frames for part in parts]) / self.long.video.fps
        labels = [f"to {stop:.4g} s" for stop in stops]
        graphs: dict[str, list[tuple[Float[np.ndarray, " t"], tuple[int, int, int]]]] = {
            "mean red, green and blue": list(zip(self.long.colour.T, (RED, GREEN, BLUE), strict=True)),
            "contrast (dark) and detail (red), relative to their maxima": [
                (values / max(values.max(), 1e-9), colour)
                for values, colour in ((self.long.contrast, DARK), (self.long.detail, RED))
            ],
            "step between frames": [(self.long.steps, BLUE)],
        }
        width = rows[0].width
        rows += [curves([v for v, _ in lines], [c for _, c in lines], GRAPH_ROWS, width) for lines in graphs.values()]
        return labelled_sheet(rows, [*labels, *graphs], columns=1, scale=1)


def _head(title: str, first: str, second: str) -> str:
    return f"{title:38}{first:>11}{second:>11}{'ratio':>11}"


def _ratio(first: float, second: float) -> float:
    """The ratio of the second to the first; NaN if the first is 0."""
    return second / first if first > 0 else NAN


def _drift(title: str, none: float, first: float, second: float) -> Row:
    """A row of drift. At the end it may be twice that of the beginning, or below the threshold."""
    known = not np.isnan([first, second]).any()
    return Row(
        title,
        first,
        second,
        _ratio(first, second),
        second <= max(DRIFT * first, none) if known else None,
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with None for NaN, which JSON lacks."""
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in values.items()}


def run(
    videos: tuple[Path, Path] | None = None,
    *,
    prompt: str = PROMPT,
    seconds: tuple[float, float] = SECONDS,
    options: Mapping[str, Any] | None = None,
    model: str = "playground",
    device: str = "auto",
    dtype: DtypeChoice = "auto",
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> LengthReport:
    """The report of two files, or of a short and a long video that a model generates in separate processes.

    `options` are further fields of `requests.Generate`: height, width, fps, seed, num_steps, guidance. Both videos are
    written to `out`. `say` receives the processes' progress.

    Raises:
        MediaError, SizeError: as `measure_files`.
        ModelError, DeviceError: the model can't be loaded there.
        VitascopeError, OSError: as `measure_model`.
    """
    if videos is not None:
        return measure_files(*videos)
    pipeline = load_generator(model, device, dtype, weights=False)
    with without_warnings():  # the processes log them too
        timeline = plan(pipeline, Generate(prompt=prompt, seconds=seconds[1], **(options or {})))
    words = _command(prompt, options or {}, {"--model": model, "--device": device, "--dtype": dtype})
    about = {"model": model_fingerprint(model), "prompt": prompt, "device": device, "dtype": dtype, **(options or {})}
    with cache_folder(out) as folder:
        return measure_model(pipeline, timeline, words, seconds, folder, about=about, say=say)


def _command(
    prompt: str, options: Mapping[str, Any], settings: Mapping[str, str]
) -> Callable[[Sequence[str]], list[str]]:
    """A function that adds arguments to `vitascope generate` with these fields of a request and settings."""
    names = {"fps": "--fps", "seed": "--seed", "num_steps": "--steps", "guidance": "--guidance"}
    words = {**settings, **{names[key]: value for key, value in options.items() if key in names}}
    if "width" in options:
        words["--size"] = f"{options['width']}x{options['height']}"
    return lambda more: ["generate", *(str(word) for pair in words.items() for word in pair), *more, "--", prompt]


def measure_files(short: Path, long: Path) -> LengthReport:
    """The report of two files.

    Raises:
        MediaError: a file can't be read.
        SizeError: too few or too many frames, or the second video isn't longer than the first.
    """
    first, second = read_small(short), read_small(long)
    if second.num_frames / second.fps <= first.num_frames / first.fps:
        raise SizeError(f"{long} is no longer than {short}; give the short video first")
    report = LengthReport(measure_levels(first), measure_levels(second))
    if (num := round(report.part * float(second.fps))) < MIN_COMPARED:
        raise SizeError(f"{num} frames at either end of {long} are too few; give videos with at least {MIN_COMPARED}")
    return report


def measure_model(
    pipeline: Pipeline,
    timeline: Timeline,
    words: Callable[[Sequence[str]], Sequence[str]],
    seconds: tuple[float, float],
    out: Path,
    *,
    about: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> LengthReport:
    """The report of two videos, short.mp4 and long.mp4, that `vitascope` generates in a folder.

    `words` returns the command's arguments, given the varying ones. The pipeline and the long video's timeline locate
    the joins of windows.

    Raises:
        VitascopeError: the command refuses its options.
        OSError: the command fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in ("start.png", "short.mp4", "long.mp4")]
    sizes = [["--frames", "1", "--steps", "1"], *(["--seconds", repr(each)] for each in seconds)]
    costs = Costs(
        *(run_vitascope(words([*size, "-o", str(path)]), say) for size, path in zip(sizes, paths, strict=True))
    )
    short, long = map(measure_levels, map(read_small, paths[1:]))
    grid, num_steps = pipeline.grid, len(long.steps)
    windows = pipeline.rollout(timeline).windows()
    return LengthReport(
        short,
        long,
        costs,
        joins=_steps_to([grid.first_frame(window.stop) for window in windows[:-1]], num_steps),
        starts=_steps_to([grid.first_frame(cell) for cell in range(1, timeline.latent.shape[1])], num_steps),
        about=about,
    )


def _steps_to(frames: Sequence[int], num_steps: int) -> Bool[np.ndarray, " steps"]:
    """A mask of the steps that lead to one of these frames."""
    return np.isin(np.arange(1, num_steps + 1), frames)
