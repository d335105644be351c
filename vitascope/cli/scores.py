"""`vitascope evaluate faithful` and `distribution`: scores of many videos together, read by the judge."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import vitascope
from vitascope.cli.options import MODEL_HELP, GeneratorDtype, Seed, check_folder, refuse, refuse_unused
from vitascope.progress import progress

if TYPE_CHECKING:
    from vitascope.evaluate.measures.features import Feature

JudgeFolder = Annotated[
    Path | None, typer.Option("--judge", metavar="DIR", help="A judge's folder.", show_default="the bundled one")
]


def evaluate_faithful(
    videos: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]", help="Another system's videos of the prompts, with captions that say which."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|DIR|ID", help=f"Without videos: {MODEL_HELP}", show_default="playground")
    ] = None,
    num_prompts: Annotated[
        int, typer.Option("-n", min=2, max=10_000, help="Prompts: English and Chinese, combinations seen and unseen.")
    ] = 48,
    seed: Seed = 0,
    variety: Annotated[float, typer.Option(min=0, max=1, help="How much goes on, as `render` has it.")] = 1.0,
    judge: JudgeFolder = None,
    dtype: GeneratorDtype = None,
    baseline: Annotated[
        bool, typer.Option(help="Also render the same scenes: the ceiling and, shuffled, chance.")
    ] = True,
    write_prompts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Only write the prompts that another system needs.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="DIR", help="Also write faithful.json and .png, and keep the videos, here."
        ),
    ] = None,
) -> None:
    """Read what a model makes of prompts: which share of what was asked for is there. To go on, run it again."""
    for folder in (out, write_prompts):
        if folder is not None:
            check_folder(folder)
    if videos is not None and model is not None:
        refuse("give videos or --model, not both")
    if videos:
        refuse_unused({"--dtype": dtype}, "is for videos that a model makes")
    from vitascope.errors import SizeError
    from vitascope.evaluate import faithful
    from vitascope.evaluate.measures.video_cache import find_answers, keep
    from vitascope.evaluate.measures.video_cache import write_prompts as write
    from vitascope.judge.bundled import find_judge
    from vitascope.judge.network import Judge
    from vitascope.video import read_video
    from vitascope.worlds.solids.scene import WORLD_VERSION

    questions = faithful.make_questions(num_prompts, seed, variety)
    if write_prompts is not None:
        typer.echo(write(questions, write_prompts))
        return
    reader = Judge.load(find_judge(judge))
    settings = {"world_version": WORLD_VERSION, "seed": seed, "variety": variety}
    with kept_in(out) as kept:
        if videos is not None:
            paths = find_answers(videos, {question.name: question.prompt for question in questions})
            without = [question.name for question in questions if question.name not in paths]
            if without:
                print(f"left out: {len(without)} of {num_prompts} prompts have no video: {without[0]}", file=sys.stderr)
            questions = [question for question in questions if question.name in paths]
            if len(questions) < 2:
                raise SizeError(f"{videos} has a video of one prompt; chance needs at least two")
        else:
            chosen, precision = model or "playground", dtype or "float32"
            orders = faithful.generated(questions, vitascope.load(chosen, dtype=precision).generate, seed)
            with progress("generating") as on_progress:
                paths = keep(
                    orders,
                    kept / "model",
                    {"model": model_fingerprint(chosen), "dtype": precision, **settings},
                    on_progress,
                )
        renders = None
        if baseline:
            shape = faithful.render_shape(read_video(paths[questions[0].name]))
            with progress("rendering") as on_progress:
                orders = faithful.rendered(questions, shape)
                renders = keep(orders, kept / "renders", {"shape": list(shape), **settings}, on_progress)
        with progress("reading") as on_progress:
            report = faithful.evaluate_faithful(
                questions,
                reader.read,
                render=None if renders is None else lambda question: read_video(renders[question.name]),
                make=lambda question: read_video(paths[question.name]),
                judge=reader.config.accuracy,
                on_progress=on_progress,
            )
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


class FeatureName(StrEnum):
    """What videos are compared by."""

    colours = "colours"
    changes = "changes"
    trunk = "trunk"


def evaluate_distribution(
    real: Annotated[
        Path, typer.Option(metavar="DIR", help="Real clips: a dataset, or a folder of videos.", show_default=False)
    ],
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[VIDEO|FOLDER...]",
            help="Generated videos: files, folders of them, or datasets.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|DIR|ID", help=f"Without videos: {MODEL_HELP}", show_default="playground")
    ] = None,
    features: Annotated[
        list[FeatureName] | None,
        typer.Option(help="By what: colours and changes on a grid, a judge's trunk. Repeatable.", show_default="all"),
    ] = None,
    num_clips: Annotated[
        int, typer.Option("-n", min=16, max=100_000, help="At most this many clips of each; of real ones twice.")
    ] = 256,
    seed: Seed = 0,
    frames: Annotated[int, typer.Option(min=2, help="At most this many frames of each clip.")] = 241,
    judge: JudgeFolder = None,
    dtype: GeneratorDtype = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="DIR", help="Also write distribution.json and .png, and keep the videos, here."
        ),
    ] = None,
) -> None:
    """Frechet distances of generated from real clips on named features, beside those of real and of spoilt clips."""
    if out is not None:
        check_folder(out)
    if videos and model is not None:
        refuse("give videos or --model, not both")
    if videos:
        refuse_unused({"--dtype": dtype}, "is for videos that a model makes")
    for source in (real, *(videos or [])):
        if not source.exists():
            refuse(f"{source}: no such file or folder")
    from vitascope.errors import DatasetError
    from vitascope.evaluate import distribution
    from vitascope.evaluate.measures.video_cache import keep
    from vitascope.video import read_video

    kinds, about = _features(features or list(FeatureName), judge)
    clips = distribution.dataset_clips(real, seed)
    named = [(clip.id, clip.read) for clip in clips] or distribution.media(real, seed)
    named = named[: 2 * num_clips]
    with kept_in(out) as kept:
        if videos:
            generated = [pair for source in videos for pair in distribution.media(source, seed)][:num_clips]
        else:
            if not clips:
                raise DatasetError(f"{real} has no captions to generate from: give videos, or name a dataset's folder")
            chosen, precision = model or "playground", dtype or "float32"
            settings = {
                "model": model_fingerprint(chosen),
                "dtype": precision,
                "real": distribution.digest(clips),
                "seed": seed,
            }
            about |= settings
            orders = distribution.prompted(
                clips[: len(named) // 2], vitascope.load(chosen, dtype=precision).generate, seed
            )
            with progress("generating") as on_progress:
                paths = keep(orders, kept / "model", settings, on_progress)
            generated = [(path.name, partial(read_video, path)) for path in paths.values()]
        with progress("comparing") as on_progress:
            report = distribution.evaluate_distribution(
                named, generated, kinds, seed=seed, max_frames=frames, on_progress=on_progress
            )
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out, about)
        typer.echo(out)


def _features(names: list[FeatureName], judge: Path | None) -> tuple[list[Feature], dict[str, Any]]:
    """The kinds of feature that are asked for, and which judge's they are."""
    from vitascope.evaluate.measures.features import CHANGES, COLOURS, trunk
    from vitascope.evaluate.measures.video_cache import fingerprint
    from vitascope.judge.bundled import find_judge
    from vitascope.judge.network import Judge

    kinds = {FeatureName.colours: COLOURS, FeatureName.changes: CHANGES}
    about = {}
    if FeatureName.trunk in names:
        folder = find_judge(judge)
        kinds[FeatureName.trunk] = trunk(Judge.load(folder))
        about["judge"] = fingerprint(folder)
    return [kinds[name] for name in dict.fromkeys(names)], about


@contextmanager
def kept_in(out: Path | None) -> Iterator[Path]:
    """The report's folder; without one, a folder that vanishes."""
    if out is not None:
        yield out
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        yield Path(folder)


def model_fingerprint(model: str) -> str:
    """What tells a model from another, however it is named."""
    from vitascope.evaluate.measures.video_cache import fingerprint
    from vitascope.hub.find import find_model

    return fingerprint(find_model(model))
