"""The process that decodes: endless calls, endless memory and crashes end it, and the next file is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from tests.video.pictures import numbered, numbers
from vitascope.errors import MediaError, PastEndError, SizeError
from vitascope.video import Video, process, read_video
from vitascope.video.clip import Pictures

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Video(numbered(9), 10.0).save(tmp_path_factory.mktemp("clips") / "clip.mp4")


def peak_bytes() -> int:
    """Peak of this process's memory since the last call, from which it counts anew."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak


@pytest.mark.parametrize(
    ("twin", "message"),
    [
        ("wait", r"clip\.mp4 takes too long to decode: nothing for [01] s"),
        ("loop", r"clip\.mp4 takes too long to decode: nothing for [01] s"),
        ("crash", r"clip\.mp4 can't be read as a video: its decoder ended with signal SIGSEGV"),
    ],
)
def test_a_decoder_that_never_answers_is_ended(clip: Path, twin: str, message: str) -> None:
    """Fails when time is checked between calls only: one call that never ends stops everything."""
    begun = time.monotonic()
    with pytest.raises(MediaError, match=message) as caught:
        process.run_apart(f"tests.video.twins.{twin}", clip, receive=Pictures(clip).receive)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 10  # a new process may start slowly
    assert numbers(read_video(clip)) == list(range(9))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_a_decoder_that_allocates_without_end_is_ended(clip: Path) -> None:
    read_video(clip)
    before = peak_bytes()
    with pytest.raises(MediaError, match=r"clip\.mp4 takes too much memory to decode"):
        process.run_apart("tests.video.twins.allocate", clip, receive=Pictures(clip).receive)
    assert peak_bytes() - before < 16 * 2**20
    assert numbers(read_video(clip)) == list(range(9))


def test_the_process_is_used_again(clip: Path) -> None:
    """Fails when each file starts a process, or when an error in a file ends it."""
    read_video(clip)
    (before,) = process.idle_processes()
    with pytest.raises(PastEndError, match="past the end"):
        read_video(clip, start=50)
    with pytest.raises(SizeError, match="size is"):
        read_video(clip, size=(8, 8))
    with pytest.raises(MediaError, match="no file"):
        read_video(clip.with_name("missing.mp4"))
    assert process.idle_processes() == [before]


def test_a_process_that_was_ended_meanwhile_is_replaced(clip: Path) -> None:
    read_video(clip)
    os.kill(process.idle_processes()[0], signal.SIGKILL)
    assert numbers(read_video(clip)) == list(range(9))


def test_prints_do_not_disturb_the_answers(clip: Path) -> None:
    pictures = Pictures(clip)
    process.run_apart("tests.video.twins.print_text", clip, receive=pictures.receive)
    assert numbers(Video(pictures.finish(), 10.0)) == list(range(9))


def test_faults_of_the_package_are_not_taken_for_the_files(clip: Path) -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        process.run_apart("tests.video.twins.fail", clip)


def test_without_other_processes_the_result_is_the_same(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = read_video(clip, size=(48, 80), start=0.3)
    monkeypatch.setattr(process, "can_start", lambda: False)
    assert np.array_equal(read_video(clip, size=(48, 80), start=0.3).frames, apart.frames)


def test_relative_names_follow_the_current_folder(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_video(clip)
    (tmp_path / clip.name).write_bytes(clip.read_bytes())
    for folder in (tmp_path, clip.parent):
        monkeypatch.chdir(folder)
        assert read_video(clip.name).num_frames == 9
    with pytest.raises(MediaError, match=r"no file b\.mp4"):
        read_video("b.mp4")


def test_parents_interrupts_forks_and_ends(clip: Path) -> None:
    """A fork reads by a process of its own; an interrupt ends a call; no process outlives its parent; no torch."""
    script = f"""
    import os, signal, sys, threading
    from vitascope.video import process, read_video
    from vitascope.video.clip import Pictures
    clip = {str(clip)!r}
    read_video(clip)
    first = process.idle_processes()[0]
    if not (child := os.fork()):
        assert read_video(clip).num_frames == 9
        os._exit(process.idle_processes()[0] == first)
    assert os.waitpid(child, 0)[1] == 0
    assert read_video(clip).num_frames == 9
    assert process.idle_processes() == [first]
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        process.run_apart("tests.video.twins.wait", clip, receive=Pictures(clip).receive)
    except KeyboardInterrupt:
        print("interrupted")
    assert process.idle_processes() == []
    assert read_video(clip).num_frames == 9
    print(process.idle_processes()[0], "torch" in sys.modules, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    interrupted, pid, has_torch = ran.stdout.split()
    assert (interrupted, has_torch) == ("interrupted", "False")
    for _ in range(50):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the process outlives its parent")
