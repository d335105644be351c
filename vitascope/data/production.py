"""Production of numbered clips in parallel processes, shared by all simulated worlds.

Clip k depends on the settings and k alone, so interruptions and the number of processes don't change the result.
"""

from __future__ import annotations

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
from pydantic import Field, field_validator

from vitascope.config import Config
from vitascope.data.layout import CRF, media_path, parse_size
from vitascope.data.maps import maps_path, write_maps
from vitascope.errors import RenderError
from vitascope.files import load_json
from vitascope.video import Video, VideoWriter, write_video
from vitascope.video.shape import VideoShape
from vitascope.worlds.frame import Frame, TruthMap, stack_maps
from vitascope.worlds.splits import Split

MAX_ASPECT = 4  # in narrower pictures the camera is so far away that the actors are tiny
MAX_CLIPS = 1_000_000  # names have six digits

OnProgress = Callable[[int, int], None]


class ProductionConfig(Config):
    """Settings of a production. Sizes (in pixels), lengths and rates are drawn uniformly."""

    num_clips: int = Field(1000, ge=1, le=MAX_CLIPS)
    seed: int = Field(0, ge=0, lt=2**31)
    image_share: float = Field(0.2, ge=0, le=1)
    sizes: tuple[str, ...] = ("64x64", "64x64", "80x48", "48x80", "64x48", "48x64")
    num_frames: tuple[int, ...] = (17, 17, 9)
    fps: tuple[float, ...] = (8.0,)
    split: Split = "train"
    held_out_share: float = Field(0.1, ge=0, lt=1)
    truth: tuple[TruthMap, ...] = ()  # ground truth per pixel, stored next to each clip

    @field_validator("sizes")
    @classmethod
    def _check_sizes(cls, sizes: tuple[str, ...]) -> tuple[str, ...]:
        for size in sizes:
            sides = parse_size(size)
            if max(sides) > MAX_ASPECT * min(sides):
                raise ValueError(f"size {size!r} is more elongated than {MAX_ASPECT}:1; choose more similar sides")
        return sizes

    @field_validator("num_frames")
    @classmethod
    def _check_num_frames(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= length <= 100_000 for length in lengths):
            raise ValueError(f"num_frames {lengths}: each must be 1 to 100000")
        return lengths

    @field_validator("fps")
    @classmethod
    def _check_fps(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if not all(1 <= rate <= 120 for rate in rates):
            raise ValueError(f"fps {rates}: each must be 1 to 120")
        return rates

    @field_validator("sizes", "num_frames", "fps")
    @classmethod
    def _check_not_empty(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if not values:
            raise ValueError("the list is empty; give at least one value")
        return values

    def settings(self) -> dict[str, Any]:
        """The fields as `dataset.json` holds them; `truth` is null without maps, as in older folders."""
        return {**self.model_dump(mode="json"), "truth": list(self.truth) or None}

    def scene_seed(self, k: int) -> int:
        """Seed of clip k's scene, from the dataset's seed and k alone."""
        return self.seed * 10_000_000 + k

    def draw_shape(self, k: int) -> VideoShape:
        """Shape of clip k. An image starts in the middle of the action."""
        draw = np.random.default_rng([self.seed, k])
        is_image = draw.random() < self.image_share
        width, height = parse_size(self.sizes[draw.integers(len(self.sizes))])
        num_frames = self.num_frames[draw.integers(len(self.num_frames))]
        is_image = is_image or num_frames == 1
        fps = self.fps[draw.integers(len(self.fps))]
        start = float(draw.uniform(0.8, 2.0)) if is_image else 0.0
        return VideoShape(1 if is_image else num_frames, fps, height, width, start)


def record_path(out: Path, k: int) -> Path:
    """Path of clip k's record; its media file is in the same folder."""
    return out / "clips" / f"{k:06d}.json"


def missing_clips(out: Path, num_clips: int) -> list[int]:
    """Numbers of the clips that a folder lacks."""
    return [k for k in range(num_clips) if not _is_made(record_path(out, k))]


def write_frames(frames: Iterable[Frame], record: Path, shape: VideoShape) -> list[dict[str, Any]]:
    """Write frames to a clip's media file as they arrive, and their maps; return the ground truth of each."""
    path = media_path(record, shape.num_frames)
    if shape.is_image:
        (frame,) = frames
        write_video(Video(frame.pixels[None], shape.fps), path)
        truths, maps = [frame.truth], [frame.maps]
    else:
        truths, maps = [], []
        with VideoWriter(path, shape.fps, shape.height, shape.width, CRF) as writer:
            for frame in frames:
                writer.write(frame.pixels)
                truths.append(frame.truth)
                maps.append(frame.maps)
    if any(each is not None for each in maps[0]):
        write_maps(stack_maps(maps), maps_path(record))
    return truths


def produce(
    make: Callable[[int], Path],
    missing: list[int],
    num_clips: int,
    num_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Produce the missing clips. `make(k)` writes clip k, its record last, and must be picklable.

    There is one process per core by default. `on_progress` is called with (clips done, clips in total). Processes are
    spawned, so scripts that call this need `if __name__ == "__main__":`.

    Raises:
        RenderError: a process died.
    """
    done = num_clips - len(missing)

    def report(finished: int) -> None:
        nonlocal done
        done += finished
        if on_progress is not None:
            on_progress(done, num_clips)

    report(0)
    workers = min(num_workers or os.cpu_count() or 1, len(missing))
    if workers > 1:
        _make_in_processes(make, missing, workers, report)
    else:
        for k in missing:
            make(k)
            report(1)


def _is_made(record: Path) -> bool:
    """True if a clip is complete: its record is readable and its media file exists."""
    try:
        found = load_json(record)
        is_complete = not found.get("maps") or maps_path(record).is_file()
        return is_complete and media_path(record, found["num_frames"]).is_file()
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return False


def _make_in_processes(
    make: Callable[[int], Path], missing: list[int], num_workers: int, report: Callable[[int], None]
) -> None:
    spawn = get_context("spawn")  # an OpenGL context doesn't survive a fork
    clips, running = iter(missing), set[Future[Path]]()
    pool = ProcessPoolExecutor(num_workers, spawn, initializer=_exit_with_parent)
    try:
        while True:
            with _interrupts_held_back():  # one queued clip keeps every process busy; more would delay Ctrl-C
                free = num_workers + 1 - len(running)
                running |= {pool.submit(make, k) for k in islice(clips, free)}
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for clip in finished:
                clip.result()
            report(len(finished))
    except BrokenProcessPool:
        raise RenderError(
            "a rendering process died, perhaps out of memory; finished clips are kept, run it again with fewer workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)  # running clips are finished


def _exit_with_parent() -> None:
    """Exit this process when its parent has ended for any reason."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Block SIGINT. Processes started inside inherit the mask, so only the parent handles Ctrl-C and stops them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
