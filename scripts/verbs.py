"""Draw the picture of the README's commands: `python scripts/verbs.py README.md docs/verbs.png`.

The script runs every command under "Use" in order, in a temporary folder. The picture shows frames of each result above
its command. Commands read only what earlier ones wrote.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from itertools import takewhile
from pathlib import Path

from vitascope.video import Video, contact_sheet, read_video

VERBS = ("generate", "extend", "fill", "connect", "loop", "edit", "storyboard")
ROW_PIXELS = 9 * 64  # width of a row of frames


def steps(page: str) -> list[str]:
    """Commands of a page's `sh` blocks, in order, without comments. Here-documents and continued lines stay whole."""
    found: list[str] = []
    lines = iter("\n".join(re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)).splitlines())
    for line in lines:
        step = re.sub(r"(^|\s+)#.*$", "", line)
        if match := re.search(r"<< (\w+)$", step):
            step = "\n".join([step, *takewhile(lambda text, end=match[1]: text != end, lines), match[1]])
        while step.endswith("\\"):
            step = step[:-1] + re.sub(r"(^|\s+)#.*$", "", next(lines)).lstrip()
        found += [step] if step else []
    return found


def use_steps(readme: str) -> list[str]:
    """Commands under "Use"."""
    return steps(readme.partition("\n## Use\n")[2].partition("\n## ")[0])


def generates(step: str) -> bool:
    """True for a command that generates video."""
    return step.startswith(tuple(f"vitascope {verb} " for verb in VERBS))


def strips(paths: list[Path]) -> Video:
    """A contact sheet of one command: a row of frames for each video."""
    videos = [read_video(path) for path in paths]
    room = max(1, ROW_PIXELS // videos[0].width)
    return contact_sheet(videos, columns=1, frames_per_video=1 if videos[0].num_frames == 1 else room, scale=1)


def main() -> None:
    """Run the commands and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    readme = options.readme.read_text(encoding="utf-8")
    pictures, labels = [], []
    with tempfile.TemporaryDirectory() as folder:
        for step in use_steps(readme):
            print(step, file=sys.stderr)
            words = [sys.executable, "-m", *shlex.split(step)] if generates(step) else ["sh", "-c", step]
            done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                sys.exit(f"{step}: exit code {done.returncode}")
            if generates(step):
                pictures.append(strips([Path(folder) / line for line in done.stdout.splitlines()]))
                labels.append(step)
    contact_sheet(pictures, columns=2, labels=labels, scale=1).save(options.out)
    print(options.out, file=sys.stderr)


if __name__ == "__main__":
    main()
