"""Datasets of animated emoji: rendered clips and their records."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from vitascope.data.emoji_packages import digest, find_characters
from vitascope.data.layout import claim
from vitascope.data.production import OnProgress, ProductionConfig, missing_clips, produce, record_path, write_frames
from vitascope.errors import ConfigError
from vitascope.files import lock_folder, write_text
from vitascope.worlds.emoji.captions import captions
from vitascope.worlds.emoji.drawing import draw_frames, draw_scene
from vitascope.worlds.emoji.scene import EMOJI_VERSION, Scene, has_combinations, sample_scene
from vitascope.worlds.frame import RenderedClip


def prepare_emoji(
    source: str | Path,
    out: str | Path,
    config: ProductionConfig,
    num_workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Render the clips of emoji below `source` that a folder lacks, and return the folder.

    Clip k of a seed doesn't depend on `num_clips`, interruptions or the number of processes; see `production.produce`.

    Raises:
        ConfigError: the folder was rendered with another config or from other emoji, or the split is empty.
        DatasetError: packages are missing.
        FolderInUseError: another command writes into the folder.
        MediaError: an animation can't be decoded.
        RenderError: a process died.
    """
    source, out = Path(source), Path(out)
    import PIL  # noqa: F401 (fail without Pillow before anything is written)

    characters = find_characters(source)
    if not has_combinations(characters, config.split, config.held_out_share):
        raise ConfigError(
            f"held_out_share {config.held_out_share} leaves the split {config.split!r} empty; choose another share"
        )
    provenance = {"kind": "emoji", "emoji_version": EMOJI_VERSION, "characters": digest(characters)}
    make = partial(prepare_clip, config, source=source, out=out)
    with lock_folder(out, "clips"):
        claim(out, {**provenance, **config.settings()}, may_grow="num_clips")
        produce(make, missing_clips(out, config.num_clips), config.num_clips, num_workers, on_progress)
    return out


def draw_clip(config: ProductionConfig, k: int, source: Path) -> RenderedClip:
    """Clip k in memory, before compression, with the maps that `config.truth` names; from config, k and emoji alone.

    Raises:
        DatasetError, MediaError: as `prepare_emoji`.
    """
    shape = config.draw_shape(k)
    scene = sample_scene(find_characters(source), config.scene_seed(k), config.split, config.held_out_share)
    return draw_scene(scene, shape, config.truth)


def prepare_clip(config: ProductionConfig, k: int, source: Path, out: Path) -> Path:
    """Render and write clip k, and return the path of its record."""
    shape = config.draw_shape(k)
    scene = sample_scene(find_characters(source), config.scene_seed(k), config.split, config.held_out_share)
    path = record_path(out, k)
    truth = write_frames(draw_frames(scene, shape, config.truth), path, shape)
    record = {
        "id": path.stem,
        "seed": scene.seed,
        "num_frames": shape.num_frames,
        "fps": shape.fps,
        "height": shape.height,
        "width": shape.width,
        "captions": captions(scene, is_image=shape.is_image),
        "attributes": scene.attributes(),
        "scene": _as_dict(scene),
        **({"maps": list(config.truth)} if config.truth else {}),
        "truth": {"fps": shape.fps, "frames": truth},
    }
    write_text(path, json.dumps(record, ensure_ascii=False) + "\n")
    return path


def _as_dict(scene: Scene) -> dict[str, Any]:
    """All fields of a scene, with codes for characters, because file paths differ between machines."""
    fields = asdict(scene)
    for actor, described in zip(scene.actors, fields["actors"], strict=True):
        described["character"] = actor.character.code
    return fields
