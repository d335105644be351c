"""Datasets in few large files: tar shards in WebDataset's layout, with an index of their sizes and digests.

A clip is two members, `ID.mp4` (or .png) and `ID.json`, its record. `index.jsonl` has a line a shard: its name, bytes
and SHA-256, and of each clip what training has to know, where in the shard its media lie, and their SHA-256. So a
dataset is listed from one file, a clip is read without what lies before it, and damage is found before it is learned.
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
from vitascope.errors import ConfigError, DatasetError, reason
from vitascope.files import replacing, sha256, write_text

PARTIAL = "index.partial.jsonl"

Line = dict[str, Any]


def write_shards(
    dataset: str | Path,
    out: str | Path,
    clips_per_shard: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Pack a dataset's folder into shards, and return theirs. The index comes last; until then a run can be resumed.

    Raises:
        ConfigError: `out` holds the shards of other clips.
        DatasetError: no clips, or one whose files can't be read.
    """
    clips, out = list_clips(dataset), Path(out)
    if any(clip.member for clip in clips):
        raise DatasetError(f"{dataset} is made of shards already")
    if (out / SHARD_INDEX).exists():
        raise ConfigError(f"{out} holds a finished set of shards; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    parts = [clips[start : start + clips_per_shard] for start in range(0, len(clips), clips_per_shard)]
    done = _read_partial(out / PARTIAL)
    lines: list[Line] = []
    for number, part in enumerate(parts):
        path = out / f"shard_{number:06d}.tar"
        line = done.get(path.name)
        if line is None or not path.exists():
            line = _write_shard(path, part)
            with (out / PARTIAL).open("a", encoding="utf-8") as partial:
                partial.write(_text(line))
        elif [clip["id"] for clip in line["clips"]] != [clip.id for clip in part]:
            raise ConfigError(f"{out} holds the shards of other clips; choose another --out")
        lines.append(line)
        if on_progress is not None:
            on_progress(sum(len(line["clips"]) for line in lines), len(clips))
    write_text(out / SHARD_INDEX, "".join(map(_text, lines)))
    (out / PARTIAL).unlink()
    return out


def _write_shard(path: Path, clips: Sequence[Clip]) -> Line:
    """Write a shard whole; its line of the index."""
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
    assert file is not None, f"{member.name} is no file"
    place = {"name": member.name, "offset": member.offset_data, "bytes": member.size}
    return {**clip.record(), **place, "sha256": hashlib.sha256(file.read()).hexdigest()}


def _read_partial(path: Path) -> dict[str, Line]:
    """The shards that an interrupted run finished, by name; a line that it left unfinished is forgotten."""
    lines: list[Line] = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):
            lines.append(json.loads(text))
    write_text(path, "".join(map(_text, lines)))
    return {line["shard"]: line for line in lines}


def _text(line: Line) -> str:
    return json.dumps(line) + "\n"  # ASCII: a caption may hold what splitlines takes for the end of one
