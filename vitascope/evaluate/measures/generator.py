"""The model under evaluation: loading it, its identity, and the shape of its videos."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import vitascope
from vitascope.evaluate.measures.video_cache import fingerprint
from vitascope.hub.card import PipelineConfig
from vitascope.hub.find import find_model
from vitascope.kernels.device import resolve_device, resolve_precision
from vitascope.types import DtypeChoice
from vitascope.video.shape import VideoShape

if TYPE_CHECKING:
    from vitascope.generate.pipeline import Pipeline


def load_generator(model: str, device: str, dtype: DtypeChoice, *, weights: bool = True) -> Pipeline:
    """The pipeline of a model, as `vitascope.load` loads it."""
    return vitascope.load(model, device=device, dtype=dtype, weights=weights)


def generator_settings(model: str, device: str, dtype: DtypeChoice) -> dict[str, Any]:
    """Settings that identify a model's videos: a digest of its folder and its precision."""
    return {"model": model_fingerprint(model), "dtype": resolve_precision(dtype, resolve_device(device))}


def model_fingerprint(model: str) -> str:
    """A digest of a model's folder, independent of how the model is named."""
    return fingerprint(find_model(model))


def default_shape(config: PipelineConfig) -> VideoShape:
    """The shape of a model's videos if a request names none."""
    return VideoShape(config.num_frames, config.fps, config.height, config.width, 0.0)


@contextmanager
def without_warnings() -> Iterator[None]:
    """A context that logs only errors, because notes on each video would hide the progress."""
    log = logging.getLogger("vitascope")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
