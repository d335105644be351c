"""Datasets cut from existing footage: clips of the requested sizes, lengths and frame rate.

A ledger, `sources.jsonl`, gets one line per finished file: its digest, the number of clips, and the reason if it is
unusable. An interrupted run resumes from it. Later runs make the dataset equal to its sources again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from vitascope.config import Config
from vitascope.data.captioned_files import CaptionedFile
from vitascope.data.clips import counted, nameless
from vitascope.data.layout import CRF, claim, media_path, parse_size
from vitascope.data.ledger import LEDGER, Entry, Ledger, is_unchanged, read_stamp, version
from vitascope.data.sources import SOURCES
from vitascope.errors import ConfigError, DatasetError, MediaError, PastEndError, SizeError
from vitascope.files import load_json, lock_folder, write_text
from vitascope.video import Video, probe, read_video, write_video
from vitascope.video.cuts import find_cuts

CUT_STRENGTH = 1.6  # as in `evaluate coherence`: renders and footage have no weaker cuts
CONTEXT = 16  # frames before a clip that cuts are judged by
LOOKAHEAD = 4  # frames that follow a step of two frames that `cut_strengths` rates
OUR_FILES = re.compile(r"([0-9a-f]{12}_[0-9]{4,})\.(json|mp4|png)")
NO_MEDIA, SOUND = "not a picture or video", "sound only"
SOUND_LEFT_OUT = "has sound, which is left out: datasets hold none"
# Suffixes of files that count as unusable media if their content isn't; other files are no media at all.
MEDIA = re.compile(
    r"\.(mp4|m4v|mov|qt|mkv|webm|avi|divx|mpe?g|m2v|wmv|asf|flv|f4v|3gp|3g2|ogv|mts|m2ts|vob|mxf"
    r"|gif|a?png|jpe?g|webp|bmp|tiff?|avif|hei[cf]|jxl)"
)


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
    """Result of a run: the number of clips and of media files, and everything left out, counted by reason.

    `num_cuts` counts shot changes. `num_sharing` clips are parts of a video and carry the caption of the whole.
    `changes` counts the sources that differ from the previous run, `notes` the conversions of files that this run read.
    """

    num_clips: int
    num_sources: int
    problems: Counter[str]
    num_cuts: int = 0
    num_sharing: int = 0
    num_silent: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        left_out = ", ".join(f"{count} x {reason}" for reason, count in sorted(self.problems.items()))
        lines = [f"{self.num_clips} clips of {self.num_sources} sources; left out: {left_out or 'none'}"]
        if self.num_cuts:
            lines.append(f"note: videos were cut at {self.num_cuts} shot changes")
        if self.num_sharing:
            lines.append(f"note: {self.num_sharing} clips are parts of a video and carry the caption of the whole")
        if self.num_silent:
            lines.append(
                f"note: {self.num_silent} sources have no caption; codecs train on them, transformers get the empty "
                "text; add captions and run prepare again"
            )
        lines += [f"note: {count} x {note}" for note, count in sorted(self.notes.items())]
        if self.changes:
            lines.append(f"note: since the previous run: {counted(self.changes)}")
        return "\n".join(lines)


def prepare_videos(
    source: str | Path,
    out: str | Path,
    config: PrepareConfig,
    on_progress: Callable[[int, int], None] | None = None,
    kind: str = "videos",
) -> Prepared:
    """Make a dataset equal to the files of a source; unchanged files are skipped. `kind` is a key of `SOURCES`.

    Clips of removed or changed files go, changed captions are written into the records.

    Raises:
        ConfigError: `out` was prepared with other settings, or is inside the source.
        DatasetError: nothing to prepare, or too many unusable files.
        FolderInUseError: another command writes into the folder.
    """
    source, out = Path(source), Path(out)
    if out.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"--out {out} is inside {source} and would be read as footage; choose another folder")
    with lock_folder(out, "clips"):
        return _prepare_videos(source, out, config, on_progress, kind)


def _prepare_videos(
    source: Path, out: Path, config: PrepareConfig, on_progress: Callable[[int, int], None] | None, kind: str
) -> Prepared:
    found = SOURCES[kind].find(source)
    settings = config.model_dump(mode="json", exclude={"max_bad_share"})
    claim(out, {"kind": kind, "folder": str(source.resolve()), **settings})
    ledger = Ledger(out / LEDGER)
    changes = ledger.forget_others({file.name for file in found.files})
    _remove_strangers(out, ledger.done)
    problems, bad, total = Counter(found.problems), 0, len(found.files)
    notes = Counter[str]()
    for number, file in enumerate(found.files, start=1):
        with _counting_notes(file, notes):
            entry = _updated(file, out, config, ledger, changes)
        if "problem" in entry:
            problems[str(entry["problem"])] += 1
            if entry["problem"] == SOUND or (
                entry["problem"] == NO_MEDIA and not MEDIA.fullmatch(file.path.suffix.lower())
            ):
                total -= 1
            else:
                bad += 1
            _check_share(bad, total, problems, config.max_bad_share)
        if on_progress is not None:
            on_progress(number, len(found.files))
    ledger.tidy()
    entries = [(file, ledger.done[file.name]) for file in found.files]
    notes.update(SOUND_LEFT_OUT for _, entry in entries if entry.get("has_sound"))
    prepared = Prepared(
        num_clips=sum(entry["clips"] for _, entry in entries),
        num_sources=total,
        problems=problems,
        num_cuts=sum(entry.get("cuts", 0) for _, entry in entries),
        num_sharing=sum(entry["clips"] for file, entry in entries if entry["clips"] > 1 and file.captions),
        num_silent=sum(entry["clips"] > 0 and not file.captions for file, entry in entries),
        changes=changes,
        notes=notes,
    )
    if not prepared.num_clips:
        no_media = "no video or image in" if total == 0 else "no clip from"
        raise DatasetError(f"{no_media} {source}: left out {counted(problems)}; give a folder that contains some")
    return prepared


@contextmanager
def _counting_notes(file: CaptionedFile, notes: Counter[str]) -> Iterator[None]:
    """Count the notes that reading logs about a file, instead of a line for each of many files."""
    found: set[str] = set()

    def count(record: logging.LogRecord) -> bool:
        found.add(record.getMessage().replace(str(file.path), "").strip())
        return False

    logger = logging.getLogger(read_video.__module__)
    logger.addFilter(count)
    try:
        yield
    finally:
        logger.removeFilter(count)
        notes.update(found)


def _updated(file: CaptionedFile, out: Path, config: PrepareConfig, ledger: Ledger, changes: Counter[str]) -> Entry:
    """The file's ledger entry, after its clips were made equal to it."""
    before, captions = ledger.done.get(file.name), _digest(file.captions)
    if before is not None and is_unchanged(before, file.path) and _is_complete(before, file, out):
        if before["captions"] != captions:
            changes["with other captions"] += 1
            for record in _records(file, out, before["clips"]):
                write_text(record, json.dumps({**load_json(record), "captions": file.captions}) + "\n")
            ledger.add(file.name, {**before, "captions": captions})
        return ledger.done[file.name]
    ledger.add(file.name, {})  # a run that is killed now leaves no entry
    _remove_clips(file, out)
    stamp = read_stamp(file.path)
    entry = _prepare(file, out, config)
    if entry["clips"]:
        entry |= version(file.path, stamp)
    if ledger.existed and (entry["clips"] or (before or {}).get("clips")):
        changes["new" if before is None else "changed"] += 1
    ledger.add(file.name, {**entry, "captions": captions})
    return ledger.done[file.name]


def _prepare(file: CaptionedFile, out: Path, config: PrepareConfig) -> Entry:
    """Write a file's clips and return its ledger entry: numbers of clips and cuts and, on failure, the problem.

    Raises:
        MediaError: a clip can't be written.
        OSError: the disk is full.
    """
    entry: Entry = {"clips": 0, "cuts": 0}
    videos = _clips(file.path, config, entry)
    while True:
        try:
            video = next(videos, None)
            if video is None:
                return {**entry, "has_sound": bool(entry["clips"]) and probe(file.path).has_sound}
        except (MediaError, SizeError) as error:
            return {**entry, "problem": _kind(error, file.path), "message": str(error)}
        record = _record_path(file, out, entry["clips"])
        write_video(video, media_path(record, video.num_frames), crf=CRF)
        _write_record(record, video, file)
        entry["clips"] += 1


def _clips(path: Path, config: PrepareConfig, entry: Entry) -> Iterator[Video]:
    """Yield consecutive clips of a file, each within one shot; count the cuts between them in `entry`.

    Raises:
        MediaError, SizeError: the file can't be read.
    """
    if config.num_frames == 1:
        yield from (chunk for chunk, _ in _chunks(path, config, max_chunks=1))
        return
    frames, start, num_clips = None, 0, 0  # frames from CONTEXT before `start`, where the next clip begins
    for chunk, is_last in _chunks(path, config):
        frames = chunk.frames if frames is None else np.concatenate([frames, chunk.frames])
        known = len(frames) if is_last else len(frames) - LOOKAHEAD
        borders = [cut for cut in first_frames_of_shots(frames) if start < cut < known]
        while start < known:
            cut = next((border for border in borders if border > start), None)
            stop = min(start + config.num_frames, known if cut is None else cut)
            if stop < start + config.num_frames and cut is None and not is_last:
                break
            if stop - start > 4 or (is_last and num_clips == 0 and cut is None):
                yield Video(frames[start : stop - (stop - start - 1) % 4], config.fps)
                num_clips += 1
                if num_clips == config.max_clips:
                    return
            start = stop
            entry["cuts"] += start == cut
        surplus = max(0, start - CONTEXT)
        frames, start = frames[surplus:], start - surplus


def first_frames_of_shots(frames: np.ndarray) -> list[int]:
    """First frames of all shots but the first, from frames [t, h, w, 3]. Shots of a single frame are found too.

    `find_cuts` takes single odd frames for flashes. Here they end a shot if the frames before and after them differ.
    """
    found = set(find_cuts(frames, CUT_STRENGTH))
    for phase in (0, 1):
        for step in find_cuts(frames[phase::2], CUT_STRENGTH):
            after = phase + 2 * step
            if found.isdisjoint((after - 1, after)):
                found |= {after - 1, after}
    return sorted(found)


def _chunks(path: Path, config: PrepareConfig, max_chunks: int | None = None) -> Iterator[tuple[Video, bool]]:
    """Yield consecutive parts of a file, `num_frames` long and in the size that suits it, and True for the last one."""
    seconds, size, held = config.num_frames / config.fps, None, None
    number = 0
    while number != max_chunks:
        try:
            video = read_video(path, fps=config.fps, start=number * seconds, max_frames=config.num_frames)
        except PastEndError:
            break  # the previous part ended exactly at the end of the file
        except (MediaError, SizeError):
            if held is not None:
                yield held, True
            raise
        if held is not None:
            yield held, False
        is_short = video.num_frames < config.num_frames
        size = size or _nearest_size(video, config.sizes)
        held = Video(video.fit(size[1], size[0]).frames, config.fps)
        if is_short:
            break
        number += 1
    if held is not None:
        yield held, True


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


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _record_path(file: CaptionedFile, out: Path, number: int) -> Path:
    return out / "clips" / f"{_key(file.name)}_{number:04d}.json"


def _records(file: CaptionedFile, out: Path, num_clips: int) -> list[Path]:
    return [_record_path(file, out, number) for number in range(num_clips)]


def _remove_clips(file: CaptionedFile, out: Path) -> None:
    """Remove all clips of a file, records first, so that no record lacks its media."""
    for suffix in ("json", "mp4", "png"):
        for path in (out / "clips").glob(f"{_key(file.name)}_*.{suffix}"):
            path.unlink()


def _remove_strangers(out: Path, done: dict[str, Entry]) -> None:
    """Remove clips that no ledger entry has made, as removed sources and killed runs leave them."""
    made = {f"{_key(name)}_{number:04d}" for name, entry in done.items() for number in range(entry["clips"])}
    for path in sorted((out / "clips").iterdir(), key=lambda path: path.suffix != ".json"):
        match = OUR_FILES.fullmatch(path.name)
        if match and match[1] not in made:
            path.unlink()


def _digest(captions: dict[str, list[str]]) -> str:
    return hashlib.sha256(json.dumps(captions, sort_keys=True).encode()).hexdigest()[:16]


def _is_complete(entry: Entry, file: CaptionedFile, out: Path) -> bool:
    """True if all clips of an entry exist. Files without any are tried again, since the fault may be mended."""
    try:
        records = [(path, load_json(path)) for path in _records(file, out, entry["clips"])]
        media = [media_path(path, record["num_frames"]) for path, record in records]
        return bool(media) and all(path.is_file() for path in media)
    except (OSError, ValueError, TypeError, LookupError):
        return False


def _kind(error: Exception, path: Path) -> str:
    """Reason for which a file is left out, without its name."""
    kind = nameless(error, str(path))
    if "no video stream" in kind:
        return SOUND
    # FFmpeg's errors for content of no format, and of a format that `read_video` rejects, such as subtitles
    return NO_MEDIA if kind.endswith(("Invalid data found when processing input", "Invalid argument")) else kind


def _check_share(bad: int, total: int, problems: Counter[str], max_bad_share: float) -> None:
    """Raise as soon as the share of unusable files exceeds the limit."""
    if bad > max_bad_share * total:
        raise DatasetError(f"{bad} of {total} files are unusable ({counted(problems)}); allow more with --max-bad")
