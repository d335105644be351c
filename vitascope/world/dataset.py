"""Rendering a dataset: many clips, many processes, the same result however it is interrupted or divided."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from vitascope.config import Config
from vitascope.errors import ConfigError
from vitascope.files import write_text
from vitascope.video import write_video
from vitascope.world.captions import captions
from vitascope.world.render import render_scene
from vitascope.world.scene import WORLD_VERSION, Split, sample_scene

CRF = 12  # close to lossless at these sizes
MAX_SIDE = 2048


class RenderConfig(Config):
    """What to render. Sizes, lengths and rates are drawn with equal shares; widths and heights in pixels."""

    num_clips: int = Field(1000, ge=1, le=10_000_000)
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
            match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", size)
            if not match or not all(16 <= int(side) <= MAX_SIDE and int(side) % 2 == 0 for side in match.groups()):
                raise ValueError(f"size {size!r}: write WIDTHxHEIGHT, both even and 16 to {MAX_SIDE}")
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
    interruptions. `on_progress` is called with (clips done, clips in all).

    Raises:
        ConfigError: the folder was rendered with another config.
        RenderError: nothing to render with.
    """
    out = Path(out)
    _claim(out, config)
    missing = [k for k in range(config.num_clips) if not (out / "clips" / f"{k:06d}.json").exists()]
    done = config.num_clips - len(missing)
    if on_progress is not None:
        on_progress(done, config.num_clips)
    workers = min(num_workers or os.cpu_count() or 1, len(missing))
    if workers <= 1:
        for k in missing:
            render_clip(config, k, out)
            done += 1
            if on_progress is not None:
                on_progress(done, config.num_clips)
        return out
    # spawn: an OpenGL context doesn't survive a fork
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        chunks = [missing[start : start + 16] for start in range(0, len(missing), 16)]
        futures = [pool.submit(_render_clips, config, chunk, out) for chunk in chunks]
        try:
            for future in as_completed(futures):
                done += future.result()
                if on_progress is not None:
                    on_progress(done, config.num_clips)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return out


def render_clip(config: RenderConfig, k: int, out: Path) -> Path:
    """Render clip k of a dataset and write it; the path of its record."""
    draw = np.random.default_rng([config.seed, k])
    scene = sample_scene(config.seed * 10_000_000 + k, config.split, config.held_out_share)
    is_image = draw.random() < config.image_share
    width, height = (int(side) for side in config.sizes[draw.integers(len(config.sizes))].split("x"))
    num_frames = 1 if is_image else config.num_frames[draw.integers(len(config.num_frames))]
    fps = config.fps[draw.integers(len(config.fps))]
    start = float(draw.uniform(0.8, 2.0)) if is_image else 0.0
    rendered = render_scene(scene, num_frames=num_frames, fps=fps, height=height, width=width, start=start)
    name = f"{k:06d}"
    path = out / "clips" / f"{name}.json"
    write_video(rendered.video, path.with_suffix(".png" if num_frames == 1 else ".mp4"), crf=CRF)
    record = {
        "id": name,
        "seed": scene.seed,
        "num_frames": num_frames,
        "fps": fps,
        "height": height,
        "width": width,
        "captions": captions(scene, is_image=num_frames == 1),
        "attributes": scene.attributes(),
        "scene": scene.as_dict(),
        "truth": rendered.truth,
    }
    write_text(path, json.dumps(record, ensure_ascii=False) + "\n")
    return path


def _render_clips(config: RenderConfig, numbers: list[int], out: Path) -> int:
    for k in numbers:
        render_clip(config, k, out)
    return len(numbers)


def _claim(out: Path, config: RenderConfig) -> None:
    """Write dataset.json, or check that the one there fits; more clips of the same kind may be added."""
    wanted = {"world_version": WORLD_VERSION, **config.model_dump(mode="json")}
    path = out / "dataset.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in wanted if key != "num_clips" and found.get(key) != wanted[key]]
        if differing:
            raise ConfigError(f"{out} was rendered with another {', '.join(differing)}; choose another --out")
    (out / "clips").mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(wanted, indent=2) + "\n")
