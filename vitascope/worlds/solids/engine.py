"""MuJoCo, imported on first use and set up for rendering without a screen."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any


@cache
def mujoco() -> Any:
    """The `mujoco` module. Its graphics backend is fixed at import, so no other module may import it.

    Raises:
        ImportError: MuJoCo isn't installed.
    """
    if sys.platform.startswith("linux"):
        os.environ.setdefault("MUJOCO_GL", "egl")
        # Mesa's software driver renders in the calling thread, because datasets use one process per core
        os.environ.setdefault("LP_NUM_THREADS", "0")
    import mujoco

    return mujoco
