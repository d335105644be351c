"""Sizes, lengths and rates that a model was trained on, and the nearest ones to a request."""

from __future__ import annotations

import logging
import math

from vitascope.generate.requests import Request
from vitascope.hub.card import PipelineConfig
from vitascope.video.shape import MIN_SIDE, FrameShape, check_makeable

MAX_ASPECT = 3.0

_log = logging.getLogger(__name__)


def default_shape(config: PipelineConfig, request: Request) -> FrameShape:
    """The requested shape; the model's defaults replace missing values."""
    return FrameShape(
        config.height if request.height is None else request.height,
        config.width if request.width is None else request.width,
        config.fps if request.fps is None else request.fps,
    )


def check_shape(shape: FrameShape, num_frames: int, config: PipelineConfig) -> None:
    """Refuse sizes, lengths and rates out of range, and warn of those that the model wasn't trained on.

    Raises:
        SizeError: a value out of range.
    """
    check_makeable(shape.height, shape.width, num_frames, shape.fps)
    trained = (config.height, config.width, config.num_frames, config.fps)
    note = outside_training(shape.height, shape.width, num_frames, shape.fps, trained)
    if note is not None:
        _log.warning("%s", note)


def fitted_size(height: int, width: int, trained: tuple[int, int], multiple: int) -> tuple[int, int]:
    """(height, width) with about the model's trained number of pixels, and the aspect ratio of height x width.

    A size within half of the trained one's pixels stays unchanged. Aspect ratios are limited to 1:3 and 3:1 by
    cropping.
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
    """A warning about a size outside the training range (height, width, frames, rate); None if it is inside."""
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
