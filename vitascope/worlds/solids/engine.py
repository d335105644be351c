"""MuJoCo, imported when it is first needed and told beforehand how to draw without a screen."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any


@cache
def mujoco() -> Any:
    """The module. What it draws with is decided when it is imported, so nothing else here may import it.

    Raises:
        ImportError: it isn't installed.
    """
    if sys.platform.startswith("linux"):
        os.environ.setdefault("MUJOCO_GL", "egl")
        # Mesa's software driver draws within this thread: a dataset is drawn by a process for every core
        os.environ.setdefault("LP_NUM_THREADS", "0")
    import mujoco

    return mujoco
