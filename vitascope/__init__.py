"""Vitascope: train and run a video generation model end to end.

    import vitascope

    pipeline = vitascope.load()
    pipeline.generate("a red ball bounces up and down on the grass").save("ball.mp4")

Importing this package loads nothing heavy: its names are imported at first use.
"""

from __future__ import annotations

import gc
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitascope.types import DtypeChoice

if TYPE_CHECKING:
    import torch

    from vitascope.generate.pipeline import Pipeline as Pipeline
    from vitascope.generate.requests import Connect as Connect
    from vitascope.generate.requests import Edit as Edit
    from vitascope.generate.requests import Extend as Extend
    from vitascope.generate.requests import Fill as Fill
    from vitascope.generate.requests import Generate as Generate
    from vitascope.generate.requests import Loop as Loop
    from vitascope.generate.requests import Sampling as Sampling
    from vitascope.generate.requests import Storyboard as Storyboard
    from vitascope.generate.requests import StoryboardShot as StoryboardShot
    from vitascope.video import Video as Video

__version__ = "0.1.0"

__all__ = [
    "Connect",
    "Edit",
    "Extend",
    "Fill",
    "Generate",
    "Loop",
    "Pipeline",
    "Sampling",
    "Storyboard",
    "StoryboardShot",
    "Video",
    "__version__",
    "load",
]


def load(
    model: str | Path = "playground",
    *,
    device: str | torch.device = "auto",
    dtype: DtypeChoice = "auto",
    weights: bool = True,
    compile: bool = False,
    offload: bool = False,
) -> Pipeline:
    """The model of a bundled name, a folder, a training run's folder or a Hugging Face id (owner/name, downloaded).

    `device` is auto, cpu, cuda, cuda:N or mps; auto takes a GPU if there is one. `dtype` is the transformer's and a
    large text encoder's; auto takes what is faster on the device. `compile` compiles the transformer's blocks, and
    `offload` keeps only the network in use on the device. With weights=False only JSON files are read, or downloaded:
    enough for `Pipeline.card`.

    Raises:
        ModelError: no such model, or a part of it is missing or damaged.
        DeviceError: a device that this machine lacks, or a dtype that the device doesn't support.
    """
    collecting = gc.isenabled()
    gc.disable()  # imported modules stay, and collecting garbage during imports takes a tenth of their time
    try:
        from vitascope.generate.pipeline import Pipeline
    finally:
        if collecting:
            gc.enable()
    pipeline = Pipeline.load(model, device=device, dtype=dtype, weights=weights, offload=offload)
    return pipeline.compile() if compile else pipeline


_HOMES = {
    "Pipeline": "vitascope.generate.pipeline",
    "Video": "vitascope.video",
    **dict.fromkeys(
        ("Connect", "Edit", "Extend", "Fill", "Generate", "Loop", "Sampling", "Storyboard", "StoryboardShot"),
        "vitascope.generate.requests",
    ),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vitascope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
