"""Files: atomic writes (to a temporary name in the same folder, synced, then renamed) and JSON of unknown origin."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vitascope.errors import ModelError, reason

MAX_JSON_BYTES = 64 << 20
MAX_JSON_DEPTH = 64  # nested lists and objects; deeper ones exhaust the stack of what reads them


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


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text of unknown origin.

    Raises:
        ValueError: not UTF-8 or not JSON; more than 64 MiB or 64 levels; NaN, infinity or half of a surrogate pair.
    Source: RFC 8259, sections 8 and 9.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"more than {MAX_JSON_BYTES >> 20} MiB of JSON")
    try:
        text = text if isinstance(text, str) else text.decode("utf-8-sig")
        value = json.loads(text.removeprefix("\ufeff"), parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"more than {MAX_JSON_DEPTH} nested lists or objects") from None
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [part for node in level for part in _parts(node)]
    if any(isinstance(node, (dict, list)) for node in level):
        raise ValueError(f"more than {MAX_JSON_DEPTH} nested lists or objects")
    if "\\ud" in text.lower():  # a surrogate's escape; half of a pair can't be encoded
        json.dumps(value, ensure_ascii=False).encode()
    return value


def load_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The value in a JSON file of unknown origin.

    Raises:
        OSError: no regular file, or one that can't be read.
        ValueError: as `parse_json`, or a file of more than `max_bytes`.
    """
    return parse_json(read_small(path, max_bytes))


def read_small(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file; devices and pipes are refused, since reading them might never end.

    Raises:
        OSError: no regular file, or one that can't be read.
        ValueError: more than `max_bytes`.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path} is not a regular file")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"more than {max_bytes >> 10} KiB")
    return content


def read_json(path: Path, cure: str) -> dict[str, Any]:
    """JSON object in a file.

    Raises:
        ModelError: the file is missing or holds something else; the message ends with `cure`.
    """
    try:
        tree = load_json(path)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; {cure}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not readable JSON ({reason(error)}); {cure}") from None
    if not isinstance(tree, dict):
        raise ModelError(f"{path} holds no JSON object; {cure}")
    return tree


def _parts(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is too large")
    return number
