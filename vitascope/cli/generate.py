"""`vitascope generate`, `extend`, `fill`, `connect`, `loop`, `edit`, `storyboard` and `run`: from options to files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import vitascope
from vitascope.cli.expansion import Expand, expanded, expanded_storyboard
from vitascope.cli.options import Common, OptionalPrompt, check_file, check_positive, refuse, with_common_options
from vitascope.cli.outputs import plan_outputs, write_videos
from vitascope.video.formats import STILL

if TYPE_CHECKING:
    from vitascope.generate.requests import Request

_SPANS = re.compile(r"\d+(\.\d+)?-\d+(\.\d+)?(,\d+(\.\d+)?-\d+(\.\d+)?)*", re.ASCII)

Clip = Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.", show_default=False)]
Seconds = Annotated[
    float, typer.Option(callback=check_positive, help="Set the length of the new part.", show_default=False)
]


def _check_spans(value: str) -> str:
    if not _SPANS.fullmatch(value):
        raise typer.BadParameter(f"{value!r} is not pairs of seconds, such as 1-1.5 or 1-1.5,3-4.")
    return value


@with_common_options
def generate(
    prompt: Annotated[str, typer.Argument(help="Describe the video, in English or Chinese.", show_default=False)],
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="Animate this image: the first frame.")] = None,
    last_image: Annotated[Path | None, typer.Option(metavar="FILE", help="End with this image.")] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Show what is in this image; repeatable.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(callback=check_positive, help="Set the duration; or give --frames.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Set the number of frames; 1 makes an image.")] = None,
    expand: Expand = False,
    *,
    common: Common,
) -> None:
    """Generate a video or an image from a prompt. Long videos are written while they are generated."""
    from vitascope.generate.requests import Generate

    if seconds is not None and frames is not None:
        refuse("give --seconds or --frames, not both")
    pictures = [("--image", image), ("--last-image", last_image), *(("--reference", each) for each in reference or [])]
    for option, file in pictures:
        if file is not None:
            check_file(file, option)
    out = common.out
    if out is not None and out.suffix.lower() in STILL and not out.is_dir() and seconds is None and frames is None:
        frames = 1
    request = Generate(
        prompt=prompt,
        image=image,
        last_image=last_image,
        references=tuple(reference or ()),
        seconds=seconds,
        num_frames=frames,
        **common.fields(),
    )

    def fuller(request: Request) -> Request:
        has_pictures = any(file is not None for _, file in pictures)
        text = expanded(prompt, request.seed, has_pictures=has_pictures, is_image=frames == 1)
        return request.replaced(prompt=text)

    make_videos(request, common, prompt, expand=fuller if expand else None)


@with_common_options
def extend(
    video: Clip,
    seconds: Seconds,
    prompt: OptionalPrompt = "",
    backward: Annotated[bool, typer.Option("--backward", help="Generate what precedes the video.")] = False,
    *,
    common: Common,
) -> None:
    """Generate what follows a video, or what precedes it."""
    from vitascope.generate.requests import Extend

    check_file(video)
    request = Extend(video=video, prompt=prompt, seconds=seconds, backward=backward, **common.fields())
    make_videos(request, common, f"{video.stem} extended")


@with_common_options
def fill(
    video: Clip,
    missing: Annotated[
        str,
        typer.Option(
            metavar="A-B[,C-D]", callback=_check_spans, help="Regenerate these parts, in seconds.", show_default=False
        ),
    ],
    prompt: OptionalPrompt = "",
    *,
    common: Common,
) -> None:
    """Generate missing parts of a video."""
    from vitascope.generate.requests import Fill

    check_file(video)
    spans = tuple((float(start), float(stop)) for start, _, stop in (s.partition("-") for s in missing.split(",")))
    make_videos(Fill(video=video, missing=spans, prompt=prompt, **common.fields()), common, f"{video.stem} filled")


@with_common_options
def connect(
    before: Annotated[Path, typer.Argument(metavar="A", help="The video that comes first.", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="B", help="The video that comes last.", show_default=False)],
    seconds: Seconds,
    prompt: OptionalPrompt = "",
    *,
    common: Common,
) -> None:
    """Generate the transition from one video to another."""
    from vitascope.generate.requests import Connect

    check_file(before)
    check_file(after)
    request = Connect(before=before, after=after, prompt=prompt, seconds=seconds, **common.fields())
    make_videos(request, common, f"{before.stem} to {after.stem}")


@with_common_options
def loop(
    video: Clip,
    prompt: OptionalPrompt = "",
    seconds: Annotated[float, typer.Option(callback=check_positive, help="Set the length of the new part.")] = 1.0,
    *,
    common: Common,
) -> None:
    """Generate the transition from a video's end to its beginning."""
    from vitascope.generate.requests import Loop

    check_file(video)
    make_videos(Loop(video=video, prompt=prompt, seconds=seconds, **common.fields()), common, f"{video.stem} looped")


@with_common_options
def edit(
    video: Clip,
    prompt: Annotated[str, typer.Argument(help="Describe the edited video.", show_default=False)],
    strength: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Set the edit strength, in (0, 1]; 1 regenerates everything.",
            show_default=False,
        ),
    ],
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Regenerate only where this image is white.")
    ] = None,
    *,
    common: Common,
) -> None:
    """Change a video or an image. It can change style, setting or content."""
    from vitascope.generate.requests import Edit

    check_file(video)
    if mask is not None:
        check_file(mask, "--mask")
    request = Edit(video=video, prompt=prompt, strength=strength, mask=mask, **common.fields())
    make_videos(request, common, f"{video.stem} edited")


@with_common_options
def storyboard(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.toml", help="Each shot's text, seconds, image and cut.", show_default=False)
    ],
    expand: Expand = False,
    *,
    common: Common,
) -> None:
    """Generate a video of several shots. Each has a text of its own, with or without a cut before it."""
    from vitascope.generate.requests import Storyboard, load_storyboard

    check_file(file)
    board = load_storyboard(file).replaced(**common.fields())

    def fuller(request: Request) -> Request:
        assert isinstance(request, Storyboard)
        return expanded_storyboard(request, request.seed)

    make_videos(board, common, file.stem, inputs=[file], expand=fuller if expand else None)


@with_common_options
def run(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A request's JSON file, or a video that Vitascope wrote.", show_default=False
        ),
    ],
    *,
    common: Common,
) -> None:
    """Make the video of a stored request. See --dump-request; options given here replace its fields."""
    from vitascope.generate.recording import read_request
    from vitascope.generate.requests import load_request

    check_file(file)
    is_file_of_request = file.suffix.lower() in (".json", ".toml")
    request = load_request(file) if is_file_of_request else read_request(file)
    request = request.replaced(**common.fields())
    make_videos(request, common, file.stem, inputs=[file])


def make_videos(
    request: Request,
    common: Common,
    name: str,
    *,
    inputs: list[Path] | None = None,
    expand: Callable[[Request], Request] | None = None,
) -> None:
    """Print the request, or generate its videos. `name` is the default file name; `expand` lengthens prompts."""
    from vitascope.generate.recording import makes_image

    given = [*(inputs or []), *(each for each in request.footage() if isinstance(each, Path))]
    if common.dump_request:
        request = request if expand is None else expand(request)
        typer.echo(request.with_paths(Path.absolute).to_json())
        return
    outputs = plan_outputs(
        common.out, name, request.seed, common.num_videos, common.sheet, is_image=makes_image(request), inputs=given
    )
    request = request if expand is None else expand(request)
    pipeline = vitascope.load(
        common.model, device=common.device, dtype=common.dtype, compile=common.compile, offload=common.offload
    )
    write_videos(pipeline, request, outputs)


GENERATE_VERBS = {verb.__name__: verb for verb in (generate, extend, fill, connect, loop, edit, storyboard, run)}
