"""Interrupt saves at every write, sync and rename, and load what is on the disk.

    python -m benchmarks.robustness.interrupts

Before each call that changes the disk, and after the last, the folder is copied as a power failure would leave it:
files that were not synced are cut in half. Every copy must load as the old version or the new one, whole, and the new
version must not be lost again. The next start must leave nothing temporary. Copies that differ only in temporary files,
which no loader reads, are loaded once.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.robustness.small import make_config, make_transformer
from vitascope import files
from vitascope.files import lock_folder, replacing_folder, sha256, standing_folder, write_text
from vitascope.hub.find import find_model
from vitascope.hub.registry import load_model
from vitascope.train.loop import Checkpoint
from vitascope.train.run import Run, RunConfig
from vitascope.train.transformer import export

CALLS = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "chmod")  # of `os`; also those by pathlib, shutil

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp(\.\w+)?")


@dataclass(frozen=True)
class Save:
    """A way to save a numbered version in a folder and to load it; `folders` may hold leftovers."""

    name: str
    save: Callable[[Path, int], object]
    load: Callable[[Path], int]
    folders: tuple[str, ...] = ()


def main() -> int:
    """0, or 1 if an interruption lost or mixed versions."""
    parser = argparse.ArgumentParser(description="Interrupt saves at every write, sync and rename.")
    parser.parse_args()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        for exchanges in (True, False):
            for save in make_saves(Path(folder) / f"sources-{exchanges}"):
                failures += run(save, Path(folder) / f"{save.name}-{exchanges}", exchanges=exchanges)
    print(f"{len(failures)} failures")
    for failure in failures[:20]:
        print(f"  {failure}")
    return int(bool(failures))


def run(save: Save, folder: Path, *, exchanges: bool = True) -> list[str]:
    """Failures of a save that is interrupted at every moment. With exchanges=False the system can't swap folders."""
    work = folder / "work"
    work.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        if not exchanges:
            stack.enter_context(mock.patch.object(files, "_exchange", return_value=False))
        save.save(work, 1)
        with watched(work, folder / "moments") as moments:
            save.save(work, 2)
        failures, versions, loaded = [], [], dict[str, int]()
        for moment in moments:
            name = f"{save.name}{'' if exchanges else ' without exchange'}, {moment.name}"
            try:
                versions.append(_load_once(save, moment, loaded))
                with lock_folder(moment, *save.folders):
                    pass
                if _load_once(save, moment, loaded) != versions[-1]:
                    failures.append(f"{name}: the next start changed version {versions[-1]}")
            except Exception as error:
                failures.append(f"{name}: {type(error).__name__}: {error}")
            if left := [path.name for path in moment.rglob(".*tmp*")]:
                failures.append(f"{name}: leftovers {left}")
        if versions != sorted(versions) or versions[-1:] != [2]:
            failures.append(f"{save.name}: versions {versions}")
    way = "" if exchanges else " without exchange"
    print(
        f"{save.name}{way}: {len(moments)} interruptions, {versions.count(1)} load the old version, "
        f"{versions.count(2)} the new one",
        flush=True,
    )
    return failures


def _load_once(save: Save, folder: Path, loaded: dict[str, int]) -> int:
    """Version in a folder; `loaded` holds those of earlier calls by content, apart from temporary files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(TEMPORARY.fullmatch(part) for part in parts):
            digest.update(f"{'/'.join(parts)} {sha256(path)}\n".encode())
    key = digest.hexdigest()
    if key not in loaded:
        loaded[key] = save.load(folder)
    return loaded[key]


@contextlib.contextmanager
def watched(folder: Path, copies: Path) -> Iterator[list[Path]]:
    """Copies of a folder before each call that changes it, and after the last, as a power failure would leave them."""
    moments, synced = list[Path](), {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}

    def snapshot(call: str) -> None:
        copy = copies / f"{len(moments):03d}-{call}"
        moments.append(copy)
        shutil.copytree(folder, copy)
        for path in (each for each in folder.rglob("*") if each.is_file()):
            if path.stat().st_ino not in synced:
                os.truncate(copy / path.relative_to(folder), path.stat().st_size // 2)

    busy = False

    def watch(call: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal busy
            if busy:
                return original(*args, **kwargs)
            busy = True
            try:
                snapshot(call)
                if call == "fsync":
                    synced.add(os.fstat(args[0]).st_ino)
            finally:
                busy = False
            return original(*args, **kwargs)

        return called

    with contextlib.ExitStack() as stack:
        for call in CALLS:
            stack.enter_context(mock.patch.object(os, call, watch(call, getattr(os, call))))
        stack.enter_context(mock.patch.object(files, "_exchange", watch("exchange", files._exchange)))
        yield moments
        busy = True
    snapshot("end")


def make_saves(sources: Path) -> list[Save]:
    """Saves of a file, a folder, a checkpoint and a model."""
    sources.mkdir(parents=True)
    config = make_config(sources)
    networks = {version: make_transformer(config, seed=version) for version in (1, 2)}
    expected = {version: network.state_dict()["proj_out.weight"].half() for version, network in networks.items()}

    def save_folder(folder: Path, version: int) -> None:
        with replacing_folder(folder / "folder") as temporary:
            for name in ("a", "b"):
                (temporary / name).write_text(str(version) * 100)

    def load_folder(folder: Path) -> int:
        texts = {path.read_text() for path in standing_folder(folder / "folder").iterdir()}
        return {frozenset(str(version) * 100 for _ in "ab"): version for version in (1, 2)}[frozenset(texts)]

    def save_checkpoint(folder: Path, version: int) -> None:
        tensors = {"model": {"w": torch.full((64,), float(version))}}
        Run(folder, RunConfig(data="clips")).save(Checkpoint(version, tensors, {}), keep=1)

    def load_checkpoint(folder: Path) -> int:
        checkpoint = Run(folder, RunConfig(data="clips")).resume()
        return 0 if checkpoint is None else int(checkpoint.tensors["model"]["w"].mean())

    def save_model(folder: Path, version: int) -> None:
        write_text(folder / "config.toml", "checkpoint_every = 1\n[transformer]\n")
        export(networks[version], config, folder / "model", {"steps": version}, reuse=version > 1)

    def load_run(folder: Path) -> int:
        model = load_model(find_model(folder))
        version = int(model.config.training["steps"])
        if not torch.equal(model.transformer.state_dict()["proj_out.weight"].half(), expected[version]):
            raise ValueError(f"weights of another version than {version}")
        return version

    return [
        Save("file", lambda folder, v: write_text(folder / "a.txt", str(v) * 100), _load_file),
        Save("folder", save_folder, load_folder),
        Save("checkpoint", save_checkpoint, load_checkpoint, ("checkpoints",)),
        Save("export", save_model, load_run),
    ]


def _load_file(folder: Path) -> int:
    return {str(version) * 100: version for version in (1, 2)}[(folder / "a.txt").read_text()]


if __name__ == "__main__":
    sys.exit(main())
