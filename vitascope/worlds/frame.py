"""One rendered frame of any world, and its ground truth per pixel."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float32, UInt8

from vitascope.errors import ConfigError
from vitascope.video import Video

TruthMap = Literal["masks", "depth", "flow"]
TRUTH_MAPS: tuple[TruthMap, ...] = get_args(TruthMap)


class Maps(NamedTuple):
    """Ground truth per pixel of a frame, or of a clip with a leading axis of time; None where not requested.

    masks: number of the actor that owns the pixel, from 1; 0 is the background. depth: distance along the camera's axis
    in the world's unit; infinite for the sky. flow: motion to the next frame in pixels, (right, down).
    """

    masks: UInt8[np.ndarray, "*t h w"] | None = None
    depth: Float32[np.ndarray, "*t h w"] | None = None
    flow: Float32[np.ndarray, "*t h w 2"] | None = None


NO_MAPS = Maps()


class Frame(NamedTuple):
    """Pixels of one frame, its ground truth, ready for JSON, and the requested ground truth per pixel."""

    pixels: UInt8[np.ndarray, "h w 3"]
    truth: dict[str, Any]
    maps: Maps = NO_MAPS


@dataclass(frozen=True)
class RenderedClip:
    """A clip, its ground truth (`fps` and `frames`), and the requested ground truth per pixel [t, h, w]."""

    video: Video
    truth: dict[str, Any]
    maps: Maps = NO_MAPS


def as_clip(frames: Sequence[Frame], fps: float) -> RenderedClip:
    """The clip of rendered frames."""
    pixels = np.stack([frame.pixels for frame in frames])
    truth = {"fps": fps, "frames": [frame.truth for frame in frames]}
    return RenderedClip(Video(pixels, fps), truth, stack_maps([frame.maps for frame in frames]))


def stack_maps(maps: Sequence[Maps]) -> Maps:
    """The maps of a clip from those of its frames."""
    kinds = zip(*maps, strict=True)
    return Maps(*(None if any(each is None for each in kind) else np.stack(kind) for kind in kinds))


def check_maps(names: Collection[str]) -> None:
    """Check the names of requested maps.

    Raises:
        ConfigError: a name is unknown.
    """
    for name in names:
        if name not in TRUTH_MAPS:
            raise ConfigError(f"no truth map is called {name!r}; choose from {', '.join(TRUTH_MAPS)}")
