"""Count the files of the package whose functions run for one task.

    python scripts/trace_files.py load --max 8
    python scripts/trace_files.py prompt --max 30
    python scripts/trace_files.py clip --max 35

`load` loads a model; `prompt` turns one prompt into a video file, with a model that is loaded; `clip` trains a small
transformer for one step, from a folder of clips that the script draws. Importing a file doesn't count, calling a
function in it does.

In `load`, the files that define the networks and their layers are listed but not counted: loading calls their
constructors, and all else that it does is elsewhere.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vitascope"
NETWORKS = ("vitascope/codec/", "vitascope/model/", "vitascope/kernels/")
BUNDLED = PACKAGE / "models" / "playground"


def main() -> int:
    """0, or 1 if more than `--max` files ran."""
    parser = argparse.ArgumentParser(description="Count the files of the package whose functions run for one task.")
    parser.add_argument("task", choices=("load", "prompt", "clip"))
    parser.add_argument("--max", type=int, metavar="N", help="exit 1 if more files than N run")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        run = {"load": prepare_load, "prompt": prepare_prompt, "clip": prepare_clip}[options.task](Path(folder))
        files = trace(run)
    networks = {path for path in files if options.task == "load" and path.startswith(NETWORKS)}
    for path in sorted(files):
        print(f"{path}  network" if path in networks else path)
    count = len(files) - len(networks)
    print(f"{options.task}: {count} files" + (f", and {len(networks)} of networks" if networks else ""))
    return int(options.max is not None and count > options.max)


def trace(run: Callable[[], object]) -> set[str]:
    """Files whose functions ran, by their path in the repository."""
    files: set[str] = set()

    def on_event(frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(str(PACKAGE)):
            return
        path = Path(frame.f_code.co_filename).relative_to(ROOT).as_posix()
        if path not in files and not _is_import(frame):
            files.add(path)

    threading.setprofile(on_event)
    sys.setprofile(on_event)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return files


def _is_import(frame: FrameType | None) -> bool:
    """True if this call is part of the import of a module."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename != __file__:
            return True
        frame = frame.f_back
    return False


def prepare_load(folder: Path) -> Callable[[], object]:
    """The task of loading the bundled model."""
    import vitascope

    return lambda: vitascope.load("playground", device="cpu", dtype="float32")


def prepare_prompt(folder: Path) -> Callable[[], object]:
    """The task of turning one prompt into a video file."""
    import vitascope
    from vitascope.generate.recording import record
    from vitascope.generate.requests import Generate

    pipeline = vitascope.load("playground", device="cpu", dtype="float32")
    request = {"prompt": "a red ball", "height": 32, "width": 32, "num_frames": 5, "num_steps": 2}
    return lambda: record(pipeline, Generate(**request), folder / "a.mp4")


def prepare_clip(folder: Path) -> Callable[[], object]:
    """The task of training a small transformer for one step, on clips drawn by the script."""
    import json

    import numpy as np

    from vitascope.train.transformer import train
    from vitascope.video import Video, write_video

    clips = folder / "data" / "clips"
    clips.mkdir(parents=True)
    for number in range(4):
        name = f"{number:06d}"
        write_video(Video(np.full((5, 32, 32, 3), 60 * number, np.uint8), 8.0), clips / f"{name}.mp4")
        record = {"id": name, "num_frames": 5, "height": 32, "width": 32, "fps": 8.0, "captions": {"en": ["a square"]}}
        (clips / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    config = folder / "small.toml"
    config.write_text(
        f"""
data = "{folder / "data"}"
vae = "{BUNDLED / "vae"}"
text_encoder = "{BUNDLED / "text_encoder"}"
steps = 1
num_validation = 1
captions_per_language = 1
pack_tokens = 128
[transformer]
in_channels = 64
out_channels = 64
patch = [1, 1, 1]
num_layers = 1
num_heads = 1
head_dim = 16
ffn_width = 16
text_width = 384
[pipeline]
name = "small"
solver = "euler"
"""
    )

    return lambda: train(config, folder / "run")


if __name__ == "__main__":
    sys.exit(main())
