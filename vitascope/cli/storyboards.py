"""`vitascope storyboard`: a video of several shots from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import vitascope
from vitascope.cli.expansion import Expand, expanded_storyboard
from vitascope.cli.options import (
    Guidance,
    Model,
    Negative,
    NumVideos,
    Out,
    PrecisionOption,
    Rate,
    Seed,
    Sheet,
    Size,
    Steps,
    check_file,
    sides,
)
from vitascope.cli.outputs import plan_outputs, write_videos


def storyboard(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.toml", help="Each shot's text, seconds, image and cut.", show_default=False)
    ],
    size: Size = None,
    fps: Rate = None,
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    negative: Negative = "",
    model: Model = "playground",
    dtype: PrecisionOption = "float32",
    num_videos: NumVideos = 1,
    out: Out = None,
    sheet: Sheet = None,
    expand: Expand = False,
) -> None:
    """Make a video of several shots, each with a text of its own, with cuts between them or without."""
    check_file(file)
    from vitascope.generate import storyboard as storyboards

    story = storyboards.load_storyboard(file)
    inputs = [file, *story.images]
    outputs = plan_outputs(out, file.stem, seed, num_videos, sheet, is_image=False, inputs=inputs)
    if expand:
        story = expanded_storyboard(story, seed)
    pipeline = vitascope.load(model, dtype=dtype)
    height, width = sides(size)
    timeline = storyboards.lay_out(pipeline.lattice, pipeline.config, story, height=height, width=width, fps=fps)
    write_videos(pipeline, timeline, outputs, steps=steps, guidance=guidance, negative=negative)
