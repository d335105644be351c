"""The three commands of a checkout: `python scripts/house.py demo`, `test` or `check`. Standard library only.

Each makes a virtual environment in .venv and installs into it, unless that has been done for the same pyproject.toml
and constraints.txt; then nothing needs the network.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "vitascope-installed.json"
PROMPT = "a red ball bounces up and down on the grass"
PACKAGES = ("libegl1", "libgl1", "libegl-mesa0", "libgl1-mesa-dri")
# What each command needs; "test" contains what "demo" needs, and so on.
EXTRAS = {"demo": "", "test": "test", "check": "dev"}
CONTAINED = {"": {"", "test", "dev"}, "test": {"test", "dev"}, "dev": {"dev"}}

# Run by the environment's Python: exits 0 when MuJoCo can make an OpenGL context without a screen.
RENDER_PROBE = """
import mujoco
context = mujoco.GLContext(16, 16)
context.make_current()
context.free()
"""


class HouseError(Exception):
    """A step that failed, said in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one command."""
    parser = argparse.ArgumentParser(prog="house.py", description="Install Vitascope in .venv and try or test it.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="demo|test|check")
    demo_parser = verbs.add_parser("demo", help="write demo.mp4 and demo.png from a prompt")
    demo_parser.add_argument("prompt", nargs="?", default=PROMPT)
    test_parser = verbs.add_parser("test", help="run all tests that need no GPU")
    test_parser.add_argument("pytest_options", nargs=argparse.REMAINDER, help="passed to pytest")
    verbs.add_parser("check", help="formatting, lint, types, import contract and tests")
    options = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that can't show the prompt still runs
    try:
        if sys.version_info < (3, 11):  # noqa: UP036 (this script may be started by an older one)
            raise HouseError(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
        install(EXTRAS[options.verb])
        if options.verb == "demo":
            demo(options.prompt or PROMPT)
        elif options.verb == "test":
            prepare_rendering()
            test(options.pytest_options)
        else:
            prepare_rendering()
            check()
    except HouseError as error:
        print(f"house: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("house: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def install(extras: str) -> None:
    """Make .venv and install the checkout into it, with a set of extras, unless that is done already."""
    wanted = fingerprint()
    if is_installed(extras, wanted):
        return
    if not has_usable_venv():
        say(f"making the virtual environment {VENV.relative_to(ROOT)}")
        make_venv()
    STAMP.unlink(missing_ok=True)
    target = f".[{extras}]" if extras else "."
    say(f"installing {target} (the first time, PyTorch makes this a long download)")
    pip = (program("python"), "-m", "pip", "--disable-pip-version-check", "install", "-c", "constraints.txt")
    step(
        "pip could not install; the lines above say why (after a network failure, run the same again)",
        *pip,
        "-e",
        target,
    )
    STAMP.write_text(json.dumps({"fingerprint": wanted, "extras": extras}) + "\n", encoding="utf-8")


def fingerprint() -> str:
    """What an installation depends on: the two files, this folder (the install points to it) and the Python version."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    parts += [str(ROOT).encode(), repr(sys.version_info[:2]).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_installed(extras: str, wanted: str) -> bool:
    """Whether the last installation that finished was of the same files and held these extras."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        same = stamp["fingerprint"] == wanted and stamp["extras"] in CONTAINED[extras]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return same and runs(program("python"), "-c", "")


def has_usable_venv() -> bool:
    """Whether .venv is there, has pip and is of this Python's version."""
    version = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    return program("python").exists() and runs(program("python"), "-c", version)


def make_venv() -> None:
    """Make .venv anew with this Python."""
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError:
        version = ".".join(map(str, sys.version_info[:2]))
        raise HouseError(
            f"this Python can't make environments; type: sudo apt-get install python{version}-venv"
        ) from None
    try:
        venv.create(VENV, clear=True, with_pip=True, symlinks=os.name != "nt")
    except (OSError, subprocess.CalledProcessError) as error:
        raise HouseError(f"can't make {VENV}: {error}") from None


def prepare_rendering() -> None:
    """See that MuJoCo can draw without a screen: install Mesa's EGL where that is allowed, else say how."""
    if not sys.platform.startswith("linux") or can_render():
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing EGL, which the simulated world draws with")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["apt-get", "update"], command):
            subprocess.run(words, env=environment, check=False, stdout=subprocess.DEVNULL)
        if can_render():
            return
    say(f"no EGL or OSMesa: the rendering tests are skipped; to run them too, type: sudo {' '.join(command)}")


def can_render() -> bool:
    """Whether MuJoCo gets an OpenGL context from EGL or OSMesa."""
    return any(runs(program("python"), "-c", RENDER_PROBE, MUJOCO_GL=backend) for backend in ("egl", "osmesa"))


def demo(prompt: str) -> None:
    """Write demo.mp4 and demo.png, a sheet of its frames, into the checkout."""
    say(f'making a video of "{prompt}"')
    video, sheet = ROOT / "demo.mp4", ROOT / "demo.png"
    words = ("generate", "-o", video, "--sheet", sheet, "--", prompt)
    step("the video was not made; the lines above say why", program("python"), "-m", "vitascope", *words, quiet=True)
    say(f"the video: {video}")
    say(f"its frames: {sheet}")


def test(pytest_options: Sequence[str]) -> None:
    """Run the tests. Those that need a GPU or a missing OpenGL are skipped and named in the summary."""
    say("running the tests")
    options = [option for option in pytest_options if option != "--"]
    step("tests failed", program("python"), "-m", "pytest", *options)


def check() -> None:
    """Run all that a change has to pass."""
    python = program("python")
    for name, words in {
        "formatting": ("ruff", "format", "--check", "."),
        "lint": ("ruff", "check", "."),
        "types": ("pyright", "--pythonpath", python),
        "import contract": ("lint-imports", "--no-logo"),
    }.items():
        say(name)
        step(f"{name}: see the lines above", program(words[0]), *words[1:])
    test([])


def program(name: str) -> Path:
    """A program of the virtual environment."""
    return VENV / ("Scripts" if os.name == "nt" else "bin") / (f"{name}.exe" if os.name == "nt" else name)


def runs(*words: str | Path, **variables: str) -> bool:
    """Whether a command ends with 0; what it prints is dropped."""
    try:
        done = subprocess.run(
            words, cwd=ROOT, env={**os.environ, **variables}, check=False, capture_output=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def step(failure: str, *words: str | Path, quiet: bool = False) -> None:
    """Run a command in the checkout; quiet drops its stdout.

    Raises:
        HouseError: it did not end with 0; failure is the message.
    """
    try:
        done = subprocess.run(words, cwd=ROOT, check=False, stdout=subprocess.DEVNULL if quiet else None)
    except OSError as error:
        raise HouseError(f"{failure} ({error})") from None
    if done.returncode:
        raise HouseError(failure)


def say(text: str) -> None:
    """Print one step."""
    print(f"==> {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
