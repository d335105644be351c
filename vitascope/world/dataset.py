"""Rendering a dataset: many clips, many processes, the same result however it is interrupted or divided."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from vitascope.config import Config
from vitascope.files import write_text
from vitascope.layout import CRF, claim, media_path, parse_size
from vitascope.video import Video, VideoWriter, write_video
from vitascope.world.captions import captions
from vitascope.world.render import Frame, render_frames
from vitascope.world.scene import WORLD_VERSION, Split, count_combinations, sample_scene
from vitascope.world.stage import RenderError, check_renderer

MAX_ASPECT = 4  # narrower pictures put the camera so far away that the actors are specks
MAX_CLIPS = 1_000_000  # names have six digits


class RenderConfig(Config):
    """What to render. Sizes, lengths and rates are drawn with equal shares; widths and heights in pixels."""

    num_clips: int = Field(1000, ge=1, le=MAX_CLIPS)
    seed: int = Field(0, ge=0, lt=2**31)
    image_share: float = Field(0.2, ge=0, le=1)
    sizes: tuple[str, ...] = ("64x64", "64x64", "80x48", "48x80", "64x48", "48x64")
    num_frames: tuple[int, ...] = (17, 17, 9)
    fps: tuple[float, ...] = (8.0,)
    split: Split = "train"
    held_out_share: float = Field(0.1, ge=0, lt=1)

    @field_validator("sizes")
    @classmethod
    def _sizes_can_be_drawn(cls, sizes: tuple[str, ...]) -> tuple[str, ...]:
        for size in sizes:
            sides = parse_size(size)
            if max(sides) > MAX_ASPECT * min(sides):
                raise ValueError(f"size {size!r}: one side is more than {MAX_ASPECT} times the other")
        return sizes

    @field_validator("num_frames")
    @classmethod
    def _lengths_are_sane(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= length <= 100_000 for length in lengths):
            raise ValueError(f"num_frames {lengths}: each must be 1 to 100000")
        return lengths

    @field_validator("fps")
    @classmethod
    def _rates_are_sane(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if not all(1 <= rate <= 120 for rate in rates):
            raise ValueError(f"fps {rates}: each must be 1 to 120")
        return rates

    @model_validator(mode="after")
    def _has_combinations(self) -> RenderConfig:
        if count_combinations(self.split, self.held_out_share) == 0:
            raise ValueError(f"held_out_share {self.held_out_share} leaves no combination for the split {self.split!r}")
        return self

    @field_validator("sizes", "num_frames", "fps")
    @classmethod
    def _not_empty(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if not values:
            raise ValueError("at least one value is needed")
        return values


OnProgress = Callable[[int, int], None]


def render_dataset(
    config: RenderConfig, out: str | Path, num_workers: int | None = None, on_progress: OnProgress | None = None
) -> Path:
    """Render the clips that a folder lacks; each is a media file and, written last, its record. Returns the folder.

    Clip k of a seed is the same clip whatever `num_clips`, the number of processes (default: one a core) and the
    interruptions. `on_progress` is called with (clips done, clips in all). More than one process is started anew, so
    a script that calls this needs `if __name__ == "__main__":`.

    Raises:
        ConfigError: the folder was rendered with another config.
        RenderError: nothing to render with, or a process died.
    """
    out = Path(out)
    missing = [k for k in range(config.num_clips) if not _is_rendered(_record_path(out, k))]
    if missing:
        check_renderer()
    claim(out, {"world_version": WORLD_VERSION, **config.model_dump(mode="json")}, may_grow="num_clips")
    done = config.num_clips - len(missing)

    def report(finished: int) -> None:
        nonlocal done
        done += finished
        if on_progress is not None:
            on_progress(done, config.num_clips)

    report(0)
    workers = min(num_workers or os.cpu_count() or 1, len(missing))
    if workers > 1:
        _render_in_processes(config, missing, out, workers, report)
    else:
        for k in missing:
            render_clip(config, k, out)
            report(1)
    return out


def render_clip(config: RenderConfig, k: int, out: Path) -> Path:
    """Render clip k of a dataset and write it; the path of its record."""
    draw = np.random.default_rng([config.seed, k])
    scene = sample_scene(config.seed * 10_000_000 + k, config.split, config.held_out_share)
    is_image = draw.random() < config.image_share
    width, height = parse_size(config.sizes[draw.integers(len(config.sizes))])
    num_frames = config.num_frames[draw.integers(len(config.num_frames))]
    is_image = is_image or num_frames == 1
    num_frames = 1 if is_image else num_frames
    fps = config.fps[draw.integers(len(config.fps))]
    start = float(draw.uniform(0.8, 2.0)) if is_image else 0.0
    frames = render_frames(scene, num_frames=num_frames, fps=fps, height=height, width=width, start=start)
    path = _record_path(out, k)
    truth = _write_media(frames, media_path(path, num_frames), fps, height, width)
    record = {
        "id": path.stem,
        "seed": scene.seed,
        "num_frames": num_frames,
        "fps": fps,
        "height": height,
        "width": width,
        "captions": captions(scene, is_image=is_image),
        "attributes": scene.attributes(),
        "scene": scene.as_dict(),
        "truth": {"fps": fps, "frames": truth},
    }
    write_text(path, json.dumps(record, ensure_ascii=False) + "\n")
    return path


def _write_media(frames: Iterable[Frame], path: Path, fps: float, height: int, width: int) -> list[dict[str, Any]]:
    """Write the frames as they come; the truth of each."""
    if path.suffix == ".png":
        (frame,) = frames
        write_video(Video(frame.pixels[None], fps), path)
        return [frame.truth]
    truth = []
    with VideoWriter(path, fps, height, width, CRF) as writer:
        for frame in frames:
            writer.write(frame.pixels)
            truth.append(frame.truth)
    return truth


def _record_path(out: Path, k: int) -> Path:
    return out / "clips" / f"{k:06d}.json"


def _is_rendered(record: Path) -> bool:
    """Whether a clip is there whole; a record that can't be read, or has lost its media, is rendered again."""
    try:
        found = json.loads(record.read_bytes())
        return media_path(record, found["num_frames"]).is_file()
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return False


def _render_in_processes(
    config: RenderConfig, missing: list[int], out: Path, num_workers: int, report: Callable[[int], None]
) -> None:
    spawn = get_context("spawn")  # an OpenGL context doesn't survive a fork
    clips, running = iter(missing), set[Future[Path]]()
    pool = ProcessPoolExecutor(num_workers, spawn, initializer=_leave_with_parent)
    try:
        while True:
            with _interrupts_held_back():  # one clip in waiting keeps every process busy; more would delay a Ctrl-C
                free = num_workers + 1 - len(running)
                running |= {pool.submit(render_clip, config, k, out) for k in islice(clips, free)}
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for clip in finished:
                clip.result()
            report(len(finished))
    except BrokenProcessPool:
        raise RenderError(
            "a rendering process died (out of memory?); the finished clips are kept: run it again, with fewer workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)  # each process still finishes its clip


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits for the end of this block; processes started in it never hear it, and their parent stops them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
