"""Files that are whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

import vitascope
from vitascope.errors import FolderInUseError, ModelError
from vitascope.files import (
    MAX_DEPTH,
    append_text,
    load_json,
    lock_folder,
    parse_json,
    read_stable,
    remove_leftovers,
    replacing,
    replacing_folder,
    sha256,
    standing_folder,
    write_tensors,
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


def test_leftovers_of_killed_processes_go_and_files_in_use_stay(tmp_path):
    """Fails when files that are being written go, any that are whole, or another program's."""
    with replacing(tmp_path / "whole.mp4") as writing:
        left = tmp_path / ".0123456789abcdef.tmp.mp4"
        for path in (writing, left, tmp_path / "whole.json", tmp_path / ".theirs.tmp"):
            path.write_text("x")
            os.utime(path, (time.time() - 7200,) * 2)
        remove_leftovers(tmp_path)
        assert names(tmp_path) == sorted([writing.name, ".theirs.tmp", "whole.json"])
    remove_leftovers(tmp_path / "nowhere")


def test_leftovers_in_a_locked_folder_go_whatever_their_age(tmp_path):
    (tmp_path / "deep").mkdir()
    files = [".0123456789abcdef.tmp.mp4", ".tmpAb12Cd", ".step_00000003.411.tmp"]
    folders = [".0123456789abcdef.tmp", ".step_00000006.4711.tmp", ".new.old.tmp"]
    for name in [*files, "step_00000006", ".hidden"]:
        (tmp_path / "deep" / name).write_text("x")
    for name in [*folders, "new"]:
        (tmp_path / "deep" / name).mkdir()
        (tmp_path / "deep" / name / "weights").write_text("x")
    with lock_folder(tmp_path, "deep"):
        assert names(tmp_path / "deep") == [".hidden", "new", "step_00000006"]


def test_a_folder_whose_replacement_was_interrupted_comes_back(tmp_path):
    """As a system without an exchange of folders leaves it, in names of this version and of earlier ones."""
    for name in (".model.old.tmp", ".vae.4711.old.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("old")
    assert (standing_folder(tmp_path / "model") / "weights").read_text() == "old"
    with lock_folder(tmp_path):
        pass
    assert names(tmp_path) == ["model", "vae"]
    assert (tmp_path / "vae" / "weights").read_text() == "old"


def test_a_folder_that_is_in_use_is_refused_and_free_again_after_a_kill(tmp_path):
    """Fails without a lock, or with a lock that outlives its process."""
    code = (
        f"from pathlib import Path; from vitascope.files import lock_folder\nwith lock_folder(Path({str(tmp_path)!r})):"
    )
    code += " print('locked', flush=True); input()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        in_use = f"in use by another command \\(process {other.pid}\\)"
        with pytest.raises(FolderInUseError, match=in_use), lock_folder(tmp_path):
            pass
        other.kill()
        other.wait()
    with lock_folder(tmp_path):
        assert names(tmp_path) == [".lock"]
    assert names(tmp_path) == []


def test_a_refused_command_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), lock_folder(tmp_path / "new"):
        raise RuntimeError
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_files_and_folders_follow_the_umask(tmp_path, mask, mode):
    """Fails with the 0600 of safetensors 0.8, and of temporary files."""
    previous = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "x")
        with replacing(tmp_path / "a.safetensors") as temporary:
            write_tensors(temporary, {"x": torch.zeros(3)})
        with replacing_folder(tmp_path / "model") as temporary:
            write_tensors(temporary / "b.safetensors", {"x": torch.zeros(3)})
    finally:
        os.umask(previous)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == mode | (mode & 0o444) >> 2


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), SafetensorError("I/O error: full (os error 28)")])
def test_a_full_disk_is_an_os_error_that_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, error):
    path = tmp_path / "a.safetensors"
    write_text(path, "old")

    def fail(tensors: object, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="No space left") as raised, replacing(path) as temporary:
        write_tensors(temporary, {"x": torch.zeros(3)})
    assert raised.value.errno == errno.ENOSPC
    assert str(raised.value.filename).startswith(str(tmp_path))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on file sizes")
def test_a_full_disk_names_the_log_that_could_not_grow(tmp_path):
    """Metrics, ledgers and lists of shards grow line by line. Fails with an error that names no file."""
    import resource

    path, limits = tmp_path / "metrics.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    append_text(path, "1\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            append_text(path, "2\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(path)


def test_a_folder_that_is_replaced_while_it_is_read_is_read_again(tmp_path):
    """Fails when files of two versions are mixed, or the error of a file that has gone is raised."""
    path = tmp_path / "model"

    def save(version: str) -> None:
        with replacing_folder(path) as temporary:
            for name in ("a", f"only-{version}"):
                (temporary / name).write_text(version)

    save("1")
    attempts = []

    def read(folder: Path) -> list[str]:
        first = (folder / "a").read_text()
        attempts.append(first)
        if len(attempts) < 3:
            save(str(len(attempts) + 1))
        return [first, (folder / f"only-{first}").read_text() if len(attempts) == 2 else (folder / "a").read_text()]

    assert read_stable(path, read) == ["3", "3"]
    assert attempts == ["1", "2", "3"]
    with pytest.raises(ModelError, match="was replaced 20 times"):
        read_stable(path, lambda folder: save("x"))
    with pytest.raises(FileNotFoundError):
        read_stable(path, lambda folder: (folder / "missing").read_text())


def test_json_of_unknown_origin_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"text": "\\ud83d\\ude00", "deep": ' + b"[" * 60 + b"]" * 60 + b"}")
    assert load_json(path)["text"] == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested"),
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


def test_json_of_unknown_origin_is_parsed_in_one_place():
    """Fails when a module calls json.loads: deep JSON is a RecursionError there, which no caller expects."""
    ours = {"files.py", "video/process.py", "evaluate/measures/resources.py"}  # the last two read their own children
    package = Path(vitascope.__file__).parent
    calls = re.compile(r"\bjson\.loads?\(|JSONDecoder|model_validate_json|read_text\(\)\)")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if calls.search(path.read_text(encoding="utf-8"))
    }
    assert found == ours


def test_only_regular_files_of_limited_size_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" + "1," * 100 + "1]")
    with pytest.raises(ValueError, match="more than"):
        load_json(path, max_bytes=100)
    with pytest.raises(OSError, match="regular file"):
        load_json(Path(os.devnull))
    with pytest.raises(OSError, match="regular file"):
        load_json(tmp_path)
