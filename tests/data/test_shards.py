"""Shards: the same clips as in the folder they were packed from, readable by other tools, and damage doesn't pass."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from vitascope.cli import main
from vitascope.data import shards
from vitascope.data.clips import Clip, Reader, list_clips
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
    with pytest.raises(MediaError, match=r"000001\.mp4 in .* is damaged"):
        clips[1].read()
    reader = Reader(len(clips), max_bad_share=0.2)
    assert [reader.read(clip) is None for clip in clips] == [False, True, False, False, False]
    assert "1 of 5 clips are unreadable: 1 x 000001.mp4" in str(reader)
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


def test_a_finished_set_and_shards_themselves_are_not_packed_again(dataset, tmp_path, capsys):
    out = write_shards(dataset, tmp_path / "shards")
    with pytest.raises(ConfigError, match="finished set"):
        write_shards(dataset, out)
    assert main(["prepare", "shards", str(out), "-o", str(tmp_path / "again")]) == 2
    assert "already consists of shards" in capsys.readouterr().err


def test_names_in_an_index_lead_nowhere_else(dataset, tmp_path):
    """An index may be untrusted: paths out of its folder are refused, and none of its paths is written to."""
    out = write_shards(dataset, tmp_path / "shards")
    index = out / "index.jsonl"
    text = index.read_text(encoding="utf-8")
    index.write_text(text.replace('"000000.mp4"', '"../../000000.mp4"'), encoding="utf-8")
    assert same(list_clips(out)[0], list_clips(dataset)[0])
    index.write_text(text.replace('"shard_000000.tar"', '"../outside.tar"'), encoding="utf-8")
    assert all(clip.path.parent == out for clip in list_clips(out))


@pytest.mark.parametrize("text", ["", "[]\n", "{}\n", "nonsense", '{"shard": "a.tar", "clips": [{}]}\n'])
def test_an_index_that_cannot_be_read_is_named(dataset, tmp_path, text):
    out = write_shards(dataset, tmp_path / "shards")
    (out / "index.jsonl").write_text(text)
    with pytest.raises(DatasetError, match=r"index\.jsonl|no clips"):
        list_clips(out)
