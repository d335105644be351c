"""A user's own videos and images as a dataset that can be trained on: cut into clips, fitted in size and rate.

What a source became is written to `sources.jsonl`, a line each, when it is done: an interrupted run goes on from there,
and whatever was left out is there with its reason.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from vitascope.config import Config
from vitascope.data.sources import Source, find_sources
from vitascope.errors import ConfigError, DatasetError, MediaError, SizeError
from vitascope.files import write_text
from vitascope.video import Video, read_video, write_video

MIN_SIDE, MAX_SIDE = 16, 2048
MIN_JUDGED = 10  # sources, before a share of bad ones says anything
LEDGER = "sources.jsonl"


class PrepareConfig(Config):
    """What the clips shall be. A source takes the size, of those given as WIDTHxHEIGHT, whose shape is nearest its own.

    `num_frames` is the most that a clip has; a video makes at most `max_clips` of them, one after the other. More than
    `max_bad_share` of sources that can't be used stop the run.
    """

    sizes: tuple[str, ...] = Field(default=("64x64", "80x48", "48x80", "64x48", "48x64"), min_length=1)
    fps: float = Field(default=8.0, ge=1, le=120)
    num_frames: int = Field(default=17, ge=1, le=10_000)
    max_clips: int = Field(default=100, ge=1)
    max_bad_share: float = Field(default=0.1, ge=0, le=1)

    @field_validator("sizes")
    @classmethod
    def _are_sizes(cls, sizes: tuple[str, ...]) -> tuple[str, ...]:
        for size in sizes:
            sides = [int(side) for side in size.split("x")] if re.fullmatch(r"[0-9]{2,4}x[0-9]{2,4}", size) else [0]
            if not all(MIN_SIDE <= side <= MAX_SIDE and side % 2 == 0 for side in sides):
                raise ValueError(f"size {size!r}: write WIDTHxHEIGHT, both even and {MIN_SIDE} to {MAX_SIDE}")
        return sizes


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
    found = find_sources(folder)
    _claim(out, config)
    done = _read_ledger(out / LEDGER)
    total = len(found.sources) + found.problems["no caption"]
    for number, source in enumerate(found.sources, start=1):
        if source.name not in done:
            done[source.name] = _prepare(source, out, config)
            with (out / LEDGER).open("a", encoding="utf-8") as ledger:
                ledger.write(_ledger_line(source.name, done[source.name]))
        if on_progress is not None:
            on_progress(number, len(found.sources))
        _check_share(done, found.problems, number, total, config.max_bad_share)
    outcomes = [done[source.name] for source in found.sources]
    problems = found.problems + Counter(str(outcome["problem"]) for outcome in outcomes if "problem" in outcome)
    num_clips = sum(int(outcome["clips"]) for outcome in outcomes)
    if not num_clips:
        raise DatasetError(f"{folder} gives no clip: {Prepared(0, len(outcomes), problems)}")
    return Prepared(num_clips, len(outcomes), problems)


def _prepare(source: Source, out: Path, config: PrepareConfig) -> dict[str, int | str]:
    """Write a source's clips: how many, and what was wrong, if anything."""
    key, written = hashlib.sha256(source.name.encode()).hexdigest()[:12], 0
    try:
        for video in _clips(source.path, config):
            path = out / "clips" / f"{key}_{written:04d}{'.png' if video.num_frames == 1 else '.mp4'}"
            write_video(video, path)
            _write_record(path, video, source)
            written += 1
    except (MediaError, SizeError) as error:
        if not written:
            return {"clips": 0, "problem": _kind(error, source.path), "message": str(error)}
    return {"clips": written}


def _clips(path: Path, config: PrepareConfig) -> Iterator[Video]:
    """A source's clips, one after the other, until it ends.

    Raises:
        MediaError, SizeError: of the first clip, a file that can't be read; of a later one, that the file has ended.
    """
    seconds = config.num_frames / config.fps
    for number in range(config.max_clips):
        video = read_video(path, fps=config.fps, start=number * seconds, max_frames=config.num_frames)
        num_frames = video.num_frames - (video.num_frames - 1) % 4  # what a codec of stride 4 takes whole
        if num_frames > 1 or number == 0:
            width, height = _nearest_size(video, config.sizes)
            yield Video(video.frames[:num_frames], config.fps).fit(height, width)
        if video.num_frames < config.num_frames:
            return


def _nearest_size(video: Video, sizes: tuple[str, ...]) -> tuple[int, int]:
    """(width, height) of the size that crops least."""
    pairs = [(int(size.split("x")[0]), int(size.split("x")[1])) for size in sizes]
    return min(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1] * video.height / video.width)))


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
    write_text(path.with_suffix(".json"), json.dumps(record, ensure_ascii=False) + "\n")


def _kind(error: Exception, path: Path) -> str:
    """An error's reason without the file's name, so that like ones are counted together."""
    return " ".join(str(error).replace(str(path), "").split()).lstrip(": ")[:80]


def _check_share(
    done: dict[str, dict[str, int | str]], problems: Counter[str], seen: int, total: int, max_bad_share: float
) -> None:
    bad = problems["no caption"] + sum("problem" in outcome for outcome in done.values())
    judged = seen + problems["no caption"]
    if judged >= min(MIN_JUDGED, total) and bad > max_bad_share * total:
        reasons = Counter(str(outcome["problem"]) for outcome in done.values() if "problem" in outcome)
        reasons["no caption"] += problems["no caption"]
        worst = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(3) if count)
        raise DatasetError(f"{bad} of {total} files can't be used ({worst}); allow more with --max-bad")


def _claim(out: Path, config: PrepareConfig) -> None:
    """Write dataset.json, or check that the one there says the same."""
    path, wanted = out / "dataset.json", {"kind": "videos", **config.model_dump(mode="json", exclude={"max_bad_share"})}
    if path.exists():
        try:
            same = json.loads(path.read_text(encoding="utf-8")) == wanted
        except ValueError:
            same = False
        if not same:
            raise ConfigError(f"{out} was made with other settings; choose another --out")
    (out / "clips").mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(wanted, indent=2) + "\n")


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
    return json.dumps({"source": name, **entry}, ensure_ascii=False) + "\n"
