"""A cache of generated videos, from which an interrupted evaluation resumes.

A cache folder has the layout that `vitascope prepare videos` reads: `NAME.mp4`, and `metadata.jsonl` with a line
`{"file_name": "NAME.mp4", "prompt": "..."}` each. `made.json` records the settings. Lossless `NAME.npz` files replace
MP4 for videos measured to the pixel.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar
from zipfile import BadZipFile

import numpy as np

from vitascope.data.captioned_files import find_captioned_files
from vitascope.data.layout import CRF
from vitascope.data.production import OnProgress
from vitascope.errors import ConfigError, DatasetError, MediaError, reason
from vitascope.files import lock_folder, replacing, write_text
from vitascope.video import Video, read_video, write_video

# of a damaged archive, as NumPy, zipfile and zlib raise it
DAMAGE = (OSError, ValueError, LookupError, RuntimeError, EOFError, MemoryError, BadZipFile, zlib.error)
SETTINGS, PROMPTS = "made.json", "metadata.jsonl"
SUBFOLDERS = ("model", "renders")  # of a report's folder, for the videos of each


T = TypeVar("T")


@dataclass(frozen=True)
class VideoJob(Generic[T]):
    """A video to generate: its file's stem, its prompt, and its request."""

    name: str
    prompt: str
    request: T


def generate_missing(
    jobs: Sequence[VideoJob[T]],
    run: Callable[[T], Video],
    folder: Path,
    settings: Mapping[str, Any],
    on_progress: OnProgress | None = None,
    *,
    exact: bool = False,
) -> dict[str, Path]:
    """The files of all jobs by name. `run` generates missing ones from the job's request; progress counts them.

    Files are MP4, or lossless with `exact`; `read_cached` reads both.

    Raises:
        ConfigError: the folder holds videos made with other settings.
    """
    _claim(folder, settings)
    if not exact:
        write_prompts(jobs, folder)
    paths = {job.name: folder / f"{job.name}{'.npz' if exact else '.mp4'}" for job in jobs}
    missing = [job for job in jobs if not paths[job.name].is_file()]
    for done, job in enumerate(missing, start=1):
        video, path = run(job.request), paths[job.name]
        if exact:
            with replacing(path) as temporary:
                np.savez_compressed(temporary, frames=video.frames, fps=float(video.fps))
        else:
            write_video(video, path, crf=CRF)
        if on_progress is not None:
            on_progress(done, len(missing))
    return paths


def read_cached(path: Path) -> Video:
    """A video that `generate_missing` wrote.

    Raises:
        MediaError: the file can't be read.
    """
    if path.suffix != ".npz":
        return read_video(path)
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return Video(stored["frames"], float(stored["fps"]))
    except DAMAGE as error:
        raise MediaError(f"{path} can't be read: {reason(error)}; delete it to generate it again") from None


def write_prompts(jobs: Sequence[VideoJob[Any]], folder: Path) -> Path:
    """Write the jobs' names and prompts to metadata.jsonl and return the folder."""
    lines = (json.dumps({"file_name": f"{job.name}.mp4", "prompt": job.prompt}, ensure_ascii=False) for job in jobs)
    write_text(folder / PROMPTS, "".join(f"{line}\n" for line in lines))
    return folder


def find_videos(folder: Path, prompts: Mapping[str, str]) -> dict[str, Path]:
    """Videos in a folder whose caption is one of the prompts, by the prompt's name; prompts without one are left out.

    Captions may have any layout that `vitascope.data.captioned_files` reads.

    Raises:
        DatasetError: no such folder, or none of its videos has one of the prompts.
    """
    by_prompt: dict[str, list[Path]] = {}
    for source in find_captioned_files(folder).files:
        for text in (text for texts in source.captions.values() for text in texts):
            by_prompt.setdefault(text, []).append(source.path)
    found = {}
    for name, prompt in prompts.items():
        candidates = by_prompt.get(" ".join(prompt.split()), [])
        if candidates:  # equal prompts have one video each
            found[name] = next((path for path in candidates if path.stem == name), candidates[0])
    if not found:
        raise DatasetError(f"no video in {folder} has one of the {len(prompts)} prompts as its caption")
    return found


def fingerprint(model: Path) -> str:
    """A digest of a model's folder: of its JSON files and its weights' sizes.

    Our weights have their SHA-256 in the JSON file next to them.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in model.rglob("*") if path.suffix in (".json", ".safetensors")):
        digest.update(path.relative_to(model).as_posix().encode())
        digest.update(path.read_bytes() if path.suffix == ".json" else str(path.stat().st_size).encode())
    return digest.hexdigest()[:16]


@contextmanager
def cache_folder(out: Path | None) -> Iterator[Path]:
    """The report's folder, which no other command may use meanwhile, or a temporary one without it.

    Raises:
        FolderInUseError: another command writes into the folder.
    """
    if out is not None:
        with lock_folder(out, *SUBFOLDERS):
            yield out
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def _claim(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / SETTINGS
    text = json.dumps(dict(settings), indent=2, ensure_ascii=False) + "\n"
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        raise ConfigError(f"{folder} holds videos made with other settings ({path}); give another --out")
    write_text(path, text)
