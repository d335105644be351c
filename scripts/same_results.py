"""Prove that a refactor changes no result: compare two revisions' videos and training runs bit for bit on the CPU.

    python scripts/same_results.py against main                 # this checkout and a revision, recorded and compared
    python scripts/same_results.py record OUT.json --root DIR   # one checkout
    python scripts/same_results.py compare A.json B.json

Each case is one `python -m vitascope` command in the checkout, so the package's internals don't matter. Videos are
compared by their decoded frames, because metadata may change. Training runs are compared by the figures of every step
and by the exported tensors; renamed figures and tensors count as the same and are reported. Recordings are comparable
only if they come from the same machine and the same package versions.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 600  # after which a command is stopped
WIDTH, HEIGHT, NUM_FRAMES, FPS = 64, 48, 17, 8
PROMPT = "a red ball bounces up and down on the grass"
TINY = ("--steps", "2", "--size", f"{WIDTH}x{HEIGHT}", "--seed", "3")

# Arguments of the commands that make videos. {ball}, {box}, {picture}, {other}, {mask} and {story} are the inputs.
VIDEOS: dict[str, tuple[str, ...]] = {
    "generate": ("generate", PROMPT, *TINY),
    "generate-guided": ("generate", PROMPT, *TINY, "--guidance", "2", "--negative", "snow", "--fps", "12"),
    "generate-two": ("generate", "一只蓝色的机器人在沙漠里向右走", *TINY, "-n", "2", "--frames", "9"),
    "generate-still": ("generate", PROMPT, *TINY, "--frames", "1"),
    "generate-first": ("generate", PROMPT, *TINY, "--image", "{picture}"),
    "generate-last": ("generate", PROMPT, *TINY, "--image", "{picture}", "--last-image", "{other}"),
    "generate-reference": ("generate", PROMPT, *TINY, "--reference", "{picture}"),
    "generate-long": ("generate", PROMPT, *TINY, "--frames", "49"),  # three windows
    "generate-int8": ("generate", PROMPT, *TINY, "--dtype", "int8"),
    "generate-bfloat16": ("generate", PROMPT, *TINY, "--dtype", "bfloat16"),
    "extend": ("extend", "{ball}", PROMPT, *TINY, "--seconds", "1"),
    "extend-backward": ("extend", "{ball}", PROMPT, *TINY, "--seconds", "1", "--backward"),
    "fill": ("fill", "{ball}", PROMPT, *TINY, "--missing", "0.5-1.5"),
    "connect": ("connect", "{ball}", "{box}", PROMPT, *TINY, "--seconds", "1"),
    "loop": ("loop", "{ball}", *TINY),
    "edit": ("edit", "{ball}", "a red ball in the snow", *TINY, "--strength", "0.9"),
    "edit-mask": ("edit", "{ball}", "a blue ball on the grass", *TINY, "--strength", "1", "--mask", "{mask}"),
    "storyboard": ("storyboard", "{story}", *TINY),
}
STORY = """text = "a red robot"

[[shots]]
text = "the robot moves to the right at the beach"
seconds = 1

[[shots]]
text = "the robot jumps in the snow"
seconds = 1
image = "picture.png"

[[shots]]
text = "the robot spins in place in the snow"
seconds = 0.5
cut = false
"""

RENDER = ("--clips", "24", "--seed", "5", "--size", "32x32", "--frames", "9", "--image-share", "0.2", "--workers", "1")
STEPS = 20
NETWORKS = ("codec", "transformer", "judge")  # the transformer learns the latents of this codec
TIMED = re.compile(r"seconds?$|/s$|wait")  # figures that differ from run to run
NAMES = ("inputs", *VIDEOS, "render", *(f"train-{network}" for network in NETWORKS))

Result = dict[str, Any]


class CommandError(Exception):
    """A command that failed: the last line of its stderr."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one verb: 0 if all results are equal, 1 if one differs or failed."""
    options = parse_arguments(argv)
    only = options.only or NAMES
    if options.verb == "record":
        recording = record(options.root.resolve(), only)
        options.out.write_text(json.dumps(recording, indent=1), encoding="utf-8")
        return int(any("error" in result for result in recording["cases"].values()))
    if options.verb == "compare":
        first, second = (json.loads(path.read_text(encoding="utf-8")) for path in (options.a, options.b))
        return compare(
            first, second, options.only or [name for name in NAMES if name in {*first["cases"], *second["cases"]}]
        )
    return against(options.revision, options.root.resolve(), only)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The verb and its options."""
    parser = argparse.ArgumentParser(prog="same_results.py", description="Prove that a refactor changes no result.")
    only = argparse.ArgumentParser(add_help=False)
    only.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, help=f"run these cases: {', '.join(NAMES)}")
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument("--root", type=Path, default=ROOT, metavar="CHECKOUT", help="checkout to run (default: this one)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    recorder = verbs.add_parser("record", parents=[only, root], help="run all cases in a checkout")
    recorder.add_argument("out", type=Path, metavar="OUT.json")
    comparer = verbs.add_parser("compare", parents=[only], help="compare two recordings")
    comparer.add_argument("a", type=Path, metavar="A.json")
    comparer.add_argument("b", type=Path, metavar="B.json")
    rival = verbs.add_parser("against", parents=[only, root], help="record a revision and the checkout, and compare")
    rival.add_argument("revision", metavar="REV")
    options = parser.parse_args(argv)
    if "root" in options and not (options.root / "vitascope" / "__main__.py").is_file():
        parser.error(f"--root {options.root} has no vitascope/__main__.py; give a checkout of Vitascope")
    return options


def against(revision: str, root: Path, only: Collection[str]) -> int:
    """The exit code of a comparison of a revision, in a temporary worktree, with the checkout."""
    git = ("git", "-C", str(root), "worktree")
    with tempfile.TemporaryDirectory(prefix="same-results-") as temporary:
        worktree = Path(temporary) / "revision"
        subprocess.run([*git, "add", "--quiet", "--detach", str(worktree), revision], check=True)
        try:
            before = record(worktree, only)
        finally:
            subprocess.run([*git, "remove", "--force", str(worktree)], check=True)
    return compare(before, record(root, only), only)


# Recording


def record(root: Path, only: Collection[str]) -> dict[str, Any]:
    """Results of a checkout's cases by name, and the versions of Python and packages."""
    print(f"recording {root}", flush=True)
    results: dict[str, Result] = {}
    with tempfile.TemporaryDirectory(prefix="same-results-") as temporary:
        cases = make_cases(root, Path(temporary))
        for name in (name for name in NAMES if name in only):
            began = time.monotonic()
            try:
                results[name] = cases[name]()
            except CommandError as error:
                results[name] = {"error": str(error)}
            print(f"{time.monotonic() - began:6.1f} s  {name}: {outcome(results[name])}", flush=True)
    versions = {"python": platform.python_version(), **{name: version(name) for name in ("torch", "numpy", "av")}}
    return {"versions": versions, "cases": results}


def outcome(result: Result) -> str:
    """A result in a few words."""
    if "error" in result:
        return f"FAILED: {result['error']}"
    return f"skipped: {result['skipped']}" if "skipped" in result else "recorded"


def has_vnni() -> bool:
    """True if the processor's 8-bit sums don't overflow (VNNI), or if its features can't be read."""
    flags = Path("/proc/cpuinfo")
    return not flags.exists() or "vnni" in flags.read_text(encoding="utf-8")


def make_cases(root: Path, folder: Path) -> dict[str, Callable[[], Result]]:
    """One function per case that runs it and writes files to the folder. Cases share inputs, datasets and runs."""
    inputs = make_inputs(folder)
    finished: dict[str, Path] = {}

    def video(name: str) -> Result:
        if name == "generate-int8" and not has_vnni():
            return {"skipped": "this processor has no VNNI, which int8 needs"}
        suffix = "png" if name == "generate-still" else "mp4"
        words = [word.format_map(inputs) for word in VIDEOS[name]]
        written = run(root, *words, "--out", f"{folder / name}.{suffix}")
        return {"videos": [frames_result(read_frames(Path(path))) for path in written]}

    def dataset() -> Path:
        if "dataset" not in finished:
            run(root, "render", *RENDER, "--out", str(folder / "dataset"))
            finished["dataset"] = folder / "dataset"
        return finished["dataset"]

    def render() -> Result:
        files = sorted(path for path in dataset().rglob("*") if path.suffix in {".mp4", ".mkv", ".png"})
        return {"videos": [frames_result(read_frames(path)) for path in files]}

    def network(name: str) -> Path:
        if name not in finished:
            config = Path("vitascope/configs") / f"tiny-{name}.toml"
            overrides = [f"data={dataset()}", f"steps={STEPS}"]
            if "\nlog_every" in (root / config).read_text(encoding="utf-8"):
                overrides.append("log_every=1")
            if name == "transformer":
                overrides.append(f"vae={network('codec')}")
            written = run(root, "train", name, str(config), *overrides, "--out", str(folder / f"run-{name}"))
            finished[name] = Path(written[-1])
        return finished[name]

    def training(name: str) -> Result:
        exported = network(name)
        return {"figures": read_figures(folder / f"run-{name}" / "metrics.jsonl"), "tensors": read_tensors(exported)}

    return {
        "inputs": lambda: {
            "videos": [frames_result(read_frames(Path(inputs[name]))) for name in sorted(inputs) if name != "story"]
        },
        **{name: lambda name=name: video(name) for name in VIDEOS},
        "render": render,
        **{f"train-{name}": lambda name=name: training(name) for name in NETWORKS},
    }


def run(root: Path, *words: str) -> list[str]:
    """The lines that a command of the checkout prints to stdout.

    Raises:
        CommandError: another exit code than 0, or too slow.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("VITASCOPE_", "PYTHONSAFE"))}
    variables |= {
        "PYTHONPATH": str(root),
        "PYTHONHASHSEED": "0",
        "PYTHONIOENCODING": "utf-8",
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads are many times slower if other processes run
        "CUDA_VISIBLE_DEVICES": "",
        "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl"),
    }
    command = [sys.executable, "-m", "vitascope", *words]
    try:
        done = subprocess.run(
            command, cwd=root, env=variables, capture_output=True, encoding="utf-8", check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"no end after {SECONDS} s") from None
    if done.returncode:
        raise CommandError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return done.stdout.splitlines()


# Inputs


def make_inputs(folder: Path) -> dict[str, str]:
    """Paths by name of the videos, the pictures and the storyboard that cases read; the same in every run."""
    ball, box = (draw_video(*look) for look in (((220, 40, 40), False), ((40, 80, 220), True)))
    mask = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    mask[:, :, WIDTH // 2 :] = 255
    for name, frames in {"ball.mp4": ball, "box.mp4": box}.items():
        write_frames(folder / name, frames, "libx264rgb", "rgb24", {"qp": "0", "threads": "1"})
    for name, frames in {"picture.png": ball[:1], "other.png": ball[-1:], "mask.png": mask}.items():
        write_frames(folder / name, frames, "png", "rgb24", {})
    (folder / "story.toml").write_text(STORY, encoding="utf-8")
    files = ("ball.mp4", "box.mp4", "picture.png", "other.png", "mask.png", "story.toml")
    return {Path(name).stem: str(folder / name) for name in files}


def draw_video(colour: tuple[int, int, int], is_box: bool) -> np.ndarray:
    """A ball or a box that bounces from left to right over a lawn: time, rows, columns, RGB."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frames = np.empty((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[:] = (120, 170, 230)
        frame[HEIGHT * 3 // 5 :] = (60, 140, 50)
        across = columns - (12 + number * (WIDTH - 24) // (NUM_FRAMES - 1))
        down = rows - (HEIGHT * 3 // 4 - (number % 8) * (8 - number % 8) * 3 // 2)
        inside = np.maximum(abs(across), abs(down)) <= 7 if is_box else across**2 + down**2 <= 64
        frame[inside] = colour
    return frames


def write_frames(path: Path, frames: np.ndarray, codec: str, pixel_format: str, options: dict[str, str]) -> None:
    """Write frames losslessly, as a video or an image."""
    with av.open(str(path), "w", format="image2" if path.suffix == ".png" else None) as container:
        stream: Any = container.add_stream(codec, rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixel_format
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))


# Results


def read_frames(path: Path) -> np.ndarray:
    """Decoded frames: time, rows, columns, RGB."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def frames_result(frames: np.ndarray) -> Result:
    """A video's SHA-256, shape and pixels; the pixels quantify a difference."""
    pixels = frames.tobytes()
    return {
        "sha256": hashlib.sha256(pixels).hexdigest(),
        "shape": list(frames.shape),
        "pixels": base64.b64encode(zlib.compress(pixels)).decode(),
    }


def read_figures(path: Path) -> dict[str, dict[str, float]]:
    """The figures of a run by step and name, without those that measure time."""
    figures: dict[str, dict[str, float]] = {}
    for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        kept = {name: value for name, value in record.items() if name != "step" and not TIMED.search(name)}
        figures.setdefault(str(record["step"]), {}).update(kept)
    return figures


def read_tensors(folder: Path) -> dict[str, str]:
    """SHA-256 of each tensor in a folder of exported weights, by file and key."""
    digests = {}
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            for key in sorted(file.keys()):
                tensor = file.get_tensor(key)
                described = f"{tensor.dtype} {tensor.shape} ".encode() + tensor.tobytes()
                digests[f"{path.parent.relative_to(folder)}: {key}"] = hashlib.sha256(described).hexdigest()
    return digests


# Comparing


def compare(first: Mapping[str, Any], second: Mapping[str, Any], only: Collection[str]) -> int:
    """The exit code of a comparison, which prints one line per case."""
    if first["versions"] != second["versions"]:
        print(
            f"warning: recorded with {first['versions']} and {second['versions']}; results may differ for that reason"
        )
    counts: Counter[str] = Counter()
    for name in only:
        a, b = first["cases"].get(name), second["cases"].get(name)
        if a and b and "skipped" in a and "skipped" in b:
            counts["skipped"] += 1
            print(f"{name}: {outcome(a)}")
            continue
        differences, notes = difference(a, b)
        counts["different" if differences else "same"] += 1
        print(f"{name}: {'; '.join(differences or ['same', *notes])}")
    print(", ".join(f"{counts[kind]} {kind}" for kind in ("same", "different", "skipped")))
    return int(counts["different"] > 0 or counts["same"] == 0)


def difference(a: Result | None, b: Result | None) -> tuple[list[str], list[str]]:
    """(differences, renamed figures and tensors) of two results of a case."""
    if a is None or b is None or "skipped" in a or "skipped" in b:
        sides = [side for side, result in (("A", a), ("B", b)) if result is None or "skipped" in result]
        return [f"missing in {' and '.join(sides)}"], []
    errors = [f"FAILED in {side}: {result['error']}" for side, result in (("A", a), ("B", b)) if "error" in result]
    if errors:
        return errors, []
    if "videos" in a:
        return video_differences(a["videos"], b["videos"]), []
    figures, renamed_figures = figure_differences(a["figures"], b["figures"])
    tensors, renamed_tensors = tensor_differences(a["tensors"], b["tensors"])
    return figures + tensors, renamed_figures + renamed_tensors


def video_differences(first: Sequence[Result], second: Sequence[Result]) -> list[str]:
    """Differences of a case's videos, one line per file."""
    if len(first) != len(second):
        return [f"DIFFERENT: {len(first)} and {len(second)} files"]
    found = []
    for number, (a, b) in enumerate(zip(first, second, strict=True), 1):
        of_many = f" in file {number} of {len(first)}" if len(first) > 1 else ""
        if a["shape"] != b["shape"]:
            found.append(f"DIFFERENT{of_many}: shapes {a['shape']} and {b['shape']}")
        elif a["sha256"] != b["sha256"]:
            gap = abs(pixels_of(a).astype(int) - pixels_of(b))
            frames = int(gap.any(axis=(1, 2, 3)).sum())
            found.append(
                f"DIFFERENT{of_many}: {frames} of {len(gap)} frames, {gap.astype(bool).mean():.1%} of values, "
                f"by up to {gap.max()} of 255, {gap.mean():.2g} on average"
            )
    return found


def pixels_of(result: Result) -> np.ndarray:
    """The frames that `frames_result` recorded."""
    return np.frombuffer(zlib.decompress(base64.b64decode(result["pixels"])), np.uint8).reshape(result["shape"])


def figure_differences(
    first: dict[str, dict[str, float]], second: dict[str, dict[str, float]]
) -> tuple[list[str], list[str]]:
    """(differences, renamed figures) in the steps that both runs logged."""
    steps = [step for step in first if step in second]
    if not steps:
        return ["DIFFERENT: no step is in both metrics files"], []
    renamed: dict[str, str] = {}
    different: list[tuple[str, str, str]] = []
    for step in steps:
        a, b = first[step], second[step]
        unmatched = {name: value for name, value in b.items() if name not in a}
        for name, value in a.items():
            twin = name if name in b else next((n for n, v in unmatched.items() if repr(v) == repr(value)), None)
            if twin is None or repr(b[twin]) != repr(value):
                different.append((step, name, f"{value} and {b[twin] if twin else 'none'}"))
            elif twin != name:
                renamed[name] = twin
                del unmatched[twin]
    notes = [f"figure {a!r} is now {b!r}" for a, b in renamed.items()]
    if len(steps) < max(len(first), len(second)):
        notes.append(f"only {len(steps)} steps are in both metrics files")
    if different:
        step, name, values = different[0]
        return [f"DIFFERENT: {len(different)} figures, first {name!r} of step {step}, {values}"], notes
    return [], notes


def tensor_differences(first: dict[str, str], second: dict[str, str]) -> tuple[list[str], list[str]]:
    """(differences, renamed tensors) of exported tensors, compared as multisets of digests."""
    if first == second and first:
        return [], []
    gone = Counter(first.values()) - Counter(second.values())
    new = Counter(second.values()) - Counter(first.values())
    if not first or gone or new:
        return [f"DIFFERENT: {gone.total()} of {len(first)} tensors, {new.total()} new of {len(second)}"], []
    return [], [f"{sum(second.get(key) != digest for key, digest in first.items())} tensors renamed"]


if __name__ == "__main__":
    sys.exit(main())
