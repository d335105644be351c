"""Clips with captions: a folder of files, as `vitascope render` and `prepare` write it, or of shards (`shards.py`)."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vitascope.data.layout import media_path
from vitascope.errors import DatasetError, MediaError, SizeError, reason
from vitascope.model.text import shot_prompt
from vitascope.video import Video, read_video
from vitascope.worlds.language import ShotCaptions

SHARD_INDEX = "index.jsonl"


@dataclass(frozen=True)
class Member:
    """A file inside a shard: its name, where its bytes are, and their digest."""

    name: str
    offset: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Clip:
    """One clip on disk: its media file (or the shard that holds it), its shape and its captions by language.

    `attributes` say what it shows, where whoever made it knew. `cuts` are the frames with which its shots but the first
    begin, and `storyboards` tell it shot by shot, by language. `part` says which frames of the file are the clip: from
    the first up to the second, by default all.
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
        """Refuse storyboards that don't tell of every shot."""
        for told in (told for ways in self.storyboards.values() for told in ways):
            if len(told.shots) != len(self.cuts) + 1:
                raise ValueError(f"a storyboard of {len(told.shots)} shots for {len(self.cuts)} cuts")

    def read(self, *, size: tuple[int, int] | None = None, max_frames: int | None = None) -> Video:
        """The clip's frames; `size` (rows, columns) and `max_frames` as in `read_video`.

        Raises:
            MediaError: media that can't be read, or whose bytes aren't those that were packed.
        """
        if self.part is not None:
            video = replace(self, part=None).read(size=size, max_frames=self.part[1])
            return Video(video.frames[slice(*self.part)][:max_frames], video.fps)
        if self.member is None:
            return read_video(self.path, size=size, max_frames=max_frames)
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"clip{Path(self.member.name).suffix}"  # the index's name may lead anywhere
            path.write_bytes(_member_bytes(self.path, self.member))
            try:
                return read_video(path, size=size, max_frames=max_frames)
            except MediaError as error:
                raise MediaError(str(error).replace(str(path), f"{self.member.name} in {self.path}")) from None

    def shots_alone(self) -> list[Clip]:
        """Each of several shots as a clip, told as storyboards tell it; none without attributes and storyboards.

        Raises:
            DatasetError: attributes of other shots than there are.
        """
        if self.attributes is None or not self.cuts or not self.storyboards:
            return []
        num_told = len(self.attributes["shots"])
        if num_told != len(self.cuts) + 1:
            raise DatasetError(f"clip {self.id}: {num_told} shots and {len(self.cuts)} cuts; render the dataset anew")
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
        """What training has to know of the clip."""
        shape = {"num_frames": self.num_frames, "height": self.height, "width": self.width, "fps": self.fps}
        known = {} if self.attributes is None else {"attributes": self.attributes}
        if self.storyboards:
            told = {language: [each._asdict() for each in ways] for language, ways in self.storyboards.items()}
            known |= {"cuts": list(self.cuts), "storyboards": told}
        return {"id": self.id, **shape, "captions": self.captions, **known}

    def some_captions(self, per_language: int) -> list[str]:
        """The first captions of each language, in a fixed order; clips differ in which phrasings come first."""
        return [text for language in sorted(self.captions) for text in self.captions[language][:per_language]]

    def some_storyboards(self, per_language: int) -> list[ShotCaptions]:
        """The first storyboards of each language, in a fixed order."""
        return [told for language in sorted(self.storyboards) for told in self.storyboards[language][:per_language]]


class Reader:
    """Reads clips to train on. One that can't be read is left out and remembered; too many of them stop the run."""

    def __init__(self, num_clips: int, max_bad_share: float):
        self.num_clips, self.max_bad_share = num_clips, max_bad_share
        self.problems: dict[tuple[Path, Member | None], str] = {}  # of files: shots alone are of the same one

    def read(self, clip: Clip) -> Video | None:
        """The clip's frames, or None if they can't be read.

        Raises:
            DatasetError: more than the share of the clips that may be bad, or all of them.
        """
        try:
            return clip.read()
        except (MediaError, SizeError) as error:
            self.problems[clip.path, clip.member] = " ".join(str(error).replace(str(clip.path), "").split())
        if len(self.problems) > self.max_bad_share * self.num_clips or len(self.problems) == self.num_clips:
            raise DatasetError(f"{self}; allow more with max_bad_share")
        return None

    def read_all(self, clips: Iterable[Clip]) -> Iterator[Video]:
        """The videos of those that can be read, one at a time."""
        return (video for video in map(self.read, clips) if video is not None)

    def __str__(self) -> str:
        reasons = Counter(self.problems.values()).most_common(3)
        named = ", ".join(f"{count} x {reason}" for reason, count in reasons)
        return f"{len(self.problems)} of {self.num_clips} clips can't be read: {named}"


def shot_prompts(captions: ShotCaptions) -> list[str]:
    """The prompt of each shot: the text that holds for all shots, followed by the shot's own."""
    return [shot_prompt(captions.text, shot) for shot in captions.shots]


def list_clips(folder: str | Path) -> list[Clip]:
    """Every complete clip of a dataset's folder, by id.

    Raises:
        DatasetError: no such folder, or no clips in it, or a record or index that can't be read.
    """
    index = Path(folder) / SHARD_INDEX
    if index.exists():
        clips = list(_clips_of_shards(index))
        if not clips:
            raise DatasetError(f"no clips in {index}")
        return clips
    records = sorted((Path(folder) / "clips").glob("[!.]*.json"))  # hidden ones are being written
    if not records:
        raise DatasetError(f"no clips in {folder}: make some with `vitascope render --clips 1000 --out {folder}`")
    return [_read_record(path) for path in records]


def split_validation(clips: Sequence[Clip], num_validation: int) -> tuple[list[Clip], list[Clip]]:
    """(training, validation): the last clips are kept for validation.

    Raises:
        DatasetError: no clips would be left for training.
    """
    if num_validation >= len(clips):
        raise DatasetError(f"{len(clips)} clips are too few for {num_validation} validation clips; render more")
    cut = len(clips) - num_validation
    return list(clips[:cut]), list(clips[cut:])


def pick(clips: Sequence[Clip], num: int, seed: int) -> list[Clip]:
    """`num` of the clips, or all if there are fewer, drawn by a seed."""
    return random.Random(seed).sample(clips, min(num, len(clips)))


def _clips_of_shards(index: Path) -> Iterator[Clip]:
    try:
        for text in index.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
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
        raise MediaError(f"{member.name} in {shard} is damaged: its SHA-256 is not the one in the index")
    return content


def _clip(record: dict[str, Any], path: Path, member: Member | None = None) -> Clip:
    shape = {key: record[key] for key in ("num_frames", "height", "width", "fps")}
    told = {"captions": record["captions"], "attributes": record.get("attributes")}
    told["cuts"] = tuple(int(frame) for frame in record.get("cuts", ()))
    told["storyboards"] = {
        language: [ShotCaptions(str(each["text"]), [str(text) for text in each["shots"]]) for each in ways]
        for language, ways in record.get("storyboards", {}).items()
    }
    return Clip(id=record["id"], path=path, member=member, **told, **shape)


def _read_record(path: Path) -> Clip:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return _clip(record, media_path(path, record["num_frames"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a clip record: {type(error).__name__} {error}") from None
