"""`evaluate length`: each fault of a long video fails the figure meant for it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitascope import cli
from vitascope.errors import SizeError, VitascopeError
from vitascope.evaluate import length
from vitascope.evaluate.length import Costs, LengthReport, Row, measure_files, measure_model
from vitascope.evaluate.measures.drift import measure_levels, read_small
from vitascope.evaluate.measures.resources import Usage, run_vitascope
from vitascope.generate.pipeline import Pipeline
from vitascope.generate.planning import plan
from vitascope.generate.requests import Generate
from vitascope.video import Video, write_video

ROOT = Path(__file__).parents[2]
FPS = 8.0


def scene(seconds: float, *, tint: float = 0.0, grain: float = 0.0, cut: float | None = None) -> Video:
    """A bar that moves before a still ground; from half of the time on, percent per second of tint and of grain."""
    times = np.arange(round(seconds * FPS)) / FPS
    rows, columns = np.mgrid[:32, :32]
    ground = 60 + 4.0 * (16 * (rows // 8 % 2) + columns)
    check = 30 * ((rows + columns) % 2)
    frames = []
    for time in times:
        late = max(0.0, time - seconds / 2)
        frame = np.repeat((ground + check * grain * late)[..., None], 3, axis=2)
        frame[12:20, int(4 * time) % 24 : int(4 * time) % 24 + 6] = (200, 60, 60)
        frame[..., 0] *= 1 + 0.01 * tint * late
        frames.append(255 - frame if cut is not None and time >= cut else frame)
    return Video(np.clip(np.stack(frames), 0, 255).astype(np.uint8), FPS)


def report_of(long: Video, **known: Any) -> LengthReport:
    return LengthReport(measure_levels(scene(4.0)), measure_levels(long), **known)


def failing(rows: Sequence[Row]) -> list[str]:
    return [row.title for row in rows if row.holds is False]


def test_a_steady_video_holds() -> None:
    report = report_of(scene(16.0))
    assert failing([*report.videos(), *report.ends()]) == []
    assert all(row.holds for row in report.ends()[:-1])  # nothing moves but the bar, so all can be told
    assert report.windows() == []


@pytest.mark.parametrize(
    ("fault", "measures"),
    [
        ({"tint": 3.0}, {"colour of static regions, %/s", "colour of whole frames, %/s"}),
        ({"grain": 0.1}, {"detail of whole frames, %/s"}),
    ],
)
def test_what_changes_towards_the_end_fails(fault: dict[str, float], measures: set[str]) -> None:
    """Fails when the last seconds aren't those that are measured, or are compared with themselves."""
    report = report_of(scene(16.0, **fault))
    assert measures <= set(failing(report.ends()))
    assert not measures & set(failing(report_of(Video(scene(16.0, **fault).frames[::-1], FPS)).ends()))


def test_a_cut_is_counted_and_told() -> None:
    report = report_of(scene(16.0, cut=10.0))
    assert failing(report.videos()) == ["unrequested cuts"]
    assert report.long.cuts == [80]
    assert "cuts at 10.0 s" in report.lines()


@pytest.mark.parametrize(
    ("start", "short", "long", "fails"),
    [
        (2.0, 12.0, 62.0, []),  # less than six times as long, by what starting takes
        (2.0, 12.0, 70.0, ["per second"]),  # no more than six times as long, but slower and slower
        (0.0, 10.0, 70.0, ["time, s", "per second"]),
    ],
)
def test_time_is_compared_with_and_without_starting(start: float, short: float, long: float, fails: list[str]) -> None:
    costs = Costs(*(Usage(wall, wall, 1e8) for wall in (start, short, long)))
    wrong = failing(costs.rows(10.0, 60.0))
    assert [any(word in title for title in wrong) for word in ("time, s", "per second")] == [
        word in fails for word in ("time, s", "per second")
    ]


def test_memory_that_grows_with_the_length_fails() -> None:
    costs = Costs(Usage(1.0, 1.0, 1e8), Usage(11.0, 11.0, 3e8), Usage(61.0, 61.0, 3.4e8))
    assert failing(costs.rows(10.0, 60.0)) == ["peak memory, MB"]
    unknown = Costs(*(Usage(1.0, 1.0, float("nan")) for _ in range(3))).rows(10.0, 60.0)
    assert unknown[-1].holds is None


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="tells of Linux")
def test_a_process_tells_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when it is taken from `getrusage`, where a child's peak begins with this process's, PyTorch and all."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ballast = np.ones(200 * 2**20, np.uint8)
    usage = run_vitascope(["--help"], print)
    assert 1e6 < usage.peak < ballast.nbytes
    assert usage.processor > 0
    assert usage.wall > 0


def test_what_a_command_complains_of_is_an_error_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    said: list[str] = []
    with pytest.raises(VitascopeError, match=r"^no file|no such file"):
        run_vitascope(["extend", str(tmp_path / "none.mp4"), "--seconds", "1"], said.append)
    assert said == []


def test_joins_of_windows_are_found(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The videos are drawn: they jump where the model's own stream begins a window. Fails when joins are elsewhere."""
    timeline = plan(pipeline, Generate(prompt="a ball", num_frames=48))
    rollout = pipeline.rollout(timeline)
    windows = rollout.windows()
    assert [window.start for window in windows] == [0, 2, 4, 6, 8, 10]  # the first latent frame is known from before
    first_made = [9, 17, 25, 33, 41]

    def run(words: Sequence[str], say: object) -> Usage:
        path = Path(words[-1])
        frames = scene(6.0 if path.stem == "long" else 2.0).frames.copy()
        for number, frame in enumerate(first_made):
            frames[frame:, ::2] ^= np.uint8(40 * (number % 2 == 0)) | np.uint8(8)
        write_video(Video(frames if path.suffix == ".mp4" else frames[:1], FPS), path)
        return Usage(1.0, 1.0, 1e8)

    monkeypatch.setattr(length, "run_vitascope", run)
    report = measure_model(pipeline, timeline, list, (2.0, 6.0), tmp_path)
    elsewhere, inside = report.windows()
    assert elsewhere.ratio > 1.5
    assert inside.ratio > 1.5
    assert report.joins is not None
    assert (1 + np.flatnonzero(report.joins)).tolist() == first_made


def test_a_model_is_run_and_measured(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three processes of the real command line. Fails when an option doesn't reach them."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    options = ["--short", "1.5", "--seconds", "4", "--size", "48x32", "--fps", "10", "--steps", "1", "--guidance", "1"]
    out = tmp_path / "report"
    assert cli.main(["evaluate", "length", "--model", str(model_folder), *options, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == str(out)
    assert "peak memory, MB" in captured.out
    assert captured.err.count("trained on about") == 2  # each video's process says it, and this one doesn't
    tree = json.loads((out / "length.json").read_text())
    assert tree["seconds"] == {"short": 1.5, "long": 4.0, "part": 1.5}
    assert tree["joins"] == [9, 17, 25, 33]
    assert tree["processes"]["long"]["processor"] > 0
    assert (out / "length.png").stat().st_size > 0
    shapes = [read_small(out / name).frames.shape for name in ("short.mp4", "long.mp4")]
    assert shapes == [(15, 32, 48, 3), (40, 32, 48, 3)]


def test_files_are_measured(tmp_path: Path) -> None:
    short, long = (scene(seconds).save(tmp_path / f"{seconds}.mp4") for seconds in (2.0, 6.0))
    report = measure_files(short, long)
    assert (report.costs, report.part, report.windows()) == (None, 2.0, [])
    report.write(tmp_path / "report")
    tree = json.loads((tmp_path / "report" / "length.json").read_text())
    assert tree["processes"] is None
    assert len(tree["each second"]["detail"]) == 6
    with pytest.raises(SizeError, match="is no longer than"):
        measure_files(long, short)


def test_large_videos_are_read_small(tmp_path: Path) -> None:
    path = write_video(Video(np.zeros((8, 240, 320, 3), np.uint8), FPS), tmp_path / "large.mp4")
    assert read_small(path).frames.shape == (8, 96, 128, 3)
