"""Files and folders: atomic replacement, locks, and JSON of unknown origin.

A replacement is written to a temporary name in the same folder, synced, then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from vitascope.errors import FolderInUseError, ModelError, VitascopeError, reason

LOCK = ".lock"
LOCKED_BYTE = 1 << 20  # on Windows; other processes can't read a locked byte
READ_ATTEMPTS = 20
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAX_JSON_BYTES = 64 << 20
MAX_DEPTH = 64  # nested lists and tables in JSON and TOML; deeper ones exhaust the stack of what reads them
TOO_DEEP = f"more than {MAX_DEPTH} nested lists or tables"

_OURS = re.compile(r"\.[0-9a-f]{16}\.tmp(\.\w+)?")  # temporary files and folders
_LEFTOVER = re.compile(r"\..+\.tmp(\.\w+)?|\.tmp\w{6}")  # also those of safetensors and of earlier versions
_OLD = re.compile(r"\.(.+?)(?:\.[0-9]+)?\.old\.tmp")  # a folder that was about to be replaced

T = TypeVar("T")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Temporary file in the same folder with the same suffix. It replaces `path` on exit and is removed on an error.

    An interruption at any moment leaves the old file or the new one. The new file's mode follows the umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp{path.suffix}")  # short: the longest allowed name works
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if os.name == "nt":  # Windows doesn't rename an open file
            os.close(descriptor)
        else:
            _try_lock(descriptor)  # tells `remove_leftovers` that the file is in use
        with _naming(path):
            yield temporary
            temporary.chmod(mode)
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        if os.name != "nt":
            os.close(descriptor)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Empty temporary folder in the same parent. It replaces `path` on exit and is removed on an error.

    An interruption at any moment leaves the old folder or the new one, whole. Where the system can't exchange two
    folders, the old one may have another name for a moment: `standing_folder` finds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    temporary.mkdir()
    try:
        with _naming(path):
            yield temporary
            for file in temporary.rglob("*"):
                sync(file)
            sync(temporary)
            _replace_folder(path, temporary)
            sync(path.parent)
    finally:
        _remove(temporary)


def standing_folder(path: Path) -> Path:
    """`path`, or the complete folder with another name that a killed `replacing_folder` left in its place."""
    old = _old_folder(path)
    return old if not path.exists() and old.is_dir() else path


def read_stable(folder: Path, read: Callable[[Path], T]) -> T:
    """Result of `read(folder)`, from one version of a folder that `replacing_folder` may replace meanwhile.

    Raises:
        ModelError: the folder was replaced during each of many attempts; further errors are those of `read`.
    """
    for _ in range(READ_ATTEMPTS):
        before, standing = _identity(folder), standing_folder(folder)
        try:
            value = read(standing)
        except (VitascopeError, OSError):
            if _identity(folder) == before:
                raise
            continue
        if _identity(folder) == before:
            return value
    raise ModelError(f"{folder} was replaced {READ_ATTEMPTS} times while it was read; try again")


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        return (status := folder.stat()).st_dev, status.st_ino
    except OSError:
        return None


def _old_folder(path: Path) -> Path:
    return path.parent / f".{path.name}.old.tmp"  # also of "."


def _replace_folder(path: Path, new: Path) -> None:
    """Rename `new` to `path`; a folder that is there is removed after that."""
    old = _old_folder(path)
    if not os.path.lexists(path):
        new.rename(path)
    elif not _exchange(new, path):
        _remove(old)
        path.rename(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise
    _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders' names in one step; False if the system can't."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if hasattr(library, "renameat2"):  # Linux; -100 is AT_FDCWD, 2 is RENAME_EXCHANGE
        failed = library.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)
    elif hasattr(library, "renamex_np"):  # macOS; 2 is RENAME_SWAP
        failed = library.renamex_np(os.fsencode(one), os.fsencode(other), 2)
    else:
        return False
    if failed and ctypes.get_errno() not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
    return not failed


def _remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if there is one and the system allows it."""
    with suppress(OSError):
        path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the file's name to errors such as a full disk's, which name none."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
        raise


def remove_leftovers(folder: Path, *, is_locked: bool = False) -> None:
    """Remove temporary files and folders that killed processes left in a folder.

    Without a lock on the folder, files of live processes stay; with it, nothing temporary is in use.
    """
    for path in list(folder.glob(".*tmp*")) if folder.is_dir() else ():
        if is_locked and (match := _OLD.fullmatch(path.name)) and not (original := folder / match[1]).exists():
            path.rename(original)
        elif (is_locked and _LEFTOVER.fullmatch(path.name)) or (_OURS.fullmatch(path.name) and _is_abandoned(path)):
            _remove(path)


def _is_abandoned(path: Path) -> bool:
    """True if no process writes to a temporary file."""
    try:
        age = time.time() - path.stat().st_mtime
        if os.name == "nt" or not path.is_file():
            return age > 24 * 3600
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return age > 60 and _try_lock(descriptor)  # a new file's writer may still be about to lock it
        finally:
            os.close(descriptor)
    except OSError:  # its owner removed it, or it is another user's
        return False


@contextmanager
def lock_folder(folder: Path, *parts: str, wait: bool = False) -> Iterator[None]:
    """Exclusive use of a folder, which is created if missing, until the block or the process ends.

    Leftovers of killed processes are removed first, from the folder and its subfolders `parts`.

    Raises:
        FolderInUseError: another command uses the folder. With `wait`, its end is awaited instead.
    """
    is_new = not folder.exists()
    descriptor = _lock_file(folder / LOCK, wait=wait)
    try:
        for part in ("", *parts):
            remove_leftovers(folder / part, is_locked=True)
        yield
    finally:
        if os.name == "nt":  # Windows doesn't remove an open file
            os.close(descriptor)
            _remove(folder / LOCK)
        else:
            _remove(folder / LOCK)
            os.close(descriptor)
        if is_new:
            with suppress(OSError):  # not empty: the usual case
                folder.rmdir()


def _lock_file(path: Path, *, wait: bool) -> int:
    """Descriptor of a lock file that this process has locked."""
    is_noted = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if _try_lock(descriptor):
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    with suppress(OSError):  # a full disk; the number is only for messages
                        os.ftruncate(descriptor, 0)
                        os.write(descriptor, str(os.getpid()).encode())
                    return descriptor
            os.close(descriptor)  # the last user removed the file before it was locked here
            continue
        holder = os.read(descriptor, 20).decode("ascii", "replace")
        os.close(descriptor)
        in_use = f"{path.parent} is in use by another command (process {holder or 'unknown'})"
        if not wait:
            raise FolderInUseError(f"{in_use}; wait until it ends, or choose another folder")
        if not is_noted:
            print(f"{in_use}; waiting until it ends", file=sys.stderr, flush=True)
        is_noted = True
        time.sleep(0.5)


def _try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; False if another process has locked it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL):
            return True  # a file system without locks
        raise
    return True


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Append to a UTF-8 file. Not atomic: a killed process may leave part of the text.

    Raises:
        OSError: the file can't be written; the error of a full disk names it.
    """
    with _naming(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


def write_tensors(path: Path, tensors: Mapping[str, Any], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file whose mode follows the umask. Not atomic: use `replacing` or `replacing_folder`.

    Raises:
        OSError: the file can't be written, such as on a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)  # safetensors 0.8 creates files as 0600
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)
    except SafetensorError as error:  # it holds the system's error as text only
        code = re.search(r"\(os error ([0-9]+)\)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number) if code else reason(error), str(path)) from None
    path.chmod(mode)


def sha256(path: Path) -> str:
    """SHA-256 of a file as a hexadecimal string."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows can't open a folder for syncing
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
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
        raise ValueError(TOO_DEEP) from None
    for _ in walk(value):  # checks the depth
        pass
    if "\\ud" in text.lower():  # a surrogate's escape; half of a pair can't be encoded
        json.dumps(value, ensure_ascii=False).encode()
    return value


def walk(tree: Any) -> Iterator[Any]:
    """Yield a parsed JSON or TOML value and all values in it, level by level.

    Raises:
        ValueError: more than 64 levels.
    """
    level = [tree]
    for _ in range(MAX_DEPTH):
        yield from level
        level = [part for node in level for part in _parts(node)]
    if any(isinstance(node, (dict, list)) for node in level):
        raise ValueError(TOO_DEEP)
    yield from level


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
