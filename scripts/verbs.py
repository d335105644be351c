"""Draw the picture of the README's commands: `python scripts/verbs.py README.md docs/verbs.png`.

The script runs every command under "Use" that generates video, in order, in a temporary folder. The picture shows
frames of each result above its command. Commands read the results of earlier ones, `robot.toml` from the README, and
`white.png`, a mask whose right half is white.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from vitascope.video import IMAGE_FPS, Video, contact_sheet, read_video, write_video

VERBS = ("generate", "extend", "fill", "connect", "loop", "edit", "storyboard")
ROW_PIXELS = 9 * 64  # width of a row of frames


def commands(readme: str) -> list[str]:
    """Commands under "Use" that generate video, without their comments."""
    use = readme.partition("\n## Use\n")[2].partition("\n## ")[0]
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", use, flags=re.DOTALL)).splitlines()
    return [
        line.partition("  #")[0].strip() for line in lines if line.startswith(tuple(f"vitascope {v}" for v in VERBS))
    ]


def storyboards(readme: str) -> list[str]:
    """TOML blocks of the README."""
    return re.findall(r"```toml\n(.*?)```", readme, flags=re.DOTALL)


def strips(paths: list[Path]) -> Video:
    """A contact sheet of one command: a row of frames for each video."""
    videos = [read_video(path) for path in paths]
    room = max(1, ROW_PIXELS // videos[0].width)
    return contact_sheet(videos, columns=1, frames_per_video=1 if videos[0].num_frames == 1 else room)


def main() -> None:
    """Run the commands and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    readme = options.readme.read_text(encoding="utf-8")
    pictures, labels = [], []
    with tempfile.TemporaryDirectory() as folder:
        mask = np.zeros((1, 64, 64, 3), np.uint8)
        mask[:, :, 32:] = 255
        write_video(Video(mask, IMAGE_FPS), Path(folder) / "white.png")
        (Path(folder) / "robot.toml").write_text(storyboards(readme)[0], encoding="utf-8")
        for command in commands(readme):
            print(command, file=sys.stderr)
            words = [sys.executable, "-m", *shlex.split(command)]
            done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                sys.exit(f"{command}: exit code {done.returncode}")
            pictures.append(strips([Path(folder) / line for line in done.stdout.splitlines()]))
            labels.append(command)
    contact_sheet(pictures, columns=2, labels=labels).save(options.out)
    print(options.out, file=sys.stderr)


if __name__ == "__main__":
    main()
