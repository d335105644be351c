"""Footage and its captions are found in every layout, and what is left out is counted by reason."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

from tests.data.films import CONFIG, film
from vitascope.data.captioned_files import by_language, find_captioned_files
from vitascope.data.prepare import prepare_videos


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes_are_not_read(folder):
    os.mkfifo(folder / "pipe.mp4")
    os.mkfifo(folder / "c.txt")
    assert find_captioned_files(folder).problems == {"not a regular file": 2}
