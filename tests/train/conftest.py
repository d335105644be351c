"""A dataset that needs no renderer: coloured squares that move, with captions in both languages."""

import json
from pathlib import Path

import numpy as np
import pytest

from vitascope.video import Video, write_video

COLOURS = {"red": ("红色", (200, 40, 40)), "green": ("绿色", (40, 180, 60)), "blue": ("蓝色", (50, 60, 210))}
SHAPES = [(17, 32, 32), (9, 32, 48), (1, 32, 32)]


def draw_square(name: str, num_frames: int, height: int, width: int, start: int) -> Video:
    """A square of 12 pixels that moves one pixel a frame to the right."""
    frames = np.full((num_frames, height, width, 3), 225, np.uint8)
    for index, frame in enumerate(frames):
        left = (start + index) % (width - 12)
        frame[10:22, left : left + 12] = COLOURS[name][1]
    return Video(frames, 8.0)


@pytest.fixture(scope="session")
def drawn_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four clips and images of moving squares, laid out as `vitascope render` does."""
    folder = tmp_path_factory.mktemp("drawn")
    for number in range(24):
        name, (num_frames, height, width) = list(COLOURS)[number % 3], SHAPES[number // 3 % 3]
        video = draw_square(name, num_frames, height, width, start=number)
        path = folder / "clips" / f"{number:06d}"
        write_video(video, path.with_suffix(".png" if num_frames == 1 else ".mp4"))
        record = {
            "id": path.name,
            "num_frames": num_frames,
            "height": height,
            "width": width,
            "fps": 8.0,
            "captions": {"en": [f"a {name} square"], "zh": [f"一个{COLOURS[name][0]}的方块"]},
        }
        path.with_suffix(".json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    return folder
