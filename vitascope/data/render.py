"""Rendering a dataset of the simulated world: what is in each clip's files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from vitascope.data.layout import claim
from vitascope.data.production import OnProgress, ProductionConfig, missing_clips, produce, record_path, write_frames
from vitascope.files import remove_leftovers, write_text
from vitascope.worlds.solids.captions import captions, storyboards
from vitascope.worlds.solids.render import render_frames
from vitascope.worlds.solids.sampling import count_combinations, sample_scene
from vitascope.worlds.solids.scene import WORLD_VERSION, Scene
from vitascope.worlds.solids.stage import check_renderer


class RenderConfig(ProductionConfig):
    """What to render. Sizes, lengths and rates are drawn with equal shares; widths and heights in pixels.

    `variety` is how much goes on, see `sampling.sample_scene`.
    """

    variety: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _has_combinations(self) -> RenderConfig:
        if count_combinations(self.split, self.held_out_share) == 0:
            raise ValueError(f"held_out_share {self.held_out_share} leaves no combination for the split {self.split!r}")
        return self


def render_dataset(
    config: RenderConfig, out: str | Path, num_workers: int | None = None, on_progress: OnProgress | None = None
) -> Path:
    """Render the clips that a folder lacks; each is a media file and, written last, its record. Returns the folder.

    Clip k of a seed is the same clip whatever `num_clips`, the number of processes and the interruptions; see
    `production.produce`.

    Raises:
        ConfigError: the folder was rendered with another config.
        RenderError: nothing to render with, or a process died.
    """
    out = Path(out)
    missing = missing_clips(out, config.num_clips)
    if missing:
        check_renderer()
    claim(out, {"world_version": WORLD_VERSION, **config.model_dump(mode="json")}, may_grow="num_clips")
    remove_leftovers(record_path(out, 0).parent)
    produce(partial(render_clip, config, out=out), missing, config.num_clips, num_workers, on_progress)
    return out


def render_clip(config: RenderConfig, k: int, out: Path) -> Path:
    """Render clip k of a dataset and write it; the path of its record."""
    shape = config.draw_shape(k)
    scene = sample_scene(config.scene_seed(k), config.split, config.held_out_share, config.variety, shape.seconds)
    num_frames, fps, height, width, start = shape
    draw = partial(render_frames, scene, num_frames=num_frames, fps=fps, height=height, width=width)
    path = record_path(out, k)
    if shape.is_image:
        frames = [next(draw(start=start))]
        if not all(actor["area"] for actor in frames[0].truth["actors"]):  # hidden, or gone: at first all are there
            frames = [next(draw(start=0.0))]
    else:
        frames = draw(start=start)
    truth = write_frames(frames, path, shape)
    record = {
        "id": path.stem,
        "seed": scene.seed,
        "num_frames": num_frames,
        "fps": fps,
        "height": height,
        "width": width,
        "captions": captions(scene, is_image=shape.is_image),
        **told_by_shots(scene, num_frames),
        "attributes": scene.attributes(),
        "scene": scene.as_dict(),
        "truth": {"fps": fps, "frames": truth},
    }
    write_text(path, json.dumps(record, ensure_ascii=False) + "\n")
    return path


def told_by_shots(scene: Scene, num_frames: int) -> dict[str, Any]:
    """What the record of a clip of several shots says besides: the frames with which shots begin, and their texts."""
    cuts = scene.first_frames(num_frames)[1:]
    if not cuts or sorted({*cuts, num_frames}) != [*cuts, num_frames]:  # too few frames for all shots
        return {}
    told = {language: [each._asdict() for each in ways] for language, ways in storyboards(scene).items()}
    return {"cuts": cuts, "storyboards": told}
