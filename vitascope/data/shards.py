"""Shards: datasets in a few tar files in WebDataset's layout, with an index.

A clip has two members: `ID.mp4` (or .png) and its record `ID.json`. `index.jsonl` has one line per shard: its name,
bytes and SHA-256, and for each clip its record, byte range and SHA-256. One file thus lists the dataset, clips are
read by random access, and damage is detected before training on it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vitascope.data.clips import SHARD_INDEX, Clip, list_clips
from vitascope.data.records import ShardRecord
from vitascope.errors import ConfigError, DatasetError, reason
from vitascope.files import append_text, lock_folder, parse_json, replacing, sha256, write_text

PARTIAL = "index.partial.jsonl"

Line = dict[str, Any]


def write_shards(
    dataset: str | Path,
    out: str | Path,
    clips_per_shard: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Pack a dataset folder into shards, and return their folder. Interrupted runs resume; the index is written last.

    Raises:
        ConfigError: `out` holds the shards of other clips.
        DatasetError: the dataset is empty, or a file is unreadable.
        FolderInUseError: another command writes into the folder.
    """
    clips, out = list_clips(dataset), Path(out)
    if any(clip.member for clip in clips):
        raise DatasetError(f"{dataset} already consists of shards; give a folder made by `render` or `prepare`")
    with lock_folder(out):
        return _write_shards(clips, out, clips_per_shard, on_progress)


def _write_shards(
    clips: Sequence[Clip], out: Path, clips_per_shard: int, on_progress: Callable[[int, int], None] | None
) -> Path:
    if (out / SHARD_INDEX).exists():
        raise ConfigError(f"{out} holds a finished set of shards; choose another --out")
    parts = [clips[start : start + clips_per_shard] for start in range(0, len(clips), clips_per_shard)]
    done = _read_partial(out / PARTIAL)
    lines: list[Line] = []
    for number, part in enumerate(parts):
        path = out / f"shard_{number:06d}.tar"
        line = done.get(path.name)
        if line is not None and [clip["id"] for clip in line["clips"]] != [clip.id for clip in part]:
            raise ConfigError(f"{out} holds the shards of other clips; choose another --out")
        if line is None or not path.exists() or not _is_current(line, part):
            line = _write_shard(path, part)
            append_text(out / PARTIAL, _text(line))
        lines.append(line)
        if on_progress is not None:
            on_progress(sum(len(line["clips"]) for line in lines), len(clips))
    write_text(out / SHARD_INDEX, "".join(map(_text, lines)))
    (out / PARTIAL).unlink()
    return out


def _write_shard(path: Path, clips: Sequence[Clip]) -> Line:
    """Write one shard and return its line of the index."""
    with replacing(path) as temporary, tarfile.open(temporary, "w") as shard:
        for clip in clips:
            try:
                _add(shard, clip.path.name, clip.path.read_bytes())
                _add(shard, f"{clip.id}.json", clip.path.with_suffix(".json").read_bytes())
            except OSError as error:
                raise DatasetError(f"clip {clip.id} can't be read: {reason(error)}") from None
    with tarfile.open(path) as shard:
        entries = [_entry(shard, clip) for clip in clips]
    return {"shard": path.name, "bytes": path.stat().st_size, "sha256": sha256(path), "clips": entries}


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


def _entry(shard: tarfile.TarFile, clip: Clip) -> dict[str, Any]:
    member = shard.getmember(clip.path.name)
    file = shard.extractfile(member)
    assert file is not None, f"{member.name} is not a file"
    location = {"name": member.name, "offset": member.offset_data, "bytes": member.size}
    return {**clip.record(), **location, "sha256": hashlib.sha256(file.read()).hexdigest()}


def _is_current(line: Line, clips: Sequence[Clip]) -> bool:
    """True if a finished shard holds the records and media that the clips have now."""
    try:
        return all(
            all(entry.get(key) == value for key, value in clip.record().items())
            and sha256(clip.path) == entry["sha256"]
            for clip, entry in zip(clips, line["clips"], strict=True)
        )
    except OSError:
        return False  # writing the shard names the file


def _read_partial(path: Path) -> dict[str, Line]:
    """Finished shards of an interrupted run, by name; truncated and foreign lines are ignored."""
    lines: list[Line] = []
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else ():
        with suppress(ValueError):
            line = parse_json(text)
            ShardRecord.model_validate(line)
            lines.append(line)
    write_text(path, "".join(map(_text, lines)))
    return {line["shard"]: line for line in lines}


def _text(line: Line) -> str:
    return json.dumps(line) + "\n"  # ASCII: captions may contain characters that splitlines treats as line ends
