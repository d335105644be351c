"""Vitascope: train and run a video generation model end to end.

    import vitascope

    pipeline = vitascope.load()
    pipeline.generate("a red ball bounces up and down on the grass").save("ball.mp4")

Importing this package loads nothing heavy: what is below is imported when it is first used.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitascope.types import Precision

if TYPE_CHECKING:
    from vitascope.generate.pipeline import Pipeline as Pipeline
    from vitascope.generate.pipeline import Sampling as Sampling
    from vitascope.generate.storyboard import Storyboard as Storyboard
    from vitascope.video import Video as Video

__version__ = "0.1.0"

__all__ = ["Pipeline", "Sampling", "Storyboard", "Video", "__version__", "load"]


def load(model: str | Path = "playground", *, dtype: Precision = "float32", weights: bool = True) -> Pipeline:
    """The model of a bundled name, a folder or a Hugging Face id (owner/name, downloaded), ready to generate.

    `dtype` is the transformer's, and a large text encoder's. With weights=False only configs are read, or downloaded:
    enough for `Pipeline.card`.

    Raises:
        ModelError: no such model, or a part of it is missing or damaged.
    """
    collecting = gc.isenabled()
    gc.disable()  # what is imported stays, and looking for garbage in all of it takes a tenth of the time
    try:
        from vitascope.hub.find import load as load_model
    finally:
        if collecting:
            gc.enable()
    return load_model(model, dtype, weights=weights)


def __getattr__(name: str) -> Any:
    if name in ("Pipeline", "Sampling"):
        from vitascope.generate import pipeline

        return getattr(pipeline, name)
    if name == "Storyboard":
        from vitascope.generate.storyboard import Storyboard

        return Storyboard
    if name == "Video":
        from vitascope.video import Video

        return Video
    raise AttributeError(f"module 'vitascope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
