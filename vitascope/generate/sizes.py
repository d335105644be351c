"""Which sizes, lengths and rates can be made, and which of them a model was trained on."""

from __future__ import annotations

import math

from vitascope.errors import SizeError

MIN_SIDE, MAX_SIDE = 16, 4096
MAX_FRAMES = 30 * 60 * 10
MAX_VIDEO_PIXELS = 2**32  # a minute of 1920x1080 at 30 frames a second; as uint8, 12 GiB
MAX_STEPS = 1000
MAX_ASPECT = 3.0


def check_makeable(height: int, width: int, num_frames: int, fps: float) -> None:
    """Refuse sizes that can't be made, before anything is allocated.

    Raises:
        SizeError: naming the value and the range.
    """
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise SizeError(f"{width}x{height} pixels: each side must be {MIN_SIDE} to {MAX_SIDE}")
    if not 1 <= num_frames <= MAX_FRAMES:
        raise SizeError(f"{num_frames} frames: must be 1 to {MAX_FRAMES}")
    if height * width * num_frames > MAX_VIDEO_PIXELS:
        most = MAX_VIDEO_PIXELS // (height * width)
        raise SizeError(f"{num_frames} frames of {width}x{height} don't fit in memory: at most {most} of that size")
    if not 1 <= fps <= 240:
        raise SizeError(f"{fps} frames per second: must be 1 to 240")


def fitted_size(height: int, width: int, trained: tuple[int, int], multiple: int) -> tuple[int, int]:
    """(height, width) of about as many pixels as the model was trained on, in the shape of height x width.

    A size within half of the trained one's pixels is kept as it is. Shapes end at 1:3 and 3:1; the rest is cropped.
    """
    area = trained[0] * trained[1]
    aspect = min(max(width / height, 1 / MAX_ASPECT), MAX_ASPECT)
    if _is_trained_area(height * width, area) and aspect == width / height:
        return height, width
    least = math.ceil(MIN_SIDE / multiple)
    rows, columns = (
        max(least, round(side / multiple)) * multiple for side in (math.sqrt(area / aspect), math.sqrt(area * aspect))
    )
    return rows, columns


def outside_training(
    height: int, width: int, num_frames: int, fps: float, trained: tuple[int, int, int, float]
) -> str | None:
    """What to tell of a size that a model wasn't trained on (height, width, frames, rate); None if there is nothing."""
    rows, columns, frames, rate = trained
    aspect = width / height
    if (
        _is_trained_area(height * width, rows * columns)
        and 1 / MAX_ASPECT <= aspect <= MAX_ASPECT
        and num_frames <= frames
        and (fps == rate or num_frames == 1)
    ):
        return None
    asked = f"{width}x{height}, {num_frames} frames at {fps:g} a second"
    return f"{asked}: the model was trained on about {columns}x{rows}, up to {frames} frames at {rate:g} a second"


def _is_trained_area(area: int, trained: int) -> bool:
    return 0.5 * trained <= area <= 1.5 * trained
