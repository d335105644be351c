"""Datasets of the simulated world: rendered clips and their records."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from vitascope.data.layout import claim
from vitascope.data.production import OnProgress, ProductionConfig, missing_clips, produce, record_path, write_frames
from vitascope.files import lock_folder, write_text
from vitascope.video.shape import VideoShape
from vitascope.worlds.frame import Frame, RenderedClip, as_clip
from vitascope.worlds.solids.captions import captions, storyboards
from vitascope.worlds.solids.render import render_frames
from vitascope.worlds.solids.sampling import count_combinations, sample_scene
from vitascope.worlds.solids.scene import WORLD_VERSION, Scene
from vitascope.worlds.solids.stage import check_renderer


class RenderConfig(ProductionConfig):
    """Settings of a rendered dataset; see `sampling.sample_scene` for `variety`."""

    variety: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _check_combinations(self) -> RenderConfig:
        if count_combinations(self.split, self.held_out_share) == 0:
            raise ValueError(
                f"held_out_share {self.held_out_share} leaves the split {self.split!r} empty; choose another share"
            )
        return self


def render_dataset(
    config: RenderConfig, out: str | Path, num_workers: int | None = None, on_progress: OnProgress | None = None
) -> Path:
    """Render the clips that a folder lacks, and return the folder. A clip is a media file and its record.

    Clip k of a seed doesn't depend on `num_clips`, interruptions or the number of processes; see `production.produce`.

    Raises:
        ConfigError: the folder was rendered with another config.
        FolderInUseError: another command writes into the folder.
        RenderError: the renderer is missing, or a process died.
    """
    out = Path(out)
    with lock_folder(out, "clips"):
        missing = missing_clips(out, config.num_clips)
        if missing:
            check_renderer()
        claim(out, {"world_version": WORLD_VERSION, **config.settings()}, may_grow="num_clips")
        produce(partial(render_clip, config, out=out), missing, config.num_clips, num_workers, on_progress)
    return out


def draw_clip(config: RenderConfig, k: int) -> RenderedClip:
    """Clip k in memory, before compression, with the maps that `config.truth` names.

    It depends on the config and k alone: the same in every process, on one graphics driver. Render from one thread.

    Raises:
        RenderError: the renderer is missing.
    """
    _, shape, frames = _frames(config, k)
    return as_clip(list(frames), shape.fps)


def render_clip(config: RenderConfig, k: int, out: Path) -> Path:
    """Render and write clip k, and return the path of its record."""
    scene, shape, frames = _frames(config, k)
    num_frames, fps, height, width, _ = shape
    path = record_path(out, k)
    truth = write_frames(frames, path, shape)
    record = {
        "id": path.stem,
        "seed": scene.seed,
        "num_frames": num_frames,
        "fps": fps,
        "height": height,
        "width": width,
        "captions": captions(scene, is_image=shape.is_image),
        **shot_fields(scene, num_frames),
        "attributes": scene.attributes(),
        "scene": scene.as_dict(),
        **({"maps": list(config.truth)} if config.truth else {}),
        "truth": {"fps": fps, "frames": truth},
    }
    write_text(path, json.dumps(record, ensure_ascii=False) + "\n")
    return path


def _frames(config: RenderConfig, k: int) -> tuple[Scene, VideoShape, Iterable[Frame]]:
    """Scene, shape and frames of clip k."""
    shape = config.draw_shape(k)
    scene = sample_scene(config.scene_seed(k), config.split, config.held_out_share, config.variety, shape.seconds)
    num_frames, fps, height, width, start = shape
    draw = partial(render_frames, scene, num_frames=num_frames, fps=fps, height=height, width=width, maps=config.truth)
    if not shape.is_image:
        return scene, shape, draw(start=start)
    frame = next(draw(start=start))
    if not all(actor["area"] for actor in frame.truth["actors"]):
        frame = next(draw(start=0.0))  # an actor is hidden or has left; all are visible at time 0
    return scene, shape, [frame]


def shot_fields(scene: Scene, num_frames: int) -> dict[str, Any]:
    """Record fields of a clip with several shots: the first frames of all but the first, and the captions by shot."""
    cuts = scene.first_frames(num_frames)[1:]
    if not cuts or sorted({*cuts, num_frames}) != [*cuts, num_frames]:  # too few frames to show every shot
        return {}
    told = {language: [each._asdict() for each in ways] for language, ways in storyboards(scene).items()}
    return {"cuts": cuts, "storyboards": told}
