"""Videos that are made once and kept: an evaluation that is interrupted goes on where it stopped.

A folder of kept videos has a form that `vitascope prepare videos` reads, too: `NAME.mp4`, and `metadata.jsonl` with
a line `{"file_name": "NAME.mp4", "prompt": "..."}` for each. `made.json` says how they were made. What is
to be measured to the pixel, which no MP4 keeps, is `NAME.npz` instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from vitascope.data.captioned_files import find_captioned_files
from vitascope.data.layout import CRF
from vitascope.data.production import OnProgress
from vitascope.errors import ConfigError, DatasetError, MediaError, reason
from vitascope.files import replacing, write_text
from vitascope.video import Video, read_video, write_video

SETTINGS, PROMPTS = "made.json", "metadata.jsonl"


class Order(NamedTuple):
    """A video to be made: its name, the prompt that it shows, and how."""

    name: str
    prompt: str
    make: Callable[[], Video]


def keep(
    orders: Sequence[Order],
    folder: Path,
    settings: Mapping[str, Any],
    on_progress: OnProgress | None = None,
    *,
    exact: bool = False,
) -> dict[str, Path]:
    """Each video's file by its name; those that the folder lacks are made, and counted by `on_progress`.

    They are MP4 files, or with `exact` hold every pixel; `read_kept` reads either.

    Raises:
        ConfigError: the folder's videos were made with other settings.
    """
    _claim(folder, settings)
    if not exact:
        write_prompts(orders, folder)
    paths = {order.name: folder / f"{order.name}{'.npz' if exact else '.mp4'}" for order in orders}
    missing = [order for order in orders if not paths[order.name].is_file()]
    for done, order in enumerate(missing, start=1):
        video, path = order.make(), paths[order.name]
        if exact:
            with replacing(path) as temporary:
                np.savez_compressed(temporary, frames=video.frames, fps=float(video.fps))
        else:
            write_video(video, path, crf=CRF)
        if on_progress is not None:
            on_progress(done, len(missing))
    return paths


def read_kept(path: Path) -> Video:
    """A video that `keep` wrote.

    Raises:
        MediaError: a file that can't be read.
    """
    if path.suffix != ".npz":
        return read_video(path)
    try:
        with np.load(path) as stored:
            return Video(stored["frames"], float(stored["fps"]))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise MediaError(f"{path} can't be read: {reason(error)}; delete it, and it is made again") from None


def write_prompts(orders: Sequence[Any], folder: Path) -> Path:
    """Write metadata.jsonl, which says what each `NAME.mp4` is to show; orders have a name and a prompt. The folder."""
    lines = (json.dumps({"file_name": f"{o.name}.mp4", "prompt": o.prompt}, ensure_ascii=False) for o in orders)
    write_text(folder / PROMPTS, "".join(f"{line}\n" for line in lines))
    return folder


def find_answers(folder: Path, prompts: Mapping[str, str]) -> dict[str, Path]:
    """The video that a folder has of each prompt, by the prompt's name; those without one are left out.

    Which prompt a video shows is told by its captions, in any layout that `vitascope.data.captioned_files` reads.

    Raises:
        DatasetError: no such folder, or no video of any of the prompts in it.
    """
    by_prompt: dict[str, list[Path]] = {}
    for source in find_captioned_files(folder).files:
        for text in (text for texts in source.captions.values() for text in texts):
            by_prompt.setdefault(text, []).append(source.path)
    found = {}
    for name, prompt in prompts.items():
        candidates = by_prompt.get(" ".join(prompt.split()), [])
        if candidates:  # of two prompts in the same words each has a video of its own
            found[name] = next((path for path in candidates if path.stem == name), candidates[0])
    if not found:
        raise DatasetError(f"no video in {folder} is captioned with one of the {len(prompts)} prompts asked for")
    return found


def fingerprint(model: Path) -> str:
    """What tells a model's folder from another: a digest of its JSON files and of its weights' sizes.

    The JSON beside weights of ours has their SHA-256.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in model.rglob("*") if path.suffix in (".json", ".safetensors")):
        digest.update(path.relative_to(model).as_posix().encode())
        digest.update(path.read_bytes() if path.suffix == ".json" else str(path.stat().st_size).encode())
    return digest.hexdigest()[:16]


def _claim(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / SETTINGS
    text = json.dumps(dict(settings), indent=2, ensure_ascii=False) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise ConfigError(f"{folder} holds videos that were made with other settings ({path}); choose another --out")
    write_text(path, text)
