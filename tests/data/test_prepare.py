"""Prepared footage: all caption layouts, the requested clips, and unusable files counted by reason."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tests.video.tones import write_tone
from vitascope.cli import main
from vitascope.config import load_config
from vitascope.data import prepare
from vitascope.data.captioned_files import by_language, find_captioned_files
from vitascope.data.clips import Clip, list_clips
from vitascope.data.ledger import is_unchanged, read_stamp, version
from vitascope.data.prepare import PrepareConfig, prepare_videos
from vitascope.errors import ConfigError, DatasetError, MediaError
from vitascope.video import Video, read_video, write_video
from vitascope.video.cuts import find_cuts

CONFIG = PrepareConfig(sizes=("32x32", "48x32"), fps=8.0, num_frames=9, max_bad_share=1.0)


def film(path: Path, num_frames: int = 20, height: int = 48, width: int = 72) -> Path:
    """A grey film that grows brighter, at 8 frames a second."""
    levels = np.linspace(20, 220, num_frames).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()
    return write_video(Video(frames, 8.0), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files captioned in five ways, one of them twice and in two languages."""
    folder = tmp_path / "mine"
    for name in ("a.mp4", "b.mkv", "deep/c.mp4", "deep/d.png", "e.mp4"):
        film(folder / name, num_frames=1 if name.endswith("png") else 20)
    (folder / "a.txt").write_text("a grey film\n\n一段灰色的视频\n", encoding="utf-8")
    (folder / "b.json").write_text('{"captions": {"en": ["b one", "b two"]}, "fps": 8}')
    (folder / "deep" / "metadata.csv").write_text("file_name,text\nc.mp4,the film c\nd.png,a grey card\n")
    (folder / "metadata.jsonl").write_text('{"file_name": "e.mp4", "caption": "the film e"}\n')
    return folder


def test_captions_are_found_in_every_layout(folder):
    found = find_captioned_files(folder)
    assert {source.name: source.captions for source in found.files} == {
        "a.mp4": {"en": ["a grey film"], "zh": ["一段灰色的视频"]},
        "b.mkv": {"en": ["b one", "b two"]},
        "deep/c.mp4": {"en": ["the film c"]},
        "deep/d.png": {"en": ["a grey card"]},
        "e.mp4": {"en": ["the film e"]},
    }
    assert not found.problems


def test_a_caption_with_latin_words_among_han_characters_is_chinese():
    assert by_language(["一只 robot", "a robot", "a robot"]) == {"zh": ["一只 robot"], "en": ["a robot"]}


def test_what_is_no_source_is_counted_by_reason(folder):
    (folder / "a.txt").unlink()
    (folder / "b.json").write_text("{")
    (folder / "metadata.jsonl").write_text(
        '{"file_name": "../outside.mp4", "caption": "x"}\n{"file_name": 3}\n[\n{"file_name": "none.mp4"}\n'
    )
    film(folder.parent / "outside.mp4")
    found = find_captioned_files(folder)
    assert [source.name for source in found.files if source.captions] == ["deep/c.mp4", "deep/d.png"]
    assert [source.name for source in found.files if not source.captions] == ["a.mp4", "b.mkv", "e.mp4"]
    assert found.problems == {
        "unreadable .json caption file": 1,
        "unreadable row of metadata.jsonl": 1,
        "row of metadata.jsonl without a file in the folder": 3,
    }


def test_a_video_becomes_clips_of_the_size_rate_and_length_asked_for(folder, tmp_path):
    """20 frames give two clips of 9. The last 2 frames are dropped: 1 + 4k leaves one, which is no video."""
    prepared = prepare_videos(folder, tmp_path / "data", CONFIG)
    clips = list_clips(tmp_path / "data")
    assert (prepared.num_clips, prepared.num_sources, len(clips)) == (9, 5, 9)
    assert sorted(clip.num_frames for clip in clips) == [1, *[9] * 8]
    assert {(clip.width, clip.height, clip.fps) for clip in clips} == {(48, 32, 8.0)}
    assert {clip.read().frames.shape for clip in clips} == {(9, 32, 48, 3), (1, 32, 48, 3)}
    first, second = (clip.read().frames.mean() for clip in clips if clip.captions == {"en": ["the film e"]})
    assert second - first > 60  # the later part of the film


def test_what_cannot_be_read_is_left_out_with_its_reason(folder, tmp_path):
    (folder / "a.mp4").write_bytes(b"not a film")
    (folder / "e.mp4").write_bytes(b"")
    prepared = prepare_videos(folder, tmp_path / "data", CONFIG)
    assert prepared.num_clips == 5
    assert prepared.problems.total() == 2
    assert any("empty" in reason for reason in prepared.problems)
    ledger = [json.loads(line) for line in (tmp_path / "data" / "sources.jsonl").read_text().splitlines()]
    assert [entry["source"] for entry in ledger if "problem" in entry] == ["a.mp4", "e.mp4"]
    film(folder / "e.mp4")  # mended: the next run takes it, and keeps what is done
    assert prepare_videos(folder, tmp_path / "data", CONFIG).num_clips == 7


def test_too_many_bad_files_stop_the_run(folder, tmp_path):
    (folder / "a.mp4").write_bytes(b"not a film")
    with pytest.raises(DatasetError, match=r"1 of 5 files are unusable .* --max-bad"):
        prepare_videos(folder, tmp_path / "data", CONFIG.model_copy(update={"max_bad_share": 0.1}))


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


def test_the_verb_takes_every_setting(folder, tmp_path, capsys):
    out = tmp_path / "data"
    options = ["--size", "32x32", "--fps", "4", "--frames", "5", "--max-clips", "1", "--max-bad", "0.5"]
    (folder / "e.mp4").write_bytes(b"")
    assert main(["prepare", "videos", str(folder), "-o", str(out), *options]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(out)
    assert "4 clips of 5 sources; left out: 1 x is empty" in captured.err
    assert {(clip.width, clip.height, clip.fps) for clip in list_clips(out)} == {(32, 32, 4.0)}
    assert sorted(clip.num_frames for clip in list_clips(out)) == [1, 5, 5, 5]


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


def test_a_dataset_inside_its_source_or_of_another_source_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="inside"):
        prepare_videos(folder, folder / "data", CONFIG)
    prepare_videos(folder, tmp_path / "data", CONFIG)
    film(tmp_path / "other" / "a.mp4")
    (tmp_path / "other" / "a.txt").write_text("another")
    with pytest.raises(ConfigError, match="folder"):
        prepare_videos(tmp_path / "other", tmp_path / "data", CONFIG)


def test_hidden_folders_and_odd_names(folder, tmp_path):
    film(folder / ".thumbnails" / "a.png", 1)
    film(folder / "\u2028 名字.mp4")
    (folder / "\u2028 名字.txt").write_text("odd", encoding="utf-8")
    for _ in range(2):
        prepared = prepare_videos(folder, tmp_path / "data", CONFIG)
        assert (prepared.num_clips, prepared.problems.total()) == (11, 0)


def clips_of(out: Path, source: str) -> list[Clip]:
    return [clip for clip in list_clips(out) if clip.source == source]


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


@pytest.mark.parametrize("suffix", [".ts", ".wmv", ".flv", ".3gp", ".ogv", ".mts", ".vob", "", ".bin", ".jpg", ".MP4"])
def test_files_are_taken_by_content_whatever_their_suffix(tmp_path, suffix):
    film(tmp_path / "mine" / "a.mp4").rename(tmp_path / "mine" / f"a{suffix}")
    assert prepare_videos(tmp_path / "mine", tmp_path / "data", CONFIG).num_clips == 2


def test_what_is_not_media_is_counted_and_no_bad_file(folder, tmp_path):
    for name in ("README.md", "notes.pdf", "song.srt", "Thumbs.db", "movie", "data.json", "lonely.txt"):
        (folder / name).write_bytes(b"nothing to see " * 20)
    (folder / ".hidden.mp4").write_bytes(b"x")
    prepared = prepare_videos(folder, tmp_path / "data", CONFIG.model_copy(update={"max_bad_share": 0.0}))
    assert (prepared.num_clips, prepared.num_sources) == (9, 5)
    assert prepared.problems == {"not a picture or video": 7}
    assert "left out: 7 x not a picture or video" in str(prepared)


def test_a_damaged_video_is_a_bad_file(folder, tmp_path):
    (folder / "a.mp4").write_bytes(b"not a film")
    with pytest.raises(DatasetError, match="1 of 5 files are unusable"):
        prepare_videos(folder, tmp_path / "data", CONFIG.model_copy(update={"max_bad_share": 0.0}))


def shots(path: Path, lengths: list[int]) -> Path:
    """A film at 8 frames a second whose shots have textures of their own that drift."""
    draw = np.random.default_rng(0)
    frames = []
    for length in lengths:
        texture = np.kron(draw.integers(0, 256, (6, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        frames += [texture[:, step : step + 72] for step in range(length)]
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(Video(np.stack(frames), 8.0), path, crf=4)


@pytest.mark.parametrize("lengths", [[30], [7, 30], [20, 9, 14], [3, 9, 3, 18], [9, 9, 9], [13, 1, 13], [10, 11, 12]])
@pytest.mark.parametrize("num_frames", [5, 9, 17])
def test_no_clip_straddles_a_cut(tmp_path, lengths, num_frames):
    shots(tmp_path / "mine" / "a.mp4", lengths)
    config = CONFIG.model_copy(update={"num_frames": num_frames, "sizes": ("72x48",)})
    prepared = prepare_videos(tmp_path / "mine", tmp_path / "data", config)
    clips = list_clips(tmp_path / "data")
    long_enough = sum(length // num_frames + (length % num_frames > 4) for length in lengths)
    assert len(clips) == long_enough
    for clip in clips:
        assert not find_cuts(clip.read().frames, 1.0), "a cut within a clip"
    assert prepared.num_cuts == len(lengths) - 1


def test_clips_without_a_cut_are_consecutive(folder, tmp_path):
    """The frames are those of one reading of the file."""
    prepare_videos(folder, tmp_path / "data", CONFIG)
    whole = read_video(folder / "e.mp4", fps=8.0).fit(32, 48).frames.astype(int)
    for number, clip in enumerate(clips_of(tmp_path / "data", "e.mp4")):
        assert np.abs(clip.read().frames - whole[9 * number : 9 * number + 9]).mean() < 2


def test_one_caption_of_a_long_video_is_said_to_be_shared(folder, tmp_path, capsys):
    prepared = prepare_videos(folder, tmp_path / "data", CONFIG)
    assert prepared.num_sharing == 8
    assert "8 clips are parts of a video and carry the caption of the whole" in str(prepared)


def test_links_are_followed_as_a_hugging_face_cache_has_them(folder, tmp_path):
    """Blobs without a suffix, linked from a snapshot with names and a table."""
    cache = tmp_path / "cache"
    snapshot = cache / "snapshots" / "f00"
    for number, path in enumerate(sorted(folder.rglob("*.m*"))):
        if path.suffix != ".jsonl":
            blob = cache / "blobs" / f"{number:040x}"
            blob.parent.mkdir(parents=True, exist_ok=True)
            path.rename(blob)
            snapshot.mkdir(parents=True, exist_ok=True)
            (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
    (snapshot / "metadata.jsonl").write_text('{"file_name": "a.mp4", "caption": "a"}\n')
    for start in (snapshot, cache):
        found = find_captioned_files(start)
        assert [Path(file.name).name for file in found.files if file.captions] == ["a.mp4"]
        assert len(found.files) == 4
    assert find_captioned_files(cache).problems == {"second name of the same file": 4}
    assert prepare_videos(snapshot, tmp_path / "data", CONFIG).num_clips == 8


def test_linked_folders_are_followed_and_loops_counted(folder, tmp_path):
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    film(tmp_path / "elsewhere" / "f.mp4")
    (tmp_path / "elsewhere" / "f.txt").write_text("a linked film")
    (folder / "loop").symlink_to(folder)
    (folder / "deep" / "up").symlink_to("..")
    (folder / "itself.mp4").symlink_to("itself.mp4")
    (folder / "nowhere.mp4").symlink_to("gone.mp4")
    found = find_captioned_files(folder)
    assert {"linked/f.mp4": {"en": ["a linked film"]}}.items() <= {f.name: f.captions for f in found.files}.items()
    assert len(found.files) == 6
    assert found.problems == {
        "link to a folder that contains it": 2,
        "link that leads to itself": 1,
        "link to nowhere": 1,
    }


@pytest.mark.parametrize(
    "name",
    ["../outside.mp4", "deep/../../outside.mp4", "/etc/passwd", "ABSOLUTE", "..\\outside.mp4", "", ".", "deep", "a\0"],
)
def test_a_table_names_no_file_outside_of_its_folder(folder, name):
    outside = film(folder.parent / "outside.mp4")
    name = str(outside) if name == "ABSOLUTE" else name
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": name, "caption": "stolen"}))
    found = find_captioned_files(folder)
    assert "stolen" not in str(found.files)
    assert found.problems == {"row of metadata.jsonl without a file in the folder": 1}


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("named", ["NFC", "NFD"])
@pytest.mark.parametrize("layout", ["table", "sidecar"])
def test_names_match_in_either_unicode_form(tmp_path, on_disk, named, layout):
    """Composed letters in a table, decomposed ones on disk, as macOS stores them; and the reverse."""
    name = "Füße am Caf\u00e9 \u304c.mp4"
    film(tmp_path / "Ü" / unicodedata.normalize(on_disk, name))
    other = unicodedata.normalize(named, name)
    if layout == "table":
        (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": f"Ü/{other}", "text": "feet"}))
    else:
        (tmp_path / "Ü" / other).with_suffix(".txt").write_text("feet")
    (file,) = find_captioned_files(tmp_path).files
    assert file.captions == {"en": ["feet"]}


@pytest.mark.parametrize(
    ("media", "sidecar"), [("CLIP.MP4", "clip.txt"), ("clip.mp4", "Clip.TXT"), ("a.b.mov", "A.B.JSON")]
)
def test_caption_files_match_in_either_case(tmp_path, media, sidecar):
    film(tmp_path / "x.mp4").rename(tmp_path / media)
    (tmp_path / sidecar).write_text('{"text": "a film"}' if sidecar.endswith("JSON") else "a film")
    (file,) = find_captioned_files(tmp_path).files
    assert file.captions == {"en": ["a film"]}


def test_an_exact_name_goes_before_a_similar_one(tmp_path):
    for name in ("a.mp4", "A.mp4"):
        film(tmp_path / name, num_frames=5 + len(list(tmp_path.iterdir())))
        (tmp_path / name).with_suffix(".txt").write_text(f"film {name}")
    assert {f.name: f.captions["en"] for f in find_captioned_files(tmp_path).files} == {
        "a.mp4": ["film a.mp4"],
        "A.mp4": ["film A.mp4"],
    }


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("a\0b", "caption with a control character"),
        ("\x1b[2J", "caption with a control character"),
        ("  ", "empty caption"),
        ("\u200b", "empty caption"),
        ("word " * 7000, "caption of more than 32,000 characters"),
    ],
)
@pytest.mark.parametrize("layout", [".txt", ".json", ".csv", ".jsonl"])
def test_captions_that_no_prompt_could_be_are_counted_by_reason(tmp_path, caption, reason, layout):
    """Before, some passed and ended a training run."""
    film(tmp_path / "a.mp4")
    if layout == ".txt":
        (tmp_path / "a.txt").write_text(caption)
    elif layout == ".json":
        (tmp_path / "a.json").write_text(json.dumps({"text": caption}))
    elif layout == ".csv":
        (tmp_path / "metadata.csv").write_text(f'file_name,text\na.mp4,"{caption}"\n')
    else:
        (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.mp4", "text": caption}))
    found = find_captioned_files(tmp_path)
    assert found.problems == {reason: 1}
    assert found.files[0].captions == {}


def test_half_a_surrogate_pair_is_an_unreadable_caption(tmp_path):
    film(tmp_path / "a.mp4")
    (tmp_path / "a.json").write_text('{"text": "a \\ud83d b"}')
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.mp4", "text": "\\ud83d"}')
    assert find_captioned_files(tmp_path).problems == {
        "unreadable .json caption file": 1,
        "unreadable row of metadata.jsonl": 1,
    }


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_a_name_that_is_no_text_is_prepared(folder, tmp_path):
    os.rename(folder / "a.mp4", os.fsencode(folder / "a") + b"\xff.mp4")
    for _ in range(2):
        assert prepare_videos(folder, tmp_path / "data", CONFIG).num_clips == 9
    assert "a\\xff.mp4" in {clip.source for clip in list_clips(tmp_path / "data")}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes_are_not_read(folder):
    os.mkfifo(folder / "pipe.mp4")
    os.mkfifo(folder / "c.txt")
    assert find_captioned_files(folder).problems == {"not a regular file": 2}


@pytest.mark.parametrize("num_frames", [0, 2, 16])
def test_a_length_that_no_codec_takes_is_refused_with_the_nearest(num_frames, tmp_path):
    path = tmp_path / "prepare.toml"
    path.write_text(f"num_frames = {num_frames}")
    with pytest.raises(ConfigError, match=r"num_frames"):
        load_config(path, PrepareConfig)


def test_rows_about_files_that_are_elsewhere_are_no_bad_files(folder, tmp_path):
    """The table of a large dataset with only a few of its files."""
    with (folder / "metadata.jsonl").open("a") as table:
        table.writelines(f'{{"file_name": "{n}.mp4", "caption": "x"}}\n' for n in range(50))
    prepared = prepare_videos(folder, tmp_path / "data", CONFIG.model_copy(update={"max_bad_share": 0.0}))
    assert prepared.num_clips == 9
    assert prepared.problems == {"row of metadata.jsonl without a file in the folder": 50}


def test_other_settings_are_refused(folder, tmp_path):
    prepare_videos(folder, tmp_path / "data", CONFIG)
    with pytest.raises(ConfigError, match="other settings"):
        prepare_videos(folder, tmp_path / "data", CONFIG.model_copy(update={"fps": 4.0}))


@pytest.mark.parametrize("size", ["64", "64x", "15x64", "64x63", "9999x64"])
def test_a_size_that_cannot_be_made_is_refused(size, tmp_path):
    path = tmp_path / "prepare.toml"
    path.write_text(f'sizes = ["{size}"]')
    with pytest.raises(ConfigError, match=size):
        load_config(path, PrepareConfig)


def test_a_folder_without_media_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["prepare", "videos", str(tmp_path / "empty"), "-o", str(tmp_path / "data")]) == 2
    assert main(["prepare", "videos", str(tmp_path / "none"), "-o", str(tmp_path / "data")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "no video or image in" in first
    assert "no folder" in second


def test_sound_that_is_left_out_is_noted(tmp_path):
    """Also by a run that has nothing to do. Fails when sound is dropped without a word."""
    (tmp_path / "mine").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_tone(tmp_path / "mine" / name, (0.0, 0.5))
    shots(tmp_path / "mine" / "silent.mp4", [17])
    for _ in range(2):
        prepared = prepare_videos(tmp_path / "mine", tmp_path / "data", CONFIG)
        assert "note: 2 x has sound, which is left out: datasets hold none" in str(prepared)
