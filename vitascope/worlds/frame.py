"""One rendered frame of any world."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8


class Frame(NamedTuple):
    """Pixels of one frame and its ground truth, ready for JSON."""

    pixels: UInt8[np.ndarray, "h w 3"]
    truth: dict[str, Any]
