"""Captioned clips of a dataset, stored as files or as shards (`shards.py`)."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vitascope.data.layout import media_path
from vitascope.data.records import ClipRecord, ShardRecord, one_line, usable
from vitascope.errors import DatasetError, MediaError, SizeError, reason
from vitascope.files import MAX_JSON_BYTES, load_json, parse_json
from vitascope.model.text import shot_prompt
from vitascope.video import Video, read_video
from vitascope.worlds.language import ShotCaptions

SHARD_INDEX = "index.jsonl"
NUM_REASONS = 5  # listed by `counted`; rarer ones are summed


@dataclass(frozen=True)
class Member:
    """A file inside a shard: its name, its byte range and its SHA-256."""

    name: str
    offset: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Clip:
    """A clip on disk: its media file or shard, its shape, and its captions by language.

    `attributes` describe the content of simulated clips. `cuts` are the first frames of all shots but the first.
    `storyboards` hold captions shot by shot, by language. `part` is a range [start, stop) of the file's frames; None
    means all. `source` names the footage or scene; clips of equal source belong together.
    """

    id: str
    path: Path
    num_frames: int
    height: int
    width: int
    fps: float
    captions: dict[str, list[str]]
    attributes: dict[str, Any] | None = None
    member: Member | None = None
    cuts: tuple[int, ...] = ()
    storyboards: dict[str, list[ShotCaptions]] = field(default_factory=dict)
    part: tuple[int, int] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        """Reject storyboards whose number of shots differs from the clip's."""
        for board in (board for boards in self.storyboards.values() for board in boards):
            if len(board.shots) != len(self.cuts) + 1:
                raise ValueError(
                    f"a storyboard has {len(board.shots)} shots; {len(self.cuts)} cuts need {len(self.cuts) + 1}"
                )

    @property
    def origin(self) -> str:
        """Name of the footage or scene that the clip is part of; its own id if unknown."""
        return self.source or self.id

    @property
    def label(self) -> str:
        """Media file of the clip, for messages."""
        return str(self.path) if self.member is None else f"{self.member.name} in {self.path}"

    def fingerprint(self) -> str:
        """Text that changes with the clip's pixels: its id and its media's digest, or else size and time of change."""
        if self.member is not None:
            version = self.member.sha256
        else:
            try:
                status = self.path.stat()
                version = f"{status.st_size}-{status.st_mtime_ns}"
            except OSError:
                version = "missing"
        return f"{self.id} {version}" + ("" if self.part is None else f" {self.part[0]}-{self.part[1]}")

    def read(self, *, size: tuple[int, int] | None = None, max_frames: int | None = None) -> Video:
        """Frames of the clip; `size` (height, width) and `max_frames` are those of `read_video`.

        Raises:
            MediaError: the media can't be read or is smaller than its record, or the shard's bytes have changed.
        """
        first, stop = self.part or (0, self.num_frames)  # media may be longer than recorded
        expected = stop - first if max_frames is None else min(max_frames, stop - first)
        video = self._read_media(size, first + expected)
        short = video.num_frames < first + expected
        if short or (size is None and (video.height < self.height or video.width < self.width)):
            raise MediaError(f"{self.label} is smaller or shorter than its record; make the dataset again")
        return Video(video.frames[first:], video.fps) if first else video

    def _read_media(self, size: tuple[int, int] | None, max_frames: int) -> Video:
        if self.member is None:
            return read_video(self.path, size=size, max_frames=max_frames)
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"clip{Path(self.member.name).suffix}"  # never use the index's name as a path
            path.write_bytes(_member_bytes(self))
            try:
                return read_video(path, size=size, max_frames=max_frames)
            except (MediaError, SizeError) as error:
                raise type(error)(str(error).replace(str(path), self.label)) from None

    def shots_alone(self) -> list[Clip]:
        """Each shot as a clip of its own, captioned by the storyboards.

        Empty if the clip has a single shot, no attributes or no storyboards.

        Raises:
            DatasetError: the attributes list another number of shots.
        """
        if self.attributes is None or not self.cuts or not self.storyboards:
            return []
        shots = self.attributes.get("shots")
        num_shots = len(shots) if isinstance(shots, list) else 0
        if num_shots != len(self.cuts) + 1:
            raise DatasetError(f"clip {self.id}: {num_shots} shots and {len(self.cuts)} cuts; render the dataset again")
        borders = [0, *self.cuts, self.num_frames]
        return [
            replace(
                self,
                id=f"{self.id}-{number + 1}",
                num_frames=stop - start,
                captions={
                    language: [shot_prompts(told)[number] for told in ways]
                    for language, ways in self.storyboards.items()
                },
                attributes={**self.attributes, "shots": [self.attributes["shots"][number]]},
                cuts=(),
                storyboards={},
                part=(start, stop),
                source=self.origin,
            )
            for number, (start, stop) in enumerate(pairwise(borders))
        ]

    def record(self) -> dict[str, Any]:
        """Fields of the clip that training needs, ready for JSON."""
        shape = {"num_frames": self.num_frames, "height": self.height, "width": self.width, "fps": self.fps}
        known: dict[str, Any] = {} if self.attributes is None else {"attributes": self.attributes}
        if self.source:
            known["source"] = self.source
        if self.storyboards:
            boards = {language: [each._asdict() for each in some] for language, some in self.storyboards.items()}
            known |= {"cuts": list(self.cuts), "storyboards": boards}
        return {"id": self.id, **shape, "captions": self.captions, **known}

    def some_captions(self, per_language: int) -> list[str]:
        """The first captions of each language, in a fixed order."""
        return [text for language in sorted(self.captions) for text in self.captions[language][:per_language]]

    def some_storyboards(self, per_language: int) -> list[ShotCaptions]:
        """The first storyboards of each language, in a fixed order."""
        return [told for language in sorted(self.storyboards) for told in self.storyboards[language][:per_language]]


class Reader:
    """Reads clips for training and skips unreadable ones; too many of them stop the run."""

    def __init__(self, num_clips: int, max_bad_share: float):
        self.num_clips, self.max_bad_share = num_clips, max_bad_share
        self.problems: dict[tuple[Path, Member | None], str] = {}  # by file: the shots of a clip share one

    def read(self, clip: Clip) -> Video | None:
        """Frames of the clip, or None if it is unreadable.

        Raises:
            DatasetError: more than `max_bad_share` of the clips, or all of them, are unreadable.
        """
        try:
            return clip.read()
        except (MediaError, SizeError) as error:
            self.problems[clip.path, clip.member] = nameless(error, clip.label)
        if len(self.problems) > self.max_bad_share * self.num_clips or len(self.problems) == self.num_clips:
            raise DatasetError(f"{self}; allow more with max_bad_share")
        return None

    def read_all(self, clips: Iterable[Clip]) -> Iterator[Video]:
        """Yield the videos of the readable clips."""
        return (video for video in map(self.read, clips) if video is not None)

    def __str__(self) -> str:
        return f"{len(self.problems)} of {self.num_clips} clips are unreadable: {counted(self.problems.values())}"


def nameless(error: Exception, name: str) -> str:
    """Reason of an error without the file's name and without the cure, so that equal problems are counted together."""
    return " ".join(str(error).replace(name, "").partition(";")[0].split()).lstrip(": ")[:100]


def counted(reasons: Iterable[str] | Mapping[str, int]) -> str:
    """Reasons with their counts, frequent ones first: "3 x no such file, 1 x damaged member"."""
    counts = sorted(Counter(reasons).items(), key=lambda item: (-item[1], item[0]))
    others = sum(count for _, count in counts[NUM_REASONS:])
    listed = [f"{count} x {reason}" for reason, count in counts[:NUM_REASONS]]
    return ", ".join([*listed, f"{others} x other reasons"] if others else listed)


def shot_prompts(captions: ShotCaptions) -> list[str]:
    """The prompt of each shot: the text common to all shots, followed by the shot's own."""
    return [shot_prompt(captions.text, shot) for shot in captions.shots]


def list_clips(
    folder: str | Path,
    on_progress: Callable[[int, int], None] | None = None,
    problems: Counter[str] | None = None,
) -> list[Clip]:
    """All complete clips of a dataset folder, sorted by id.

    Captions that can't be prompts are left out, and counted by reason in `problems`.

    Raises:
        DatasetError: the folder is missing or empty, or a record or index is unreadable.
    """
    index = Path(folder) / SHARD_INDEX
    if index.exists():
        clips = list(_clips_of_shards(index, problems))
        if not clips:
            raise DatasetError(f"no clips in {index}; pack the dataset again")
    else:
        records = sorted((Path(folder) / "clips").glob("[!.]*.json"))  # hidden files are still being written
        if not records:
            raise DatasetError(f"no clips in {folder}: make some with `vitascope render --clips 1000 --out {folder}`")
        clips = []
        for path in records:
            clips.append(_read_record(path, problems))
            if on_progress is not None:
                on_progress(len(clips), len(records))
    if len({clip.id for clip in clips}) < len(clips):
        twice = next(name for name, count in Counter(clip.id for clip in clips).items() if count > 1)
        raise DatasetError(f"{folder} has two clips of the id {twice}; make the dataset again")
    return clips


def split_validation(clips: Sequence[Clip], num_validation: int) -> tuple[list[Clip], list[Clip]]:
    """(training, validation) clips without a common source. Validation takes whole sources from the end.

    Sources that would exceed `num_validation` are passed over. If the others are too few, the smallest of them is
    taken too, and its surplus clips are in neither part.

    Raises:
        DatasetError: no clip would be left for training.
    """
    if num_validation >= len(clips):
        raise DatasetError(f"{len(clips)} clips are too few for {num_validation} validation clips; render more")
    sizes = Counter(clip.origin for clip in clips)
    chosen, missing = set[str](), num_validation
    for origin in dict.fromkeys(clip.origin for clip in reversed(clips)):
        if sizes[origin] <= missing:
            chosen.add(origin)
            missing -= sizes[origin]
    if missing:
        rest = [origin for origin in dict.fromkeys(clip.origin for clip in clips) if origin not in chosen]
        chosen.add(min(reversed(rest), key=lambda origin: sizes[origin]))
    training = [clip for clip in clips if clip.origin not in chosen]
    if not training:
        raise DatasetError(
            f"{len(clips)} clips of {len(sizes)} sources leave none for training besides {num_validation} validation "
            "clips, since sources aren't divided; add footage or lower num_validation"
        )
    return training, [clip for clip in clips if clip.origin in chosen][:num_validation]


def pick(clips: Sequence[Clip], num: int, seed: int) -> list[Clip]:
    """`num` random clips, or all if there are fewer, determined by `seed`."""
    return random.Random(seed).sample(clips, min(num, len(clips)))


def _clips_of_shards(index: Path, problems: Counter[str] | None) -> Iterator[Clip]:
    number = 0
    try:
        if not index.is_file():
            raise OSError("not a regular file")
        with index.open("rb") as file:
            while text := file.readline(MAX_JSON_BYTES + 1):
                number += 1
                line = ShardRecord.model_validate(parse_json(text))
                for entry in line.clips:
                    member = Member(entry.name, entry.offset, entry.bytes, entry.sha256)
                    yield _clip(entry, index.parent / line.shard, member, problems)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{index} is not an index of shards: line {number}: {one_line(error)}") from None


def _member_bytes(clip: Clip) -> bytes:
    shard, member = clip.path, clip.member
    assert member is not None
    try:
        if not shard.is_file():  # a pipe might never end
            raise MediaError(
                f"{clip.label}: {'not a regular file' if shard.exists() else 'missing shard'}; copy it again"
            )
        if member.offset + member.num_bytes > shard.stat().st_size:
            raise MediaError(f"{clip.label}: damaged member; the shard is shorter than the index says, copy it again")
        with shard.open("rb") as file:
            file.seek(member.offset)
            content = file.read(member.num_bytes)
    except OSError as error:
        raise MediaError(f"{clip.label}: unreadable shard, {reason(error)}; check its permissions") from None
    if hashlib.sha256(content).hexdigest() != member.sha256:
        raise MediaError(f"{clip.label}: damaged member; its SHA-256 differs from the index, pack the dataset again")
    return content


def _read_record(path: Path, problems: Counter[str] | None) -> Clip:
    try:
        record = ClipRecord.model_validate(load_json(path))
        return _clip(record, media_path(path, record.num_frames), None, problems)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is not a clip record: {one_line(error)}") from None


def _clip(record: ClipRecord, path: Path, member: Member | None, problems: Counter[str] | None) -> Clip:
    problems = Counter() if problems is None else problems
    boards = {
        language: [ShotCaptions(board.text, list(board.shots)) for board in some]
        for language, some in record.storyboards.items()
    }
    return Clip(
        id=record.id,
        path=path,
        num_frames=record.num_frames,
        height=record.height,
        width=record.width,
        fps=record.fps,
        captions=usable(record.captions, lambda text: [text], problems),
        attributes=record.attributes,
        member=member,
        cuts=tuple(record.cuts),
        storyboards=usable(boards, shot_prompts, problems),
        source=record.source or ("" if record.seed is None else f"scene {record.seed}"),
    )
