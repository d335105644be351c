"""Atomic files: written to a temporary name in the same folder, synced, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vitascope.errors import ModelError, reason


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Temporary path in the same folder with the same suffix. It replaces `path` on exit and is removed on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(
        f".{secrets.token_hex(8)}.tmp{path.suffix}"
    )  # short, so that the longest allowed name works
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Empty temporary folder in the same parent. It replaces `path` on exit and is removed on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            sync(file)
        sync(temporary)
        if path.exists():  # a folder can't be renamed onto another: the old one stays complete until the last moment
            path.replace(old)
        try:
            temporary.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
        sync(path.parent)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def remove_leftovers(folder: Path, idle_seconds: float = 3600.0) -> None:
    """Remove temporary files that killed processes left in a folder; recent ones may still be in use and stay."""
    for path in folder.glob(".*.tmp*"):
        with suppress(FileNotFoundError):  # its owner removed it
            if path.is_file() and time.time() - path.stat().st_mtime > idle_seconds:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """SHA-256 of a file as a hexadecimal string."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows can't open a folder for syncing
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path, cure: str) -> dict[str, Any]:
    """JSON object in a file.

    Raises:
        ModelError: the file is missing or holds something else; the message ends with `cure`.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; {cure}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not readable JSON ({reason(error)}); {cure}") from None
    if not isinstance(tree, dict):
        raise ModelError(f"{path} holds no JSON object; {cure}")
    return tree
