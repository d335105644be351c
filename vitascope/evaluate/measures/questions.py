"""Questions: prompts of sampled scenes with known ground truth, in both languages and of both splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitascope.errors import SizeError
from vitascope.evaluate.measures.video_cache import VideoJob
from vitascope.judge.sentence import Sentence, describe
from vitascope.video import Video
from vitascope.video.shape import VideoShape
from vitascope.worlds.language import LANGUAGES, Language
from vitascope.worlds.solids.captions import DETAILED, write_caption
from vitascope.worlds.solids.render import render_scene
from vitascope.worlds.solids.sampling import sample_scene
from vitascope.worlds.solids.scene import WORLD_VERSION, Scene
from vitascope.worlds.splits import Split

FIRST_SEED = 10**12  # far above the seeds of datasets, so no scene was trained on
SECONDS = 2.0  # length of the scenes; the same prompts for every model
SPLITS: tuple[Split, ...] = ("train", "held_out")
MAX_ROWS, MAX_FPS = 96, 8.0  # of renders; the judge reads no more


@dataclass(frozen=True)
class Question:
    """A scene and a prompt that describes all of it. `split` is the split of the first actor's combination."""

    name: str
    scene: Scene
    split: Split
    language: Language
    prompt: str

    @property
    def truth(self) -> Sentence:
        """The attributes of a faithful video."""
        return describe(self.scene.attributes())


def make_questions(num: int, seed: int = 0, variety: float = 1.0) -> list[Question]:
    """`num` questions that alternate between the languages and the splits.

    Raises:
        SizeError: fewer than two.
    """
    if num < 2:
        raise SizeError(f"{num} prompts: give at least two, since chance compares each with another")
    questions = []
    for k in range(num):
        language, split = LANGUAGES[k % 2], SPLITS[k // 2 % 2]
        scene = sample_scene(FIRST_SEED + seed * 1_000_000 + k, split, variety=variety, seconds=SECONDS)
        name = f"{language}_{split}_{k:04d}"
        questions.append(Question(name, scene, split, language, scene_prompt(scene, language)))
    return questions


def scene_prompt(scene: Scene, language: Language) -> str:
    """A prompt that describes all of a scene."""
    return write_caption(scene, language, np.random.default_rng([scene.seed, 8]), verbosity=DETAILED)


def render_shape(video: Video) -> VideoShape:
    """The shape of a render that matches a video's duration, at the size and frame rate that the judge reads."""
    scale = min(1.0, MAX_ROWS / min(video.height, video.width))
    height, width = (max(2, 2 * round(side * scale / 2)) for side in (video.height, video.width))
    fps = min(float(video.fps), MAX_FPS)
    return VideoShape(max(1, round(video.duration * fps)), fps, height, width, 0.0)


def render_question(question: Question, shape: VideoShape) -> Video:
    """The simulator's video of a question's scene."""
    num_frames, fps, height, width, start = shape
    return render_scene(question.scene, num_frames=num_frames, fps=fps, height=height, width=width, start=start).video


def render_jobs(questions: Sequence[Question]) -> list[VideoJob[Question]]:
    """A job for the simulator's video of each question."""
    return [VideoJob(question.name, question.prompt, question) for question in questions]


def scene_settings(seed: int) -> dict[str, Any]:
    """Settings that determine the scenes of a seed, as recorded with cached videos."""
    return {"world_version": WORLD_VERSION, "seed": seed}
