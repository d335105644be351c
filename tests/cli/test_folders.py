"""Folders that commands write into: one command at a time, and nothing stays of killed ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.robustness.small import make_dataset
from tests.cli.fakes import FakePipeline
from vitascope import cli
from vitascope.errors import FolderInUseError
from vitascope.evaluate.measures.video_cache import cache_folder
from vitascope.files import lock_folder
from vitascope.video import Video, write_video


def prepare_videos(folder: Path) -> list[str]:
    (folder / "mine").mkdir()
    write_video(Video(np.zeros((5, 32, 32, 3), np.uint8), 8.0), folder / "mine" / "a.mp4")
    return ["prepare", "videos", str(folder / "mine"), "--size", "32x32", "--frames", "5"]


def prepare_shards(folder: Path) -> list[str]:
    return ["prepare", "shards", str(make_dataset(folder / "data", 1))]


def render(folder: Path) -> list[str]:
    return ["render", "--clips", "1"]


def prepare_emoji(folder: Path) -> list[str]:
    return ["prepare", "emoji", str(folder), "--clips", "1"]


COMMANDS = [prepare_videos, prepare_shards, render, prepare_emoji]
LEFT = (".0123456789abcdef.tmp.mp4", ".0123456789abcdef.tmp", ".tmpAb12Cd")


@pytest.fixture(autouse=True)
def nothing_to_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets of the worlds count as complete: rendering isn't tested here."""
    for module in ("render", "render_emoji"):
        monkeypatch.setattr(f"vitascope.data.{module}.missing_clips", lambda out, num_clips: [])
    monkeypatch.setattr("vitascope.data.render_emoji.find_characters", lambda source: [])
    monkeypatch.setattr("vitascope.data.render_emoji.has_combinations", lambda *settings: True)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_refused_while_another_one_writes_into_its_folder(
    command: Callable[[Path], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails when a command takes no lock. `tests/train/test_loop.py` tests the trainers."""
    words, out = command(tmp_path), tmp_path / "out"
    with lock_folder(out):
        assert cli.main([*words, "-o", str(out)]) == 2
        assert files(out) == {".lock"}
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert f"{out} is in use by another command (process {os.getpid()})" in captured.err
    assert cli.main([*words, "-o", str(out)]) == 0
    assert ".lock" not in files(out)


def test_two_evaluations_do_not_share_a_folder(tmp_path: Path) -> None:
    """Fails when both generate the videos that are missing."""
    with cache_folder(tmp_path), pytest.raises(FolderInUseError, match="in use by another command"):
        cache_folder(tmp_path).__enter__()
    with cache_folder(None) as one, cache_folder(None) as other:
        assert one != other


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_removes_what_killed_ones_left_in_its_folder(
    command: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """Fails when a folder isn't searched, such as that of the clips."""
    words, out = command(tmp_path), tmp_path / "out"
    folders = [out] if command is prepare_shards else [out, out / "clips"]
    for folder in folders:
        folder.mkdir(parents=True)
        for name in LEFT:
            (folder / name).write_text("half")
    assert cli.main([*words, "-o", str(out)]) == 0
    assert not {path.name for path in out.rglob(".*")}


def test_an_evaluation_removes_what_killed_ones_left_in_its_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "renders", tmp_path / "model"):
        folder.mkdir(exist_ok=True)
        (folder / LEFT[0]).write_text("half")
    with cache_folder(tmp_path):
        assert files(tmp_path) == {".lock", "renders", "model"}


def generate(folder: Path) -> list[str]:
    return ["generate", "a cat"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on file sizes")
@pytest.mark.parametrize("command", [prepare_videos, prepare_shards, render, prepare_emoji, generate])
@pytest.mark.parametrize("limit", [0, 5])
def test_a_full_disk_is_exit_1_and_one_line_that_names_a_file(
    command: Callable[[Path], list[str]],
    limit: int,
    pipeline: FakePipeline,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A limit on file sizes stands for the full disk. Fails when the error counts as the user's mistake, exit 2."""
    import resource

    words, out = command(tmp_path), tmp_path / ("out.mp4" if command is generate else "out")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        code = cli.main([*words, "-o", str(out)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (line,) = capsys.readouterr().err.splitlines()
    assert (code, str(out.with_suffix("")) in line) == (1, True), line
    assert line.endswith("; free some space, then run the same command again")
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]
    assert cli.main([*words, "-o", str(out)]) == 0


def test_a_verb_removes_what_killed_ones_left_next_to_its_output(pipeline: FakePipeline, tmp_path: Path) -> None:
    """Young files stay: another process may be about to lock them. So do those of other programs."""
    old, young, theirs = ".0123456789abcdef.tmp.mp4", ".fedcba9876543210.tmp.mp4", ".mine.tmp.mp4"
    for name in (old, young, theirs):
        (tmp_path / name).write_text("half")
    for name in (old, theirs):
        os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    assert cli.main(["generate", "a cat", "-o", "cat.mp4"]) == 0
    assert files(tmp_path) == {young, theirs, "cat.mp4"}
