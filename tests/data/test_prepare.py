"""Prepared footage: the clips asked for, and unusable files counted by reason."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

from tests.data.films import CONFIG, clips_of, film, shots
from tests.video.tones import write_tone
from vitascope.cli import main
from vitascope.config import load_config
from vitascope.data.clips import list_clips
from vitascope.data.prepare import PrepareConfig, prepare_videos
from vitascope.errors import ConfigError, DatasetError
from vitascope.video import read_video
from vitascope.video.cuts import find_cuts


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


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_a_name_that_is_no_text_is_prepared(folder, tmp_path):
    os.rename(folder / "a.mp4", os.fsencode(folder / "a") + b"\xff.mp4")
    for _ in range(2):
        assert prepare_videos(folder, tmp_path / "data", CONFIG).num_clips == 9
    assert "a\\xff.mp4" in {clip.source for clip in list_clips(tmp_path / "data")}


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
