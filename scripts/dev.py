"""Commands for a checkout: `python scripts/dev.py --help` lists them. Standard library only.

Each creates the virtual environment .venv and installs Vitascope into it. A stamp records the pyproject.toml and
constraints.txt that were installed; while they are unchanged, no command needs the network.
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
PARALLEL = ("-n", "auto", "--dist", "worksteal")  # a test process per core; `-- -n 0` runs all in one
PROMPT = "a red ball bounces up and down on the grass"
PACKAGES = ("libegl1", "libgl1", "libegl-mesa0", "libgl1-mesa-dri")
# The extras that each command needs, and the sets of extras that contain them.
EXTRAS = {
    "demo": "",
    "test": "test",
    "test-gpu": "test",
    "bench": "test",
    "bench-test": "test",
    "docs": "docs",
    "check": "dev",
}
CONTAINED = {"": {"", "test", "docs", "dev"}, "test": {"test", "dev"}, "docs": {"docs", "dev"}, "dev": {"dev"}}

# Files of the package that a task may visit, by scripts/trace_files.py: what a newcomer has to open to follow it.
MOST_FILES = {"load": 8, "prompt": 30, "clip": 35}
# Run by the environment's Python: exits 0 if MuJoCo can create an OpenGL context without a screen.
RENDER_PROBE = """
import mujoco
context = mujoco.GLContext(16, 16)
context.make_current()
context.free()
"""


class StepError(Exception):
    """A failed step. The message is one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parse(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # never fail on a terminal that can't show the prompt
    try:
        if sys.version_info < (3, 11):  # noqa: UP036 (this script may be started by an older one)
            raise StepError(f"Python {sys.version.split()[0]} is too old; Vitascope needs 3.11 or newer")
        install(EXTRAS[options.verb])
        if options.verb == "demo":
            demo(options.prompt or PROMPT)
        elif options.verb == "test":
            prepare_rendering()
            test([*PARALLEL, *options.pytest_options])
        elif options.verb == "test-gpu":
            test(["-m", "gpu", *options.pytest_options])
        elif options.verb == "bench":
            bench(options.words)
        elif options.verb == "bench-test":
            test(["benchmarks/tests", *options.pytest_options])
        elif options.verb == "docs":
            build_docs()
        else:
            prepare_rendering()
            check()
    except StepError as error:
        print(f"dev: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dev: interrupted; run the same command again to resume", file=sys.stderr)
        return 130
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="dev.py", description="Install Vitascope in .venv, then run or test it.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join(EXTRAS))
    demo_parser = verbs.add_parser("demo", help="write demo.mp4 and demo.png from a prompt")
    demo_parser.add_argument("prompt", nargs="?", default=PROMPT)
    bench_parser = verbs.add_parser("bench", help="run the benchmarks against diffusers")
    bench_parser.add_argument("words", nargs=argparse.REMAINDER, help="arguments of python -m benchmarks")
    for verb, what in {
        "test": "run all tests that need no GPU",
        "test-gpu": "run the tests that need a CUDA GPU",
        "bench-test": "run the tests of the benchmarks",
    }.items():
        test_parser = verbs.add_parser(verb, help=what)
        test_parser.add_argument("pytest_options", nargs=argparse.REMAINDER, help="options passed to pytest")
    verbs.add_parser("docs", help="build the documentation into site/")
    verbs.add_parser("check", help="run formatting, lint, types, import contract, documentation and tests")
    return parser.parse_args(argv)


def install(extras: str) -> None:
    """Install the checkout with a set of extras into .venv, unless a valid stamp shows that it is installed."""
    wanted = fingerprint()
    if is_installed(extras, wanted):
        return
    if not has_usable_venv():
        say(f"creating the virtual environment {VENV.relative_to(ROOT)}")
        make_venv()
    STAMP.unlink(missing_ok=True)
    target = f".[{extras}]" if extras else "."
    say(f"installing {target} (the first installation downloads PyTorch, which takes a while)")
    pip = (program("python"), "-m", "pip", "--disable-pip-version-check", "install", "-c", "constraints.txt")
    step(
        "pip could not install Vitascope; see the lines above (after a network failure, run the same command again)",
        *pip,
        "-e",
        target,
    )
    STAMP.write_text(json.dumps({"fingerprint": wanted, "extras": extras}) + "\n", encoding="utf-8")


def fingerprint() -> str:
    """Hash everything an installation depends on: the two files, this folder (the install is editable) and Python."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    parts += [str(ROOT).encode(), repr(sys.version_info[:2]).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_installed(extras: str, wanted: str) -> bool:
    """Return True if the last finished installation used the same files and contained these extras."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        same = stamp["fingerprint"] == wanted and stamp["extras"] in CONTAINED[extras]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return same and runs(program("python"), "-c", "")


def has_usable_venv() -> bool:
    """Return True if .venv exists, has pip and uses this Python version."""
    version = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    return program("python").exists() and runs(program("python"), "-c", version)


def make_venv() -> None:
    """Create .venv with this Python, replacing an existing one."""
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError:
        version = ".".join(map(str, sys.version_info[:2]))
        raise StepError(
            f"this Python can't create virtual environments; run: sudo apt-get install python{version}-venv"
        ) from None
    try:
        venv.create(VENV, clear=True, with_pip=True, symlinks=os.name != "nt")
    except (OSError, subprocess.CalledProcessError) as error:
        raise StepError(f"can't create {VENV}: {error}") from None


def prepare_rendering() -> None:
    """Ensure that MuJoCo can render without a screen: install Mesa's EGL if allowed, else print the command."""
    if not sys.platform.startswith("linux") or can_render():
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing EGL, which renders the simulated world")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["apt-get", "update"], command):
            subprocess.run(words, env=environment, check=False, stdout=subprocess.DEVNULL)
        if can_render():
            return
    say(f"no EGL or OSMesa, so rendering tests are skipped; to run them: sudo {' '.join(command)}")


def can_render() -> bool:
    """Return True if MuJoCo gets an OpenGL context from EGL or OSMesa."""
    return any(runs(program("python"), "-c", RENDER_PROBE, MUJOCO_GL=backend) for backend in ("egl", "osmesa"))


def demo(prompt: str) -> None:
    """Write demo.mp4 and demo.png (a contact sheet of its frames) into the checkout."""
    say(f'generating a video of "{prompt}"')
    video, sheet = ROOT / "demo.mp4", ROOT / "demo.png"
    words = ("generate", "-o", video, "--sheet", sheet, "--", prompt)
    step("generation failed; see the lines above", program("python"), "-m", "vitascope", *words, quiet=True)
    say(f"video: {video}")
    say(f"contact sheet: {sheet}")


def test(pytest_options: Sequence[str]) -> None:
    """Run the tests. The summary names those skipped because a GPU or OpenGL is missing."""
    say("running the tests")
    options = [option for option in pytest_options if option != "--"]
    step("tests failed", program("python"), "-m", "pytest", *options)


def bench(words: Sequence[str]) -> None:
    """Run benchmarks against diffusers; without words, all of them."""
    say("running the benchmarks")
    words = [word for word in words if word != "--"]
    step("a benchmark failed; see the lines above", program("python"), "-m", "benchmarks", *words)


def build_docs() -> None:
    """Build the documentation into site/. A broken link is an error."""
    say("building the documentation")
    step("the documentation has errors; see the lines above", program("mkdocs"), "build", "--strict")
    say(f"documentation: {ROOT / 'site' / 'index.html'} (to search it, run: {program('mkdocs')} serve)")


def check() -> None:
    """Run everything a change has to pass."""
    python = program("python")
    for name, words in {
        "formatting": ("ruff", "format", "--check", "."),
        "lint": ("ruff", "check", "."),
        "types": ("pyright", "--pythonpath", python),
        "import contract": ("lint-imports", "--no-logo"),
    }.items():
        say(name)
        step(f"{name} failed; see the lines above", program(words[0]), *words[1:])
    for task, most in MOST_FILES.items():
        say(f"files of the package that {task} visits, at most {most}")
        trace = ROOT / "scripts" / "trace_files.py"
        step("too many files; merge or move code", python, trace, task, "--max", str(most), quiet=True)
    build_docs()
    test(PARALLEL)


def program(name: str) -> Path:
    """Return the path of a program in the virtual environment."""
    return VENV / ("Scripts" if os.name == "nt" else "bin") / (f"{name}.exe" if os.name == "nt" else name)


def runs(*words: str | Path, **variables: str) -> bool:
    """Return True if a command exits with 0. Its output is discarded."""
    try:
        done = subprocess.run(
            words, cwd=ROOT, env={**os.environ, **variables}, check=False, capture_output=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def step(failure: str, *words: str | Path, quiet: bool = False) -> None:
    """Run a command in the checkout. quiet discards its stdout.

    Raises:
        StepError: the exit code is not 0; failure is the message.
    """
    try:
        done = subprocess.run(words, cwd=ROOT, check=False, stdout=subprocess.DEVNULL if quiet else None)
    except OSError as error:
        raise StepError(f"{failure} ({error})") from None
    if done.returncode:
        raise StepError(failure)


def say(text: str) -> None:
    """Print a progress line."""
    print(f"==> {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
