"""What a `vitascope` command takes as a process of its own: time, the processors' work, and memory."""

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

# The command tells of itself: what a system tells a parent of its child's peak begins with the parent's own
_CHILD = """
import runpy, sys
told = sys.argv.pop(1)
try:
    runpy.run_module("vitascope", run_name="__main__", alter_sys=True)
finally:
    from vitascope.evaluate.measures.resources import tell
    tell(told)
"""
_COMPLAINT = "vitascope: "


@dataclass(frozen=True)
class Usage:
    """Seconds on the wall, seconds of all processors together, and the most bytes held at once."""

    wall: float
    processor: float
    peak: float  # NaN where the system doesn't tell


def run_vitascope(words: Sequence[str], say: Callable[[str], None]) -> Usage:
    """Run `vitascope` with these words; `say` gets the lines of its stderr as they come, but not what it complains of.

    Raises:
        VitascopeError: it was refused as a user's mistake, in its own words.
        OSError: it failed otherwise, or was ended.
    """
    with TemporaryDirectory() as folder:
        told = Path(folder) / "usage.json"
        begin = time.perf_counter()
        command = [sys.executable, "-c", _CHILD, str(told), *words]
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
        )
        try:
            complaint = _listen(child, say)
            code = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
        wall = time.perf_counter() - begin
        if code:
            how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
            kind = VitascopeError if code == 2 else OSError
            raise kind(complaint or f"vitascope {words[0]} {how}")
        return Usage(wall, **json.loads(told.read_text()))


def _listen(child: subprocess.Popen[str], say: Callable[[str], None]) -> str:
    """Pass on what is said until nothing more is; what is complained of comes back."""
    assert child.stderr is not None
    complaint = ""
    with child.stderr as lines:
        for line in lines:
            if line.startswith(_COMPLAINT):
                complaint = line.removeprefix(_COMPLAINT).removeprefix("error: ").strip()
            else:
                say(line.rstrip())
    return complaint


def tell(path: str) -> None:
    """Write down what this process has taken so far."""
    Path(path).write_text(json.dumps({"processor": time.process_time(), "peak": peak_memory()}))


def peak_memory() -> float:
    """The most bytes that this process has held at once since its program began; NaN where the system doesn't tell."""
    held = _status("VmHWM")
    if held is not None:
        return held
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return float("nan")
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def memory_now() -> float:
    """The bytes that this process holds; where only the most is told, that; NaN where not even that."""
    held = _status("VmRSS")
    return peak_memory() if held is None else held


def _status(name: str) -> float | None:
    """Bytes by a name of Linux's /proc/self/status (https://man7.org/linux/man-pages/man5/proc_pid_status.5.html)."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith(f"{name}:")]
    return float(found[0]) * 1024 if found else float("nan")
