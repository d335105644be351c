"""Generate a picture of combinations absent from training: `python scripts/gallery.py docs/gallery.png`.

The script prints the prompts in the picture's order, left to right and top to bottom.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import vitascope
from vitascope.video import contact_sheet
from vitascope.worlds.language import LANGUAGES
from vitascope.worlds.solids.captions import captions
from vitascope.worlds.solids.sampling import sample_scene


def held_out_prompts(num: int, seed: int, variety: float) -> list[str]:
    """Captions of scenes with one held-out actor each; the languages alternate."""
    seeds = itertools.count(1_000_000 * seed)
    drawn = (sample_scene(number, "held_out", variety=variety) for number in seeds)
    scenes = (scene for scene in drawn if len(scene.actors) == 1)
    picked = itertools.islice(scenes, num)
    return [
        captions(scene, is_image=False)[language][0]
        for scene, language in zip(picked, itertools.cycle(LANGUAGES), strict=False)
    ]


def main() -> None:
    """Generate the videos and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("-n", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variety", type=float, default=0.0, help="variety of the scenes, 0 to 1")
    parser.add_argument("--prompts", type=Path, help="read prompts from this file, one per line")
    parser.add_argument("--model", default="playground")
    options = parser.parse_args()
    pipeline = vitascope.load(options.model)
    videos = []
    if options.prompts is None:
        prompts = held_out_prompts(options.n, options.seed, options.variety)
    else:
        prompts = options.prompts.read_text(encoding="utf-8").splitlines()[: options.n]
    for number, prompt in enumerate(prompts, start=1):
        videos.append(pipeline.generate(prompt, seed=options.seed + number))
        print(f"{number:2}. {prompt}", flush=True)
    contact_sheet(videos, columns=2, frames_per_video=5).save(options.out)
    print(options.out, file=sys.stderr)


if __name__ == "__main__":
    main()
