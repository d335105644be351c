"""`vitascope generate`, `extend`, `fill`, `connect`, `loop` and `edit`: from prompts and footage to files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

import vitascope
from vitascope.cli.expansion import Expand, expanded
from vitascope.cli.options import (
    Guidance,
    Model,
    Negative,
    NumVideos,
    OptionalPrompt,
    Out,
    PrecisionOption,
    Rate,
    Seed,
    Sheet,
    Size,
    Steps,
    check_file,
    check_positive,
    refuse,
    sides,
)
from vitascope.cli.outputs import plan_outputs, write_videos
from vitascope.video.formats import STILL

_SPANS = re.compile(r"\d+(\.\d+)?-\d+(\.\d+)?(,\d+(\.\d+)?-\d+(\.\d+)?)*", re.ASCII)

Clip = Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.", show_default=False)]
Seconds = Annotated[
    float, typer.Option(callback=check_positive, help="How much is made, in seconds.", show_default=False)
]


def _check_spans(value: str) -> str:
    """Refuse what is not pairs of seconds."""
    if not _SPANS.fullmatch(value):
        raise typer.BadParameter(f"{value!r} is not pairs of seconds, such as 1-1.5 or 1-1.5,3-4.")
    return value


def generate(
    prompt: Annotated[str, typer.Argument(help="What the video shows, in English or Chinese.", show_default=False)],
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="First frame, to be animated.")] = None,
    last_image: Annotated[Path | None, typer.Option(metavar="FILE", help="Last frame, to be led to.")] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A picture to go by, not to be shown; repeatable.")
    ] = None,
    size: Size = None,
    seconds: Annotated[float | None, typer.Option(callback=check_positive, help="Duration; or give --frames.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Number of frames; 1 makes an image.")] = None,
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
    """Make a video, or an image, from a prompt. Long ones are written as they are made."""
    if seconds is not None and frames is not None:
        refuse("give --seconds or --frames, not both")
    for option, file in (
        ("--image", image),
        ("--last-image", last_image),
        *(("--reference", r) for r in reference or []),
    ):
        if file is not None:
            check_file(file, option)
    if out is not None and out.suffix.lower() in STILL and not out.is_dir() and seconds is None and frames is None:
        frames = 1
    given = [file for file in (image, last_image, *(reference or [])) if file is not None]
    outputs = plan_outputs(out, prompt, seed, num_videos, sheet, is_image=frames == 1, inputs=given)
    if expand:
        prompt = expanded(prompt, seed, has_pictures=bool(given), is_image=frames == 1)

    pipeline = vitascope.load(model, dtype=dtype)
    from vitascope.generate import planning as abilities

    height, width = sides(size)
    timeline = abilities.generate(
        pipeline.lattice,
        pipeline.config,
        prompt,
        image=image,
        last_image=last_image,
        references=reference or [],
        height=height,
        width=width,
        num_frames=frames,
        seconds=seconds,
        fps=fps,
    )
    write_videos(pipeline, timeline, outputs, steps=steps, guidance=guidance, negative=negative)


def extend(
    video: Clip,
    seconds: Seconds,
    prompt: OptionalPrompt = "",
    backward: Annotated[bool, typer.Option("--backward", help="Make what comes before, not after.")] = False,
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
) -> None:
    """Make what follows a video, or what precedes it."""
    check_file(video)
    outputs = plan_outputs(out, f"{video.stem} extended", seed, num_videos, sheet, is_image=False, inputs=[video])
    pipeline = vitascope.load(model, dtype=dtype)
    from vitascope.generate import planning as abilities

    height, width = sides(size)
    timeline = abilities.extend(
        pipeline.lattice,
        pipeline.config,
        video,
        prompt,
        seconds=seconds,
        backward=backward,
        height=height,
        width=width,
        fps=fps,
    )
    write_videos(pipeline, timeline, outputs, steps=steps, guidance=guidance, negative=negative)


def fill(
    video: Clip,
    missing: Annotated[
        str,
        typer.Option(
            metavar="A-B[,C-D]", callback=_check_spans, help="What to make anew, in seconds.", show_default=False
        ),
    ],
    prompt: OptionalPrompt = "",
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
) -> None:
    """Make missing parts of a video."""
    check_file(video)
    outputs = plan_outputs(out, f"{video.stem} filled", seed, num_videos, sheet, is_image=False, inputs=[video])
    pipeline = vitascope.load(model, dtype=dtype)
    from vitascope.generate import planning as abilities

    height, width = sides(size)
    spans = [(float(start), float(stop)) for start, _, stop in (span.partition("-") for span in missing.split(","))]
    timeline = abilities.fill(
        pipeline.lattice, pipeline.config, video, spans, prompt, height=height, width=width, fps=fps
    )
    write_videos(pipeline, timeline, outputs, steps=steps, guidance=guidance, negative=negative)


def connect(
    before: Annotated[Path, typer.Argument(metavar="A", help="The video that comes first.", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="B", help="The video to lead to.", show_default=False)],
    seconds: Seconds,
    prompt: OptionalPrompt = "",
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
) -> None:
    """Make what leads from one video to another."""
    check_file(before)
    check_file(after)
    outputs = plan_outputs(
        out, f"{before.stem} to {after.stem}", seed, num_videos, sheet, is_image=False, inputs=[before, after]
    )
    pipeline = vitascope.load(model, dtype=dtype)
    from vitascope.generate import planning as abilities

    height, width = sides(size)
    timeline = abilities.connect(
        pipeline.lattice,
        pipeline.config,
        before,
        after,
        prompt,
        seconds=seconds,
        height=height,
        width=width,
        fps=fps,
    )
    write_videos(pipeline, timeline, outputs, steps=steps, guidance=guidance, negative=negative)


def loop(
    video: Clip,
    prompt: OptionalPrompt = "",
    seconds: Annotated[float, typer.Option(callback=check_positive, help="How much is made, in seconds.")] = 1.0,
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
) -> None:
    """Make what leads from a video's end back to its beginning."""
    check_file(video)
    outputs = plan_outputs(out, f"{video.stem} looped", seed, num_videos, sheet, is_image=False, inputs=[video])
    pipeline = vitascope.load(model, dtype=dtype)
    from vitascope.generate import planning as abilities

    height, width = sides(size)
    timeline = abilities.loop(
        pipeline.lattice, pipeline.config, video, prompt, seconds=seconds, height=height, width=width, fps=fps
    )
    write_videos(pipeline, timeline, outputs, steps=steps, guidance=guidance, negative=negative)


def edit(
    video: Clip,
    prompt: Annotated[str, typer.Argument(help="What it shows afterwards.", show_default=False)],
    strength: Annotated[
        float,
        typer.Option(min=0, max=1, help="How much is changed, from above 0 to 1, all made anew.", show_default=False),
    ],
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An image, white where the video is to change.")
    ] = None,
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
) -> None:
    """Change a video, or an image: its style, its setting, or what is in it."""
    check_file(video)
    if mask is not None:
        check_file(mask, "--mask")
    is_image = video.suffix.lower() in STILL
    outputs = plan_outputs(
        out,
        f"{video.stem} edited",
        seed,
        num_videos,
        sheet,
        is_image=is_image,
        inputs=[video, *([mask] if mask else [])],
    )
    pipeline = vitascope.load(model, dtype=dtype)
    from vitascope.generate import planning as abilities

    height, width = sides(size)
    timeline = abilities.edit(
        pipeline.lattice,
        pipeline.config,
        video,
        prompt,
        strength=strength,
        mask=mask,
        height=height,
        width=width,
        fps=fps,
    )
    write_videos(pipeline, timeline, outputs, steps=steps, guidance=guidance, negative=negative)
