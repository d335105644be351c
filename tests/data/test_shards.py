"""Shards: the same clips as in the folder they were packed from, readable by other tools, and damage doesn't pass."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitascope.cli import main
from vitascope.data import shards
from vitascope.data.clips import Clip, Member, Reader, counted, list_clips
from vitascope.data.shards import write_shards
from vitascope.errors import ConfigError, DatasetError, MediaError
from vitascope.video import Video, write_video


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Five clips of grey, the third of them an image."""
    folder = tmp_path / "folder"
    (folder / "clips").mkdir(parents=True)
    for number in range(5):
        num_frames = 1 if number == 2 else 5
        media = folder / "clips" / f"{number:06d}{'.png' if num_frames == 1 else '.mp4'}"
        write_video(Video(np.full((num_frames, 16, 24, 3), 40 * number, np.uint8), 8.0), media)
        record = {
            "id": media.stem,
            "num_frames": num_frames,
            "height": 16,
            "width": 24,
            "fps": 8.0,
            "captions": {"en": [f"grey\u2028{number}"], "zh": ["灰色"]},
            "truth": number,
        }
        media.with_suffix(".json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    return folder


def same(a: Clip, b: Clip) -> bool:
    return a.record() == b.record() and np.array_equal(a.read().frames, b.read().frames)


def test_clips_come_out_as_they_went_in(dataset, tmp_path):
    out = write_shards(dataset, tmp_path / "shards", clips_per_shard=2)
    assert sorted(path.name for path in out.iterdir()) == ["index.jsonl", *(f"shard_{n:06d}.tar" for n in range(3))]
    pairs = list(zip(list_clips(out), list_clips(dataset), strict=True))
    assert all(same(packed, loose) for packed, loose in pairs)


def test_other_tools_find_members_by_their_stems_and_the_whole_record(dataset, tmp_path):
    out = write_shards(dataset, tmp_path / "shards", clips_per_shard=3)
    with tarfile.open(out / "shard_000000.tar") as shard:
        names = shard.getnames()
        record = json.load(shard.extractfile("000001.json"))
    assert names == ["000000.mp4", "000000.json", "000001.mp4", "000001.json", "000002.png", "000002.json"]
    assert record["truth"] == 1
    for line in map(json.loads, (out / "index.jsonl").read_text(encoding="utf-8").splitlines()):
        content = (out / line["shard"]).read_bytes()
        assert (line["bytes"], line["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_damaged_member_is_refused_and_its_neighbours_are_not(dataset, tmp_path):
    out = write_shards(dataset, tmp_path / "shards")
    clips = list_clips(out)
    assert clips[1].member is not None
    content = bytearray((out / "shard_000000.tar").read_bytes())
    content[clips[1].member.offset + 20] ^= 1
    (out / "shard_000000.tar").write_bytes(content)
    with pytest.raises(MediaError, match=r"000001\.mp4 in .*: damaged member"):
        clips[1].read()
    reader = Reader(len(clips), max_bad_share=0.2)
    assert [reader.read(clip) is None for clip in clips] == [False, True, False, False, False]
    assert str(reader) == "1 of 5 clips are unreadable: 1 x damaged member"
    with pytest.raises(DatasetError, match="max_bad_share"):
        Reader(len(clips), max_bad_share=0.1).read(clips[1])


def test_a_missing_shard_is_damage_too(dataset, tmp_path):
    out = write_shards(dataset, tmp_path / "shards", clips_per_shard=2)
    (out / "shard_000001.tar").unlink()
    reader = Reader(5, max_bad_share=0.5)
    assert len(list(reader.read_all(list_clips(out)))) == 3
    assert sorted(Path(member.name).stem for _, member in reader.problems) == ["000002", "000003"]


def test_all_clips_bad_stop_a_run_whatever_the_share(dataset, tmp_path):
    out = write_shards(dataset, tmp_path / "shards")
    (out / "shard_000000.tar").unlink()
    with pytest.raises(DatasetError, match="5 of 5"):
        list(Reader(5, max_bad_share=1.0).read_all(list_clips(out)))


def test_packing_goes_on_where_it_was_interrupted(dataset, tmp_path, monkeypatch):
    original, written = shards._write_shard, []

    def interrupted(path, clips):
        written.append(path.name)
        if len(written) == 2:
            raise KeyboardInterrupt
        return original(path, clips)

    monkeypatch.setattr(shards, "_write_shard", interrupted)
    out = tmp_path / "shards"
    with pytest.raises(KeyboardInterrupt):
        write_shards(dataset, out, clips_per_shard=2)
    with pytest.raises(DatasetError, match="no clips"):
        list_clips(out)  # half a set is none
    with (out / "index.partial.jsonl").open("a") as partial:
        partial.write('{"shard": "shard_0000')
    write_shards(dataset, out, clips_per_shard=2)
    assert written == [f"shard_{n:06d}.tar" for n in (0, 1, 1, 2)]
    assert len(list_clips(out)) == 5


@pytest.mark.parametrize("change", ["captions", "pixels", "nothing"])
def test_resumed_packing_follows_changed_clips(dataset, tmp_path, monkeypatch, change):
    """Before, shards were kept by the ids of their clips alone."""
    out, original, written = tmp_path / "shards", shards._write_shard, []

    def interrupted(path, clips):
        if path.name == "shard_000001.tar" and not written.count(path.name):
            written.append(path.name)
            raise KeyboardInterrupt
        written.append(path.name)
        return original(path, clips)

    monkeypatch.setattr(shards, "_write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shards(dataset, out, clips_per_shard=3)
    with (out / "index.partial.jsonl").open("a") as partial:
        partial.write('[]\n{"shard": 3}\n{"shard": "shard_000000.tar", "clips": [1]}\n')
    if change == "captions":
        record = dataset / "clips" / "000000.json"
        record.write_text(record.read_text("utf-8").replace("灰色", "黑色"), encoding="utf-8")
    if change == "pixels":
        write_video(Video(np.full((5, 16, 24, 3), 222, np.uint8), 8.0), dataset / "clips" / "000000.mp4")
    write_shards(dataset, out, clips_per_shard=3)
    assert all(same(packed, loose) for packed, loose in zip(list_clips(out), list_clips(dataset), strict=True))
    assert written.count("shard_000000.tar") == (1 if change == "nothing" else 2)


def test_a_finished_set_and_shards_themselves_are_not_packed_again(dataset, tmp_path, capsys):
    out = write_shards(dataset, tmp_path / "shards")
    with pytest.raises(ConfigError, match="finished set"):
        write_shards(dataset, out)
    assert main(["prepare", "shards", str(out), "-o", str(tmp_path / "again")]) == 2
    assert "already consists of shards" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]\n", "{}\n", "nonsense", '{"shard": "a.tar", "clips": [{}]}\n'])
def test_an_index_that_cannot_be_read_is_named(dataset, tmp_path, text):
    out = write_shards(dataset, tmp_path / "shards")
    (out / "index.jsonl").write_text(text)
    with pytest.raises(DatasetError, match=r"index\.jsonl|no clips"):
        list_clips(out)


@pytest.mark.parametrize(("num_damaged", "expected"), [(1, "1 x damaged member"), (21, "21 x damaged member")])
def test_damaged_members_are_counted_by_reason_without_their_names(tmp_path, num_damaged, expected):
    """Before, each name was a reason of its own and only three were listed, so the counts didn't add up."""
    clips = [packed(tmp_path, number) for number in range(30)]
    (tmp_path / "a.tar").write_bytes(bytes(1000))
    reader = Reader(len(clips), max_bad_share=1.0)
    assert [reader.read(clip) for clip in clips[:num_damaged]] == [None] * num_damaged
    assert str(reader) == f"{num_damaged} of 30 clips are unreadable: {expected}"


def test_the_counts_of_reasons_add_up():
    counts = {f"reason {number}": number + 1 for number in range(9)}
    assert sum(map(int, re.findall(r"(\d+) x", counted(counts)))) == sum(counts.values())
    assert counted(counts).endswith("10 x other reasons")
    assert counted({"a": 1, "b": 3}) == "3 x b, 1 x a"


def packed(folder: Path, number: int) -> Clip:
    """A clip whose bytes in the shard a.tar aren't those of its digest."""
    member = Member(f"{number:06d}.mp4", 10 * number, 10, "0" * 64)
    return Clip(f"{number:06d}", folder / "a.tar", 5, 16, 24, 8.0, {}, member=member)


def entry(**changes: object) -> dict[str, Any]:
    """A clip's record in an index, healthy but for the changes; None removes a key."""
    shape = {"num_frames": 5, "height": 16, "width": 24, "fps": 8.0}
    place = {"name": "000000.mp4", "offset": 512, "bytes": 100, "sha256": "0" * 64}
    healthy = {"id": "000000", **shape, "captions": {"en": ["grey"]}, **place}
    return {key: value for key, value in {**healthy, **changes}.items() if value is not None}


def line(*clips: dict[str, Any], **changes: object) -> str:
    """A line of an index, healthy but for the changes."""
    return json.dumps({"shard": "a.tar", "bytes": 1024, "sha256": "0" * 64, "clips": list(clips), **changes})


BOARD = {"text": "a", "shots": ["b", "c"]}
HOSTILE = {
    "not JSON": "nonsense",
    "a truncated line": line(entry())[:-20],
    "nested too deeply": '{"clips":' + "[" * 100_000,
    "not an object": "[]",
    "a string": '"shard"',
    "a number": "1e999",
    "no clips": '{"shard": "a.tar"}',
    "clips are an object": line(clips={"0": entry()}),
    "clips are a string": line(clips="000000"),
    "a clip is a list": line(clips=[[1]]),
    "a clip is null": line(clips=[None]),
    "no shard": '{"clips": []}',
    "shard is a number": line(entry(), shard=5),
    "shard leads out": line(entry(), shard="../a.tar"),
    "shard is absolute": line(entry(), shard="/etc/passwd"),
    "shard on a drive": line(entry(), shard="C:a.tar"),
    "NUL in shard": line(entry(), shard="a\0.tar"),
    "empty shard": line(entry(), shard=""),
    "shard is its folder": line(entry(), shard="."),
    "negative size of a shard": line(entry(), bytes=-1),
    "digest of a shard": line(entry(), sha256="x"),
    "no id": line(entry(id=None)),
    "id is a number": line(entry(id=3)),
    "NUL in id": line(entry(id="a\0b")),
    "separator in id": line(entry(id="../a")),
    "empty id": line(entry(id="")),
    "long id": line(entry(id="a" * 10_000)),
    "the same id twice": line(entry(), entry()),
    "NUL in name": line(entry(name="a\0.mp4")),
    "separator in name": line(entry(name="../../000000.mp4")),
    "backslash in name": line(entry(name="..\\000000.mp4")),
    "line break in name": line(entry(name="a\n.mp4")),
    "name is a list": line(entry(name=["a"])),
    "negative offset": line(entry(offset=-1)),
    "offset is text": line(entry(offset="512")),
    "offset is a fraction": line(entry(offset=0.5)),
    "offset of 64 bits": line(entry(offset=2**64)),
    "huge size": line(entry(bytes=10**13)),
    "size is true": line(entry(bytes=True)),
    "empty member": line(entry(bytes=0)),
    "digest is short": line(entry(sha256="0" * 63)),
    "digest is a number": line(entry(sha256=0)),
    "no frames": line(entry(num_frames=0)),
    "10^13 frames": line(entry(num_frames=10**13)),
    "frames are text": line(entry(num_frames="5")),
    "negative height": line(entry(height=-16)),
    "huge picture": line(entry(height=10**6, width=10**6)),
    "rate is NaN": line(entry(fps="@")).replace('"@"', "NaN"),
    "rate is infinite": line(entry(fps="@")).replace('"@"', "1e999"),
    "rate is 0": line(entry(fps=0)),
    "captions are a list": line(entry(captions=["grey"])),
    "captions are numbers": line(entry(captions={"en": [1]})),
    "one caption without a list": line(entry(captions={"en": "grey"})),
    "lone surrogate in a caption": line(entry(captions={"en": ["\ud800"]})),
    "attributes are a list": line(entry(attributes=[])),
    "cuts out of order": line(entry(cuts=[3, 2], storyboards={"en": [{"text": "", "shots": ["a", "b", "c"]}]})),
    "a cut behind the end": line(entry(cuts=[5])),
    "a cut at 0": line(entry(cuts=[0])),
    "a cut twice": line(entry(cuts=[2, 2])),
    "cuts are text": line(entry(cuts=["2"])),
    "storyboards are a list": line(entry(storyboards=[BOARD])),
    "a storyboard of numbers": line(entry(cuts=[2], storyboards={"en": [{"text": 1, "shots": [2, 3]}]})),
    "a storyboard without shots": line(entry(cuts=[2], storyboards={"en": [{"text": "a"}]})),
    "a storyboard too long": line(entry(storyboards={"en": [BOARD]})),
    "source is a number": line(entry(source=1)),
    "not UTF-8": line(entry(id="@")).replace("@", "\udcff"),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_an_index_of_unknown_origin_is_refused_in_one_printable_line(tmp_path, text):
    """An error of another type is a traceback on the command line."""
    (tmp_path / "index.jsonl").write_bytes((text + "\n").encode("utf-8", "surrogateescape"))
    with pytest.raises(DatasetError, match=r"index\.jsonl|two clips") as caught:
        list_clips(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_the_index_that_the_hostile_ones_vary_is_healthy(tmp_path):
    (tmp_path / "index.jsonl").write_text(line(entry(cuts=[2], storyboards={"en": [BOARD]})) + "\n")
    assert [clip.id for clip in list_clips(tmp_path)] == ["000000"]


@pytest.mark.parametrize(
    "place",
    [{"offset": 10**12}, {"bytes": 10**9}, {"offset": 900, "bytes": 200}, {"offset": 2**63 - 1}, {}],
    ids=["offset past the end", "more than the file", "past the end", "largest offset", "other bytes"],
)
def test_a_range_that_the_shard_does_not_have_is_a_damaged_member(tmp_path, place):
    """Nothing of that size is allocated or read."""
    (tmp_path / "a.tar").write_bytes(bytes(1024))
    (tmp_path / "index.jsonl").write_text(line(entry(**place)) + "\n")
    (clip,) = list_clips(tmp_path)
    with pytest.raises(MediaError, match="damaged member"):
        clip.read()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_shard_or_index_that_is_a_pipe_is_refused_at_once(tmp_path):
    (tmp_path / "index.jsonl").write_text(line(entry()) + "\n")
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(MediaError, match="not a regular file"):
        list_clips(tmp_path)[0].read()
    (tmp_path / "index.jsonl").unlink()
    os.mkfifo(tmp_path / "index.jsonl")
    with pytest.raises(DatasetError, match="not a regular file"):
        list_clips(tmp_path)


def test_media_smaller_than_their_record_are_unreadable(dataset):
    """Trainers batch clips by the recorded shape."""
    for number, changes in enumerate([{"num_frames": 3}, {"num_frames": 9}, {}, {"height": 32}, {"width": 48}]):
        record = dataset / "clips" / f"{number:06d}.json"
        record.write_text(json.dumps({**json.loads(record.read_text("utf-8")), **changes}))
    clips, reader = list_clips(dataset), Reader(5, max_bad_share=1.0)
    assert [reader.read(clip) is None for clip in clips] == [False, True, False, True, True]
    assert str(reader) == "3 of 5 clips are unreadable: 3 x is smaller or shorter than its record"
    assert clips[0].read().num_frames == 3
