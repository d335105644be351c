"""Mutated media: every file is read or refused in one line, without a crash, a hang or much memory.

python -m benchmarks.robustness.mutations --trials 5000
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

from benchmarks.robustness.watched import Trial, WatchedReader
from vitascope.progress import progress

MAX_FRAMES = 17
_HEADER = 1200  # bytes, in which most fields of a small file's header lie
_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

# Kind: encoder, pixel format
KINDS: dict[str, tuple[str, str]] = {
    ".mp4": ("libx264", "yuv420p"),
    ".mov": ("prores_ks", "yuva444p10le"),
    ".mkv": ("libx265", "yuv420p10le"),
    ".webm": ("libvpx-vp9", "yuva420p"),
    ".avi": ("mpeg4", "yuv420p"),
    ".ts": ("libx264", "yuv420p"),
    ".mpg": ("mpeg2video", "yuv420p"),
    ".flv": ("flv1", "yuv420p"),
    ".gif": ("gif", "rgb8"),
    ".apng": ("apng", "rgba"),
    ".png": ("png", "rgba"),
    ".jpg": ("mjpeg", "yuvj420p"),
    ".webp": ("libwebp", "bgra"),
    ".bmp": ("bmp", "bgr24"),
    ".tif": ("tiff", "rgb24"),
}
_ONE_FRAME = (".png", ".jpg", ".webp", ".bmp", ".tif")


def write_sample(path: Path) -> Path:
    """Six frames of drifting colours, or one, in the kind of the suffix."""
    codec, pix_fmt = KINDS[path.suffix]
    row, column = np.mgrid[:48, :64]
    options = {"x265-params": "log-level=error"} if codec == "libx265" else {}
    with av.open(str(path), "w", format="image2" if path.suffix in _ONE_FRAME else None) as output:
        stream: Any = output.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pix_fmt
        for index in range(1 if path.suffix in _ONE_FRAME else 6):
            waves = [np.sin(row / 5 + index), np.cos(column / 7 - index), np.sin((row + column) / 9)]
            frame = av.VideoFrame.from_ndarray((127 + 120 * np.stack(waves, -1)).astype(np.uint8), "rgb24")
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def _flip(content: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    at = rng.integers(0, len(content), size=rng.integers(1, 20))
    content[at] = rng.integers(0, 256, size=len(at))
    return content


def _flip_header(content: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    at = rng.integers(0, min(len(content), _HEADER), size=rng.integers(1, 8))
    content[at] = rng.integers(0, 256, size=len(at))
    return content


def _truncate(content: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return content[: rng.integers(1, len(content))]


def _splice(content: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Remove, repeat or move a part."""
    first, last = np.sort(rng.integers(0, len(content), size=2))
    part, rest = content[first:last], np.concatenate([content[:first], content[last:]])
    if rng.random() < 0.3:
        return rest if len(rest) else content
    at = rng.integers(0, len(content))
    whole = content if rng.random() < 0.5 else rest
    return np.concatenate([whole[:at], part, whole[at:]])


def _set_fields(content: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Set one to three 2- or 4-byte fields of the header to extreme values, in either byte order."""
    for _ in range(rng.integers(1, 4)):
        size = int(rng.choice([2, 4]))
        value = int(rng.choice(_EXTREMES)) & (256**size - 1)
        at = int(rng.integers(0, max(1, min(len(content), _HEADER) - size)))
        field = np.frombuffer(value.to_bytes(size, "big" if rng.random() < 0.5 else "little"), np.uint8)
        content[at : at + size] = field[: len(content) - at]
    return content


MUTATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "flipped": _flip,
    "header flipped": _flip_header,
    "truncated": _truncate,
    "spliced": _splice,
    "fields set": _set_fields,
}


def run_trials(trials: int, seed: int, keep: Path | None = None, *, apart: bool = True) -> list[tuple[str, str, Trial]]:
    """(kind, mutation, outcome) of each trial; kinds and mutations take turns. `keep` receives files that failed."""
    rng = np.random.default_rng(seed)
    found: list[tuple[str, str, Trial]] = []
    with TemporaryDirectory() as folder, WatchedReader(apart=apart) as reader, progress("mutations") as step:
        samples = {kind: write_sample(Path(folder) / f"sample{kind}").read_bytes() for kind in KINDS}
        for number in range(trials):
            kind = list(KINDS)[number % len(KINDS)]
            mutation = list(MUTATIONS)[number // len(KINDS) % len(MUTATIONS)]
            content = MUTATIONS[mutation](np.frombuffer(samples[kind], np.uint8).copy(), rng).tobytes()
            path = Path(folder) / f"{number}{kind}"
            path.write_bytes(content)
            trial = reader.read(path, max_frames=MAX_FRAMES)
            if trial.failed and keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / path.name).write_bytes(content)
            path.unlink()
            found.append((kind, mutation, trial))
            step(number + 1, trials)
    return found


def main() -> int:
    """Print outcomes by kind, failures, and the slowest and largest trial; the exit code is 1 after a failure."""
    parser = argparse.ArgumentParser(description="Read mutated media and count failures.")
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="Write files that failed here.")
    parser.add_argument("--here", action="store_true", help="Decode in the process that reads, for comparison.")
    arguments = parser.parse_args()
    found = run_trials(arguments.trials, arguments.seed, arguments.keep, apart=not arguments.here)
    for kind in KINDS:
        outcomes = Counter(trial.outcome for each, _, trial in found if each == kind)
        print(f"{kind:6} {sum(outcomes.values()):5} trials: {dict(sorted(outcomes.items()))}")
    failures = [(kind, mutation, trial) for kind, mutation, trial in found if trial.failed]
    for kind, mutation, trial in failures:
        print(f"FAIL {kind} {mutation}: {trial}")
    print(
        f"{len(failures)} failures in {len(found)} trials of {len(KINDS)} kinds; slowest "
        f"{max(trial.seconds for *_, trial in found):.2f} s, most memory beyond the result "
        f"{max(trial.overhead for *_, trial in found) / 2**20:.0f} MiB, of which decoding "
        f"{max(trial.decoding for *_, trial in found) / 2**20:.0f} MiB at most; median "
        f"{1000 * float(np.median([trial.seconds for *_, trial in found])):.1f} ms"
    )
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
