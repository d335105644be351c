"""Skips tests that this machine can't run; the summary names them with the reason."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import tests.typechecks  # noqa: F401 (jaxtyping's import hook looks it up)
from scripts.dev import RENDER_PROBE

sys.dont_write_bytecode = False  # compile each module once, not once in each process and each run
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if "PYTEST_XDIST_WORKER" in os.environ:  # processes share the cores: idle OpenMP threads must sleep, not spin
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    cores_each = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores_each)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rendering = [item for item in items if item.get_closest_marker("rendering")]
    if rendering and not _can_render():
        for item in rendering:
            item.add_marker(pytest.mark.skip(reason="no MuJoCo, or neither EGL nor OSMesa to render with"))
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu and not _has_cuda():
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _can_render() -> bool:
    """True if MuJoCo renders here, tried in a separate process; the tests use the backend that works."""
    native = not sys.platform.startswith("linux")
    chosen = os.environ.get("MUJOCO_GL")
    for backend in [chosen] if chosen or native else ["egl", "osmesa"]:
        environment = {**os.environ, "MUJOCO_GL": backend} if backend else None
        probe = subprocess.run([sys.executable, "-c", RENDER_PROBE], env=environment, capture_output=True, check=False)
        if probe.returncode == 0:
            if backend:
                os.environ["MUJOCO_GL"] = backend
            return True
    return False


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
