"""Resources of a `vitascope` command in a separate process: wall time, processor time, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from vitascope.errors import VitascopeError

# The command measures itself: the peak that a parent gets for its child includes the parent's own memory
_CHILD = """
import runpy, sys
report = sys.argv.pop(1)
try:
    runpy.run_module("vitascope", run_name="__main__", alter_sys=True)
finally:
    from vitascope.evaluate.measures.resources import write_usage
    write_usage(report)
"""
_ERROR = "vitascope: "


@dataclass(frozen=True)
class Usage:
    """Seconds of wall time, seconds of all processors together, and peak bytes of memory."""

    wall: float
    processor: float
    peak: float  # NaN where the system doesn't report it


def run_vitascope(words: Sequence[str], say: Callable[[str], None]) -> Usage:
    """Resources used by `vitascope` with these arguments; `say` receives all lines of its stderr except errors.

    Raises:
        VitascopeError: the command reported a usage error.
        OSError: the command failed otherwise, or was killed.
    """
    with TemporaryDirectory() as folder:
        report = Path(folder) / "usage.json"
        begin = time.perf_counter()
        command = [sys.executable, "-c", _CHILD, str(report), *words]
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
        )
        try:
            error = _forward(child, say)
            code = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
        wall = time.perf_counter() - begin
        if code:
            how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
            kind = VitascopeError if code == 2 else OSError
            raise kind(error or f"vitascope {words[0]} {how}")
        return Usage(wall, **json.loads(report.read_text()))


def _forward(child: subprocess.Popen[str], say: Callable[[str], None]) -> str:
    """Forward the lines of stderr until it closes; return the last error."""
    assert child.stderr is not None
    error = ""
    with child.stderr as lines:
        for line in lines:
            if line.startswith(_ERROR):
                error = line.removeprefix(_ERROR).removeprefix("error: ").strip()
            else:
                say(line.rstrip())
    return error


def write_usage(path: str) -> None:
    """Write this process's usage so far to a file."""
    Path(path).write_text(json.dumps({"processor": time.process_time(), "peak": peak_memory()}))


def peak_memory() -> float:
    """Peak bytes of this process since its program began; NaN where the system doesn't report it."""
    held = _status("VmHWM")
    if held is not None:
        return held
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return float("nan")
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def memory_now() -> float:
    """Bytes of memory that this process uses now; the peak if only that is known, else NaN."""
    held = _status("VmRSS")
    return peak_memory() if held is None else held


def _status(name: str) -> float | None:
    """Bytes of a field in Linux's /proc/self/status (https://man7.org/linux/man-pages/man5/proc_pid_status.5.html)."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith(f"{name}:")]
    return float(found[0]) * 1024 if found else float("nan")
