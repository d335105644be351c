"""Videos of combinations that training never shows, as one picture: `python scripts/gallery.py docs/gallery.png`.

Prints the prompts in the picture's order, left to right and top to bottom.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from pathlib import Path

import vitascope
from vitascope.video import contact_sheet
from vitascope.world.scene import is_held_out
from vitascope.world.words import (
    COLOURS,
    COLOURS_ZH,
    KINDS,
    MOTIONS,
    NOUNS,
    PLACES,
    SETTINGS_EN,
    SETTINGS_ZH,
    TRAVEL_EN,
    TRAVEL_ZH,
)

HELD_OUT_SHARE = 0.1  # what `vitascope render` keeps from training
MOTIONS_EN = {
    "right": "{travel} to the right",
    "left": "{travel} to the left",
    "jump": "jumps up and down",
    "fall": "falls from above",
    "spin": "spins in place",
    "circle": "moves in circles",
    "sway": "sways from side to side",
    "approach": "comes closer",
}
MOTIONS_ZH = {
    "right": "从左向右{travel}",
    "left": "从右向左{travel}",
    "jump": "上下跳动",
    "fall": "从上面掉下来",
    "spin": "原地旋转",
    "circle": "绕圈移动",
    "sway": "左右摇摆",
    "approach": "越来越近",
}


def held_out_prompts(num: int, seed: int) -> list[str]:
    """Prompts of held-out combinations, every second one in Chinese."""
    every = itertools.product(COLOURS, KINDS, MOTIONS, PLACES)
    held_out = [combination for combination in every if is_held_out(*combination, HELD_OUT_SHARE)]
    prompts = []
    for index, (colour, kind, motion, place) in enumerate(random.Random(seed).sample(held_out, num)):
        noun = NOUNS[kind]
        if index % 2 == 0:
            article = "an" if colour == "orange" else "a"
            action = MOTIONS_EN[motion].format(travel=TRAVEL_EN[kind][0])
            prompts.append(f"{article} {colour} {noun.en} {action} {SETTINGS_EN[place][0]}")
        else:
            action = MOTIONS_ZH[motion].format(travel=TRAVEL_ZH[kind][0])
            prompts.append(f"{SETTINGS_ZH[place][0]}，一{noun.measure}{COLOURS_ZH[colour][0]}{noun.zh}{action}")
    return prompts


def main() -> None:
    """Generate the videos and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("-n", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="playground")
    options = parser.parse_args()
    pipeline = vitascope.load(options.model)
    videos = []
    for number, prompt in enumerate(held_out_prompts(options.n, options.seed), start=1):
        videos.append(pipeline.generate(prompt, seed=options.seed + number))
        print(f"{number:2}. {prompt}", flush=True)
    contact_sheet(videos, columns=2, frames_per_video=5, scale=1).save(options.out)
    print(options.out, file=sys.stderr)


if __name__ == "__main__":
    main()
