"""Datasets cut from existing footage: clips of the requested sizes, lengths and frame rate.

A ledger, `sources.jsonl`, gets one line per finished file: the number of clips, or the reason for having none. An
interrupted run resumes from it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from vitascope.config import Config
from vitascope.data.captioned_files import CaptionedFile
from vitascope.data.clips import media_path
from vitascope.data.layout import CRF, claim, parse_size
from vitascope.data.sources import SOURCES
from vitascope.errors import ConfigError, DatasetError, MediaError, PastEndError, SizeError
from vitascope.files import parse_json, write_text
from vitascope.video import Video, read_video, write_video

LEDGER = "sources.jsonl"


class PrepareConfig(Config):
    """Settings of the clips. Each file takes the size (WIDTHxHEIGHT) whose aspect ratio is nearest its own.

    A video yields up to `max_clips` consecutive clips of up to `num_frames` frames. The run stops when more than
    `max_bad_share` of the files are unusable.
    """

    sizes: tuple[str, ...] = Field(default=("64x64", "80x48", "48x80", "64x48", "48x64"), min_length=1)
    fps: float = Field(default=8.0, ge=1, le=120)
    num_frames: int = Field(default=17, ge=1, le=10_001)
    max_clips: int = Field(default=100, ge=1)
    max_bad_share: float = Field(default=0.1, ge=0, le=1)

    @field_validator("sizes")
    @classmethod
    def _check_sizes(cls, sizes: tuple[str, ...]) -> tuple[str, ...]:
        for size in sizes:
            parse_size(size)
        return sizes

    @field_validator("num_frames")
    @classmethod
    def _check_num_frames(cls, num_frames: int) -> int:
        if num_frames % 4 != 1:  # a codec takes the first frame, then groups of four
            raise ValueError(f"{num_frames} frames: need 4k+1, such as {num_frames - (num_frames - 1) % 4}")
        return num_frames


@dataclass(frozen=True)
class Prepared:
    """Result of a run: the number of clips and of files, and the unusable files counted by reason."""

    num_clips: int
    num_sources: int
    problems: Counter[str]

    def __str__(self) -> str:
        left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(self.problems.items()))
        return f"{self.num_clips} clips of {self.num_sources} sources; left out: {left_out or 'none'}"


def prepare_videos(
    source: str | Path,
    out: str | Path,
    config: PrepareConfig,
    on_progress: Callable[[int, int], None] | None = None,
    kind: str = "videos",
) -> Prepared:
    """Cut the captioned files of a source into a dataset; finished files are skipped. `kind` is a key of `SOURCES`.

    Raises:
        ConfigError: `out` was prepared with other settings, or is inside the source.
        DatasetError: nothing to prepare, or too many unusable files.
    """
    source, out = Path(source), Path(out)
    if out.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"--out {out} is inside {source} and would be read as footage; choose another folder")
    found = SOURCES[kind].find(source)
    problems, bad = Counter(found.problems), found.problems["no caption"]
    total = len(found.files) + bad
    _check_share(bad, total, problems, config.max_bad_share)
    settings = config.model_dump(mode="json", exclude={"max_bad_share"})
    claim(out, {"kind": kind, "folder": str(source.resolve()), **settings})
    done = _read_ledger(out / LEDGER)
    for number, file in enumerate(found.files, start=1):
        if file.name not in done:
            done[file.name] = _prepare(file, out, config)
            with (out / LEDGER).open("a", encoding="utf-8") as ledger:
                ledger.write(_ledger_line(file.name, done[file.name]))
        if "problem" in done[file.name]:
            problems[str(done[file.name]["problem"])] += 1
            bad += 1
            _check_share(bad, total, problems, config.max_bad_share)
        if on_progress is not None:
            on_progress(number, len(found.files))
    prepared = Prepared(sum(int(done[file.name]["clips"]) for file in found.files), len(found.files), problems)
    if not prepared.num_clips:
        raise DatasetError(f"{source} gives no clip: {prepared}")
    return prepared


def _prepare(file: CaptionedFile, out: Path, config: PrepareConfig) -> dict[str, int | str]:
    """Write a file's clips and return its ledger entry: the number of clips and, on failure, the problem.

    Raises:
        MediaError: a clip can't be written, such as on a full disk.
    """
    key, written, videos = hashlib.sha256(os.fsencode(file.name)).hexdigest()[:12], 0, _clips(file.path, config)
    while True:
        try:
            video = next(videos, None)
        except (MediaError, SizeError) as error:
            return {"clips": written, "problem": _kind(error, file.path), "message": str(error)}
        if video is None:
            return {"clips": written}
        record = out / "clips" / f"{key}_{written:04d}.json"
        write_video(video, media_path(record, video.num_frames), crf=CRF)
        _write_record(record, video, file)
        written += 1


def _clips(path: Path, config: PrepareConfig) -> Iterator[Video]:
    """Yield a file's consecutive clips.

    Raises:
        MediaError, SizeError: the file can't be read.
    """
    seconds = config.num_frames / config.fps
    for number in range(1 if config.num_frames == 1 else config.max_clips):
        try:
            video = read_video(path, fps=config.fps, start=number * seconds, max_frames=config.num_frames)
        except PastEndError:
            return  # the previous clip ended exactly at the end of the file
        num_frames = video.num_frames - (video.num_frames - 1) % 4
        if num_frames > 1 or number == 0:
            width, height = _nearest_size(video, config.sizes)
            yield Video(video.frames[:num_frames], config.fps).fit(height, width)
        if video.num_frames < config.num_frames:
            return


def _nearest_size(video: Video, sizes: tuple[str, ...]) -> tuple[int, int]:
    """(width, height) of the size that crops the video least."""
    return min(map(parse_size, sizes), key=lambda pair: abs(math.log(pair[0] / pair[1] * video.height / video.width)))


def _write_record(path: Path, video: Video, file: CaptionedFile) -> None:
    record = {
        "id": path.stem,
        "num_frames": video.num_frames,
        "fps": video.fps,
        "height": video.height,
        "width": video.width,
        "captions": file.captions,
        "source": file.name,
    }
    write_text(path, json.dumps(record) + "\n")


def _kind(error: Exception, path: Path) -> str:
    """An error's message without the file's path, so that equal problems are counted together."""
    return " ".join(str(error).replace(str(path), "").split()).lstrip(": ")[:80]


def _check_share(bad: int, total: int, problems: Counter[str], max_bad_share: float) -> None:
    """Raise as soon as the share of unusable files exceeds the limit."""
    if bad > max_bad_share * total:
        worst = ", ".join(f"{count} {reason}" for reason, count in problems.most_common(3))
        raise DatasetError(f"{bad} of {total} files are unusable ({worst}); allow more with --max-bad")


def _read_ledger(path: Path) -> dict[str, dict[str, int | str]]:
    """Finished files by name. Failed files are dropped, so that they are tried again; a truncated line is ignored."""
    done: dict[str, dict[str, int | str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            entry = parse_json(line)
            name = entry.pop("source")
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
        if "problem" not in entry:
            done[name] = entry
    write_text(path, "".join(_ledger_line(name, entry) for name, entry in done.items()))
    return done


def _ledger_line(name: str, entry: dict[str, int | str]) -> str:
    return json.dumps({"source": name, **entry}) + "\n"
