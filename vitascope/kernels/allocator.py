"""Settings of the C memory allocator."""

from __future__ import annotations

import os
import sys

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MAX_INT = 2**31 - 1
LARGEST_KEPT = 32 << 20  # bytes of a block; the upper limit of glibc's own dynamic threshold


def keep_freed_memory() -> None:
    """Reuse freed memory in this process, instead of returning it to the system.

    glibc returns memory whenever the top of the heap is free. Getting it back costs a page fault for every 4 KB,
    several times as long as writing to it. Blocks larger than `LARGEST_KEPT` are still returned. Without glibc, or if
    the environment sets one of the two limits, nothing changes.

    Source: https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    if sys.platform != "linux" or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ):
        return
    import ctypes

    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_TRIM_THRESHOLD, MAX_INT)
        set_option(M_MMAP_THRESHOLD, LARGEST_KEPT)
