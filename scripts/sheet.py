"""Contact sheet of random clips of a dataset: `python scripts/sheet.py data/world docs/world.png`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from vitascope.data.layout import media_path
from vitascope.video import contact_sheet, read_video


def main() -> None:
    """Write a contact sheet with a strip of four frames per clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("-n", type=int, default=48, help="number of clips; images are skipped")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument(
        "--scale", type=int, help="enlarge pixels this many times; small clips up to three times by default"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    records = sorted((options.dataset / "clips").glob("*.json"))
    moving = [path for path in records if json.loads(path.read_bytes())["num_frames"] > 1]
    if not moving:
        sys.exit(f"{options.dataset} has no videos; render some first")
    picked = np.random.default_rng(options.seed).choice(moving, min(options.n, len(moving)), replace=False).tolist()
    videos = [read_video(media_path(path, num_frames=2)) for path in sorted(picked)]
    contact_sheet(videos, columns=options.columns, frames_per_video=4, scale=options.scale).save(options.out)
    print(options.out, file=sys.stderr)


if __name__ == "__main__":
    main()
