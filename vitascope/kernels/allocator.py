"""What a process does with memory that it no longer needs."""

from __future__ import annotations

import os
import sys

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MAX_INT = 2**31 - 1
LARGEST_KEPT = 32 << 20  # bytes of a block; the most that glibc itself comes to when it learns from what is freed


def keep_freed_memory() -> None:
    """Keep memory that is freed for what comes next, instead of giving it back to the system; for good.

    glibc gives memory back whenever enough is free at its end. To get it again takes a page fault for every 4 KB,
    which is several times as long as writing to it. Larger blocks than `LARGEST_KEPT` still come and go one by one.
    Where there is no glibc, or the environment sets one of the two limits, nothing is done.

    Source: https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    if sys.platform != "linux" or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ):
        return
    import ctypes

    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_TRIM_THRESHOLD, MAX_INT)
        set_option(M_MMAP_THRESHOLD, LARGEST_KEPT)
