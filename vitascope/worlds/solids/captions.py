"""Captions of scenes in English and Chinese, from short to detailed, in many phrasings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vitascope.worlds.language import LANGUAGES, Language, ShotCaptions, distinct_captions
from vitascope.worlds.solids.captions_en import common_en, image_en, shot_en, video_en
from vitascope.worlds.solids.captions_zh import common_zh, image_zh, shot_zh, video_zh
from vitascope.worlds.solids.clauses import DETAILED, PLAIN, SHORT, Verbosity
from vitascope.worlds.solids.scene import Scene


def write_caption(
    scene: Scene,
    language: Language,
    draw: np.random.Generator,
    *,
    is_image: bool = False,
    verbosity: Verbosity | None = None,
) -> str:
    """One caption: every actor with its colour and, for a video, its motion; `verbosity` decides about the rest.

    Black-and-white scenes have no colours. An image shows the first shot. `verbosity` is drawn if None.
    """
    if verbosity is None:
        verbosity = (SHORT, PLAIN, PLAIN, DETAILED)[int(draw.integers(4))]
    if is_image:
        return (image_en if language == "en" else image_zh)(scene, verbosity, draw)
    return (video_en if language == "en" else video_zh)(scene, verbosity, draw)


def captions(scene: Scene, *, is_image: bool, num_per_language: int = 4) -> dict[str, list[str]]:
    """Distinct captions of a scene in each language, determined by the scene's seed."""
    return distinct_captions(
        lambda language, draw: write_caption(scene, language, draw, is_image=is_image),
        (scene.seed, 7),
        num_per_language,
    )


def storyboards(scene: Scene, num_per_language: int = 4) -> dict[str, list[ShotCaptions]]:
    """Captions of a scene shot by shot in each language, determined by the scene's seed.

    Half of them have a common text that introduces the actors, who are then known in every shot. In the others each
    shot's text stands alone.
    """
    boards: dict[str, list[ShotCaptions]] = {}
    for index, language in enumerate(LANGUAGES):
        draw = np.random.default_rng([scene.seed, 8, index])
        boards[language] = [_caption_shots(scene, language, draw) for _ in range(num_per_language)]
    return boards


def _caption_shots(scene: Scene, language: Language, draw: np.random.Generator) -> ShotCaptions:
    verbosity = (SHORT, PLAIN, PLAIN, DETAILED)[int(draw.integers(4))]
    if draw.random() < 0.5:
        alone = (replace(scene, shots=(shot,), cuts=()) for shot in scene.shots)
        return ShotCaptions("", [write_caption(each, language, draw, verbosity=verbosity) for each in alone])
    common, shot_text = (common_en, shot_en) if language == "en" else (common_zh, shot_zh)
    known = {"known": True, "moved": True}
    texts = [shot_text(scene, shot, verbosity, draw, **known) for shot in scene.shots]
    return ShotCaptions(common(scene, verbosity, draw), texts)
