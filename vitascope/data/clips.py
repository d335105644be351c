"""Captioned clips of a dataset, stored as files or as shards (`shards.py`)."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vitascope.errors import DatasetError, MediaError, SizeError, reason
from vitascope.files import load_json, parse_json
from vitascope.model.text import shot_prompt
from vitascope.video import Video, read_video
from vitascope.worlds.language import ShotCaptions

SHARD_INDEX = "index.jsonl"


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
    means all.
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

    def __post_init__(self) -> None:
        """Reject storyboards whose number of shots differs from the clip's."""
        for board in (board for boards in self.storyboards.values() for board in boards):
            if len(board.shots) != len(self.cuts) + 1:
                raise ValueError(
                    f"a storyboard has {len(board.shots)} shots; {len(self.cuts)} cuts need {len(self.cuts) + 1}"
                )

    def read(self, *, size: tuple[int, int] | None = None, max_frames: int | None = None) -> Video:
        """Frames of the clip; `size` (height, width) and `max_frames` are those of `read_video`.

        Raises:
            MediaError: the media can't be read, or the shard's bytes have changed.
        """
        if self.part is not None:
            video = replace(self, part=None).read(size=size, max_frames=self.part[1])
            return Video(video.frames[slice(*self.part)][:max_frames], video.fps)
        if self.member is None:
            return read_video(self.path, size=size, max_frames=max_frames)
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"clip{Path(self.member.name).suffix}"  # never use the index's name as a path
            path.write_bytes(_member_bytes(self.path, self.member))
            try:
                return read_video(path, size=size, max_frames=max_frames)
            except MediaError as error:
                raise MediaError(str(error).replace(str(path), f"{self.member.name} in {self.path}")) from None

    def shots_alone(self) -> list[Clip]:
        """Each shot as a clip of its own, captioned by the storyboards.

        Empty if the clip has a single shot, no attributes or no storyboards.

        Raises:
            DatasetError: the attributes list another number of shots.
        """
        if self.attributes is None or not self.cuts or not self.storyboards:
            return []
        num_shots = len(self.attributes["shots"])
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
            )
            for number, (start, stop) in enumerate(pairwise(borders))
        ]

    def record(self) -> dict[str, Any]:
        """Fields of the clip that training needs, ready for JSON."""
        shape = {"num_frames": self.num_frames, "height": self.height, "width": self.width, "fps": self.fps}
        known = {} if self.attributes is None else {"attributes": self.attributes}
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
            self.problems[clip.path, clip.member] = " ".join(str(error).replace(str(clip.path), "").split())
        if len(self.problems) > self.max_bad_share * self.num_clips or len(self.problems) == self.num_clips:
            raise DatasetError(f"{self}; allow more with max_bad_share")
        return None

    def read_all(self, clips: Iterable[Clip]) -> Iterator[Video]:
        """Yield the videos of the readable clips."""
        return (video for video in map(self.read, clips) if video is not None)

    def __str__(self) -> str:
        reasons = Counter(self.problems.values()).most_common(3)
        named = ", ".join(f"{count} x {reason}" for reason, count in reasons)
        return f"{len(self.problems)} of {self.num_clips} clips are unreadable: {named}"


def shot_prompts(captions: ShotCaptions) -> list[str]:
    """The prompt of each shot: the text common to all shots, followed by the shot's own."""
    return [shot_prompt(captions.text, shot) for shot in captions.shots]


def list_clips(folder: str | Path, on_progress: Callable[[int, int], None] | None = None) -> list[Clip]:
    """All complete clips of a dataset folder, sorted by id.

    Raises:
        DatasetError: the folder is missing or empty, or a record or index is unreadable.
    """
    index = Path(folder) / SHARD_INDEX
    if index.exists():
        clips = list(_clips_of_shards(index))
        if not clips:
            raise DatasetError(f"no clips in {index}; pack the dataset again")
        return clips
    records = sorted((Path(folder) / "clips").glob("[!.]*.json"))  # hidden files are still being written
    if not records:
        raise DatasetError(f"no clips in {folder}: make some with `vitascope render --clips 1000 --out {folder}`")
    clips = []
    for path in records:
        clips.append(_read_record(path))
        if on_progress is not None:
            on_progress(len(clips), len(records))
    return clips


def split_validation(clips: Sequence[Clip], num_validation: int) -> tuple[list[Clip], list[Clip]]:
    """(training, validation) clips; the last ones are for validation.

    Raises:
        DatasetError: no clip would be left for training.
    """
    if num_validation >= len(clips):
        raise DatasetError(f"{len(clips)} clips are too few for {num_validation} validation clips; render more")
    cut = len(clips) - num_validation
    return list(clips[:cut]), list(clips[cut:])


def pick(clips: Sequence[Clip], num: int, seed: int) -> list[Clip]:
    """`num` random clips, or all if there are fewer, determined by `seed`."""
    return random.Random(seed).sample(clips, min(num, len(clips)))


def _clips_of_shards(index: Path) -> Iterator[Clip]:
    try:
        for text in index.read_text(encoding="utf-8").splitlines():
            line = parse_json(text)
            for entry in line["clips"]:
                member = Member(entry["name"], entry["offset"], entry["bytes"], entry["sha256"])
                yield _clip(entry, index.parent / Path(line["shard"]).name, member)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{index} is not an index of shards: {type(error).__name__} {error}") from None


def _member_bytes(shard: Path, member: Member) -> bytes:
    try:
        with shard.open("rb") as file:
            file.seek(member.offset)
            content = file.read(member.num_bytes)
    except OSError as error:
        raise MediaError(f"{shard} can't be read: {reason(error)}") from None
    if hashlib.sha256(content).hexdigest() != member.sha256:
        raise MediaError(
            f"{member.name} in {shard} is damaged: its SHA-256 differs from the index; pack the dataset again"
        )
    return content


def _clip(record: dict[str, Any], path: Path, member: Member | None = None) -> Clip:
    shape = {key: record[key] for key in ("num_frames", "height", "width", "fps")}
    texts = {"captions": record["captions"], "attributes": record.get("attributes")}
    texts["cuts"] = tuple(int(frame) for frame in record.get("cuts", ()))
    texts["storyboards"] = {
        language: [ShotCaptions(str(each["text"]), [str(text) for text in each["shots"]]) for each in boards]
        for language, boards in record.get("storyboards", {}).items()
    }
    return Clip(id=record["id"], path=path, member=member, **texts, **shape)


def _read_record(path: Path) -> Clip:
    try:
        record = load_json(path)
        return _clip(record, media_path(path, record["num_frames"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a clip record: {type(error).__name__} {error}") from None


def media_path(record: Path, num_frames: int) -> Path:
    """Media file of the record `ID.json`: a PNG for one frame, else an MP4."""
    return record.with_suffix(".png" if num_frames == 1 else ".mp4")
