"""Prepared footage: all caption layouts, the requested clips, and unusable files counted by reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vitascope.cli import main
from vitascope.config import load_config
from vitascope.data import prepare
from vitascope.data.captioned_files import by_language, find_captioned_files
from vitascope.data.clips import list_clips
from vitascope.data.prepare import PrepareConfig, prepare_videos
from vitascope.errors import ConfigError, DatasetError, MediaError
from vitascope.video import Video, write_video

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
    assert [source.name for source in found.files] == ["deep/c.mp4", "deep/d.png"]
    assert found.problems == {
        "no caption": 3,
        "unreadable .json caption file": 1,
        "row of metadata.jsonl without a file in the folder": 4,
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
    assert "4 clips of 5 sources; left out: 1 is empty" in captured.err
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
