"""Languages, camera moves and caption wording that all worlds share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np

Language = Literal["en", "zh"]
CameraMove = Literal[
    "still", "pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out", "orbit", "rise", "follow", "close"
]

LANGUAGES, CAMERA_MOVES = get_args(Language), get_args(CameraMove)

VIDEO_OPENINGS: dict[Language, tuple[str, ...]] = {  # the repeated "" makes captions without an opening more frequent
    "en": ("", "", "", "a video of ", "a clip of ", "an animation of "),
    "zh": ("", "", "", "视频中，", "画面中，", "动画："),
}
IMAGE_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": ("", "", "a picture of ", "an image of ", "a photo of "),
    "zh": ("", "", "一张图片：", "图中有", "画面中有"),
}
CAMERA_PHRASES: dict[Language, dict[CameraMove, tuple[str, ...]]] = {
    "en": {
        "still": ("the camera is still", "static shot"),
        "pan_left": ("the camera pans left",),
        "pan_right": ("the camera pans right",),
        "tilt_up": ("the camera tilts up",),
        "tilt_down": ("the camera tilts down",),
        "zoom_in": ("the camera moves in", "the camera zooms in"),
        "zoom_out": ("the camera pulls back", "the camera zooms out"),
        "orbit": ("the camera circles around", "the camera orbits the scene"),
        "rise": ("the camera rises", "the camera cranes up"),
        "follow": ("the camera follows", "tracking shot"),
        "close": ("close-up", "a close-up shot"),
    },
    "zh": {
        "still": ("镜头静止", "固定镜头"),
        "pan_left": ("镜头向左摇",),
        "pan_right": ("镜头向右摇",),
        "tilt_up": ("镜头上摇",),
        "tilt_down": ("镜头下摇",),
        "zoom_in": ("镜头推近", "镜头慢慢拉近"),
        "zoom_out": ("镜头拉远",),
        "orbit": ("镜头环绕", "镜头绕着场景转"),
        "rise": ("镜头上升",),
        "follow": ("镜头跟随", "跟拍镜头"),
        "close": ("特写", "特写镜头"),
    },
}


class ShotCaptions(NamedTuple):
    """Captions of a clip shot by shot: `text` describes all shots and may be empty; `shots` has one text per shot."""

    text: str
    shots: list[str]


def distinct_captions(
    write: Callable[[Language, np.random.Generator], str], seed: tuple[int, int], num_per_language: int
) -> dict[str, list[str]]:
    """Up to `num_per_language` distinct captions in each language, drawn with `write` and reproducible from `seed`."""
    captions: dict[str, list[str]] = {}
    for index, language in enumerate(LANGUAGES):
        draw = np.random.default_rng([*seed, index])
        found: dict[str, None] = {}
        for _ in range(20 * num_per_language):
            found[write(language, draw)] = None
            if len(found) == num_per_language:
                break
        captions[language] = list(found)
    return captions
