"""Files that are whole or not there."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from vitascope.files import (
    MAX_JSON_DEPTH,
    load_json,
    parse_json,
    remove_leftovers,
    replacing,
    replacing_folder,
    sha256,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(path: Path) -> None:
    path.write_text("half of it")
    raise RuntimeError


def test_a_file_appears_whole_with_its_folder(tmp_path):
    path = tmp_path / "a" / "b" / "note.txt"
    write_text(path, "vidéo 视频\n")
    assert path.read_text(encoding="utf-8") == "vidéo 视频\n"
    assert names(path.parent) == ["note.txt"]


def test_until_it_is_written_the_old_file_stays(tmp_path):
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent  # a rename across disks would not be one step
        assert temporary.suffix == path.suffix
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        write_half(temporary)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


def test_a_folder_takes_the_others_place_whole(tmp_path):
    path = tmp_path / "model"
    for name in ("first", "second"):
        with replacing_folder(path) as temporary:
            (temporary / "deep").mkdir()
            write_text(temporary / "deep" / name, name)
    assert names(path / "deep") == ["second"]
    assert names(tmp_path) == ["model"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    path = tmp_path / "model"
    with replacing_folder(path) as temporary:
        write_text(temporary / "weights", "old")
    with pytest.raises(RuntimeError), replacing_folder(path) as temporary:
        write_half(temporary / "weights")
    assert (path / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_the_digest_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"video" * 1000)
    assert sha256(path) == hashlib.sha256(b"video" * 1000).hexdigest()


def test_leftovers_go_once_nobody_writes_to_them(tmp_path):
    """Fails when files that are being written go, or any that are whole."""
    with replacing(tmp_path / "whole.mp4") as writing:
        writing.write_text("x")
        left = tmp_path / f".0123{writing.suffixes[0]}.mp4"
        for path in (left, tmp_path / "whole.json"):
            path.write_text("x")
            os.utime(path, (time.time() - 7200,) * 2)
        remove_leftovers(tmp_path)
        assert names(tmp_path) == sorted([writing.name, "whole.json"])
    remove_leftovers(tmp_path / "nowhere")


def test_json_of_unknown_origin_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"text": "\\ud83d\\ude00", "deep": ' + b"[" * 60 + b"]" * 60 + b"}")
    assert load_json(path)["text"] == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested"),
        ("[" * (MAX_JSON_DEPTH + 1) + "]" * (MAX_JSON_DEPTH + 1), "nested"),
        ("NaN", "NaN"),
        ("[-Infinity]", "Infinity"),
        ("1e999", "too large"),
        ("1" * 5000, "digits"),
        (r'"\ud800"', "surrogates"),
        (b"\xff\xfe{}", "utf-8"),
        (b"{} \x00", "Extra data"),
        ("", "Expecting value"),
    ],
)
def test_hostile_json_is_one_kind_of_error(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_only_regular_files_of_limited_size_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" + "1," * 100 + "1]")
    with pytest.raises(ValueError, match="more than"):
        load_json(path, max_bytes=100)
    with pytest.raises(OSError, match="regular file"):
        load_json(Path(os.devnull))
    with pytest.raises(OSError, match="regular file"):
        load_json(tmp_path)
