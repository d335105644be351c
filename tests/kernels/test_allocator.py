"""Freed memory is reused without page faults."""

import ctypes
import subprocess
import sys

import pytest

CODE = """
import ctypes, resource
import torch
from vitascope.kernels.allocator import M_MMAP_THRESHOLD, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(1 << 21) for _ in range(8)]  # of 8 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 128 << 10)  # as a process begins
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of 4 KB everywhere
print(min(faults() for _ in range(5)))
keep_freed_memory()
print(min(faults() for _ in range(5)))
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc"
)
def test_freed_memory_is_kept():
    """In a separate process, since the setting can't be undone. 64 MB are 16,384 pages; small blocks may take some."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True, text=True)
    given_back, kept = map(int, done.stdout.split())
    assert kept < 4096
    assert given_back >= 16384
