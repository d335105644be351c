"""Prepared datasets equal their sources after each run, and unchanged work isn't redone."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.data.films import CONFIG, clips_of
from vitascope.cli import main
from vitascope.data import prepare
from vitascope.data.clips import list_clips
from vitascope.data.ledger import is_unchanged, read_stamp, version
from vitascope.data.prepare import prepare_videos
from vitascope.errors import MediaError
from vitascope.video import Video, write_video


def test_an_interrupted_run_goes_on_and_does_nothing_twice(folder, tmp_path, monkeypatch):
    original, asked = prepare._prepare, []

    def interrupted(source, out, config):
        asked.append(source.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return original(source, out, config)

    monkeypatch.setattr(prepare, "_prepare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_videos(folder, tmp_path / "data", CONFIG)
    with (tmp_path / "data" / "sources.jsonl").open("a") as ledger:
        ledger.write('{"source": "deep/c')  # killed while it was writing
    assert prepare_videos(folder, tmp_path / "data", CONFIG).num_clips == 9
    assert asked == ["a.mp4", "b.mkv", "deep/c.mp4", "deep/c.mp4", "deep/d.png", "e.mp4"]
    assert len((tmp_path / "data" / "sources.jsonl").read_text().splitlines()) == 5


def test_a_full_disk_is_no_fault_of_the_source(folder, tmp_path, monkeypatch):
    original, written = prepare.write_video, []

    def full(video, path, **options):
        written.append(path)
        if len(written) == 2:
            raise MediaError("no space left")
        return original(video, path, **options)

    monkeypatch.setattr(prepare, "write_video", full)
    with pytest.raises(MediaError, match="no space"):
        prepare_videos(folder, tmp_path / "data", CONFIG)
    assert prepare_videos(folder, tmp_path / "data", CONFIG).num_clips == 9


def test_changed_captions_update_the_records_and_nothing_is_cut_again(folder, tmp_path, monkeypatch):
    out = tmp_path / "data"
    prepare_videos(folder, out, CONFIG)
    pixels = {path.name: path.stat().st_mtime_ns for path in (out / "clips").glob("*.mp4")}
    (folder / "a.txt").write_text("another caption")
    (folder / "metadata.jsonl").unlink()
    monkeypatch.setattr(prepare, "write_video", lambda *_, **__: pytest.fail("cut again"))
    prepared = prepare_videos(folder, out, CONFIG)
    assert prepared.changes == {"with other captions": 2}
    assert {str(clip.captions) for clip in clips_of(out, "a.mp4")} == {"{'en': ['another caption']}"}
    assert {str(clip.captions) for clip in clips_of(out, "e.mp4")} == {"{}"}
    assert {path.name: path.stat().st_mtime_ns for path in (out / "clips").glob("*.mp4")} == pixels
    assert not prepare_videos(folder, out, CONFIG).changes


@pytest.mark.parametrize("times", ["new", "old", "of the first file"])
def test_changed_pixels_are_cut_again_whatever_the_files_times(folder, tmp_path, times):
    """Also a file of the same size and date, as a restored backup or a quick edit leaves it."""
    out, path = tmp_path / "data", folder / "e.mp4"
    prepare_videos(folder, out, CONFIG)
    before, stamp = clips_of(out, "e.mp4"), path.stat()
    others = {clip.id: clip.fingerprint() for clip in list_clips(out) if clip.source != "e.mp4"}
    level = write_video(Video(np.full((12, 48, 72, 3), 90, np.uint8), 8.0), tmp_path / "other.mp4").read_bytes()
    path.write_bytes(level + bytes(max(0, stamp.st_size - len(level))))
    if times == "old":
        os.utime(path, (1e9, 1e9))
    if times == "of the first file":
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    prepared = prepare_videos(folder, out, CONFIG)
    assert prepared.changes == {"changed": 1}
    assert [clip.num_frames for clip in before] == [9, 9]
    assert [clip.num_frames for clip in clips_of(out, "e.mp4")] == [9]
    assert abs(float(clips_of(out, "e.mp4")[0].read().frames.mean()) - 90) < 3
    assert {clip.id: clip.fingerprint() for clip in list_clips(out) if clip.source != "e.mp4"} == others


def test_a_file_changed_within_its_time_stamp_is_in_doubt(tmp_path):
    """Equal stamps prove nothing if the entry is hardly newer than the file: the digest decides."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")
    entry = version(path, read_stamp(path))
    assert is_unchanged(entry, path)
    assert not is_unchanged({**entry, "sha256": "0" * 64}, path)
    assert is_unchanged({**entry, "sha256": "0" * 64, "at_ns": entry["at_ns"] + 10**10}, path)


def test_a_touched_file_is_not_cut_again(folder, tmp_path, monkeypatch):
    prepare_videos(folder, tmp_path / "data", CONFIG)
    os.utime(folder / "e.mp4", (1e9, 1e9))
    monkeypatch.setattr(prepare, "write_video", lambda *_, **__: pytest.fail("cut again"))
    assert not prepare_videos(folder, tmp_path / "data", CONFIG).changes


def test_clips_of_removed_and_damaged_sources_go(folder, tmp_path):
    out = tmp_path / "data"
    prepare_videos(folder, out, CONFIG)
    (folder / "b.mkv").unlink()
    (folder / "e.mp4").write_bytes(b"damaged by a copy")
    prepared = prepare_videos(folder, out, CONFIG)
    assert prepared.changes == {"removed": 1, "changed": 1}
    assert {clip.source for clip in list_clips(out)} == {"a.mp4", "deep/c.mp4", "deep/d.png"}
    stems = {path.stem for path in (out / "clips").iterdir()}
    assert stems == {clip.id for clip in list_clips(out)}, "media without a record"


def test_lost_clips_are_made_again(folder, tmp_path):
    out = tmp_path / "data"
    prepare_videos(folder, out, CONFIG)
    media, record = clips_of(out, "a.mp4")[0].path, clips_of(out, "b.mkv")[1].path.with_suffix(".json")
    media.unlink()
    record.unlink()
    prepare_videos(folder, out, CONFIG)
    assert media.exists()
    assert record.exists()


def test_clips_of_a_run_without_a_ledger_entry_go(folder, tmp_path):
    """A run that was killed, or an older version's, has left clips that no source has now."""
    out = tmp_path / "data"
    prepare_videos(folder, out, CONFIG)
    (out / "sources.jsonl").write_text('{"source": "gone.mp4", "clips": 1}\n')
    record = clips_of(out, "a.mp4")[0].path.with_suffix(".json")
    record.with_name("0123456789ab_0000.json").write_bytes(record.read_bytes())
    (out / "clips" / "mine.json").write_bytes(record.read_bytes())  # not ours to remove
    prepare_videos(folder, out, CONFIG)
    assert not record.with_name("0123456789ab_0000.json").exists()
    assert (out / "clips" / "mine.json").exists()


def test_footage_without_captions_is_prepared_and_gets_them_later(folder, tmp_path, capsys):
    for path in [*folder.rglob("*.txt"), *folder.rglob("*.json"), *folder.rglob("metadata.*")]:
        path.unlink()
    out = tmp_path / "data"
    assert main(["prepare", "videos", str(folder), "-o", str(out), "--size", "32x32", "--frames", "9"]) == 0
    assert "5 sources have no caption" in capsys.readouterr().err
    assert {str(clip.captions) for clip in list_clips(out)} == {"{}"}
    (folder / "a.txt").write_text("now it has one")
    assert main(["prepare", "videos", str(folder), "-o", str(out), "--size", "32x32", "--frames", "9"]) == 0
    assert "4 sources have no caption" in capsys.readouterr().err
    assert {str(clip.captions) for clip in clips_of(out, "a.mp4")} == {"{'en': ['now it has one']}"}
