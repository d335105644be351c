"""A user's own videos and images as a dataset that can be trained on: cut into clips, fitted in size and rate.

What a source became is written to `sources.jsonl`, a line each, when it is done: an interrupted run goes on from there,
and whatever was left out is there with its reason.
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
from vitascope.data.layout import CRF, claim, media_path, parse_size
from vitascope.data.sources import Source, find_sources
from vitascope.errors import ConfigError, DatasetError, MediaError, PastEndError, SizeError
from vitascope.files import write_text
from vitascope.video import Video, read_video, write_video

LEDGER = "sources.jsonl"


class PrepareConfig(Config):
    """What the clips shall be. A source takes the size, of those given as WIDTHxHEIGHT, whose shape is nearest its own.

    `num_frames` is the most that a clip has; a video makes at most `max_clips` of them, one after the other. More than
    `max_bad_share` of sources that can't be used stop the run.
    """

    sizes: tuple[str, ...] = Field(default=("64x64", "80x48", "48x80", "64x48", "48x64"), min_length=1)
    fps: float = Field(default=8.0, ge=1, le=120)
    num_frames: int = Field(default=17, ge=1, le=10_001)
    max_clips: int = Field(default=100, ge=1)
    max_bad_share: float = Field(default=0.1, ge=0, le=1)

    @field_validator("sizes")
    @classmethod
    def _are_sizes(cls, sizes: tuple[str, ...]) -> tuple[str, ...]:
        for size in sizes:
            parse_size(size)
        return sizes

    @field_validator("num_frames")
    @classmethod
    def _is_whole(cls, num_frames: int) -> int:
        if num_frames % 4 != 1:  # a codec takes the first frame, and then four at a time
            raise ValueError(f"{num_frames} frames: need 4k+1, such as {num_frames - (num_frames - 1) % 4}")
        return num_frames


@dataclass(frozen=True)
class Prepared:
    """How many clips there are, of how many sources, and what was left out, by reason."""

    num_clips: int
    num_sources: int
    problems: Counter[str]

    def __str__(self) -> str:
        left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(self.problems.items()))
        return f"{self.num_clips} clips of {self.num_sources} sources; left out: {left_out or 'none'}"


def prepare_videos(
    folder: str | Path, out: str | Path, config: PrepareConfig, on_progress: Callable[[int, int], None] | None = None
) -> Prepared:
    """Make a dataset of the captioned videos and images below a folder; what is done already is kept.

    Raises:
        ConfigError: `out` was prepared with other settings.
        DatasetError: nothing to prepare, or too large a share of it is bad.
    """
    folder, out = Path(folder), Path(out)
    if out.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"--out {out} lies inside {folder}, and would be read as more videos; choose another")
    found = find_sources(folder)
    problems, bad = Counter(found.problems), found.problems["no caption"]
    total = len(found.sources) + bad
    _check_share(bad, total, problems, config.max_bad_share)
    settings = config.model_dump(mode="json", exclude={"max_bad_share"})
    claim(out, {"kind": "videos", "folder": str(folder.resolve()), **settings})
    done = _read_ledger(out / LEDGER)
    for number, source in enumerate(found.sources, start=1):
        if source.name not in done:
            done[source.name] = _prepare(source, out, config)
            with (out / LEDGER).open("a", encoding="utf-8") as ledger:
                ledger.write(_ledger_line(source.name, done[source.name]))
        if "problem" in done[source.name]:
            problems[str(done[source.name]["problem"])] += 1
            bad += 1
            _check_share(bad, total, problems, config.max_bad_share)
        if on_progress is not None:
            on_progress(number, len(found.sources))
    prepared = Prepared(sum(int(done[source.name]["clips"]) for source in found.sources), len(found.sources), problems)
    if not prepared.num_clips:
        raise DatasetError(f"{folder} gives no clip: {prepared}")
    return prepared


def _prepare(source: Source, out: Path, config: PrepareConfig) -> dict[str, int | str]:
    """Write a source's clips: how many, and what was wrong with it, if anything.

    Raises:
        MediaError: a clip can't be written; a full disk is no fault of the source.
    """
    key, written, videos = hashlib.sha256(os.fsencode(source.name)).hexdigest()[:12], 0, _clips(source.path, config)
    while True:
        try:
            video = next(videos, None)
        except (MediaError, SizeError) as error:
            return {"clips": written, "problem": _kind(error, source.path), "message": str(error)}
        if video is None:
            return {"clips": written}
        record = out / "clips" / f"{key}_{written:04d}.json"
        write_video(video, media_path(record, video.num_frames), crf=CRF)
        _write_record(record, video, source)
        written += 1


def _clips(path: Path, config: PrepareConfig) -> Iterator[Video]:
    """A source's clips, one after the other, until it ends.

    Raises:
        MediaError, SizeError: the file can't be read.
    """
    seconds = config.num_frames / config.fps
    for number in range(1 if config.num_frames == 1 else config.max_clips):
        try:
            video = read_video(path, fps=config.fps, start=number * seconds, max_frames=config.num_frames)
        except PastEndError:
            return  # the clip before was the last, and whole
        num_frames = video.num_frames - (video.num_frames - 1) % 4
        if num_frames > 1 or number == 0:
            width, height = _nearest_size(video, config.sizes)
            yield Video(video.frames[:num_frames], config.fps).fit(height, width)
        if video.num_frames < config.num_frames:
            return


def _nearest_size(video: Video, sizes: tuple[str, ...]) -> tuple[int, int]:
    """(width, height) of the size that crops least."""
    return min(map(parse_size, sizes), key=lambda pair: abs(math.log(pair[0] / pair[1] * video.height / video.width)))


def _write_record(path: Path, video: Video, source: Source) -> None:
    record = {
        "id": path.stem,
        "num_frames": video.num_frames,
        "fps": video.fps,
        "height": video.height,
        "width": video.width,
        "captions": source.captions,
        "source": source.name,
    }
    write_text(path, json.dumps(record) + "\n")


def _kind(error: Exception, path: Path) -> str:
    """An error's reason without the file's name, so that like ones are counted together."""
    return " ".join(str(error).replace(str(path), "").split()).lstrip(": ")[:80]


def _check_share(bad: int, total: int, problems: Counter[str], max_bad_share: float) -> None:
    """Stop when more of the files are bad than may be, whatever is still to come."""
    if bad > max_bad_share * total:
        worst = ", ".join(f"{count} {reason}" for reason, count in problems.most_common(3))
        raise DatasetError(f"{bad} of {total} files can't be used ({worst}); allow more with --max-bad")


def _read_ledger(path: Path) -> dict[str, dict[str, int | str]]:
    """What is done already. Sources that failed are tried again, and a line left unfinished is forgotten."""
    done: dict[str, dict[str, int | str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            name = entry.pop("source")
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
        if "problem" not in entry:
            done[name] = entry
    write_text(path, "".join(_ledger_line(name, entry) for name, entry in done.items()))
    return done


def _ledger_line(name: str, entry: dict[str, int | str]) -> str:
    return json.dumps({"source": name, **entry}) + "\n"
