"""`vitascope evaluate abilities` and `storyboards`: whether the verbs do what they are for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import vitascope
from vitascope.cli.options import MODEL_HELP, GeneratorDtype, Seed, check_folder
from vitascope.cli.scores import JudgeFolder, kept_in, model_fingerprint
from vitascope.progress import progress

if TYPE_CHECKING:
    from vitascope.hub.card import PipelineConfig
    from vitascope.types import Precision
    from vitascope.video.shape import VideoShape

Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="DIR", help="Also write JSON and a picture, and keep what is made, here."),
]


def evaluate_abilities(
    model: Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    clips: Annotated[int, typer.Option("-n", min=2, max=1000, help="Rendered clips that each ability is used on.")] = 8,
    strength: Annotated[float, typer.Option(min=0.01, max=1, help="Of the edits.")] = 0.8,
    seed: Seed = 0,
    judge: JudgeFolder = None,
    dtype: GeneratorDtype = None,
    out: Out = None,
) -> None:
    """Extend, fill, connect, loop and edit clips: is what was given kept, does it join, is what is made right.

    To go on after an interruption, run it again.
    """
    if out is not None:
        check_folder(out)
    from vitascope.codec.streaming import reconstruct
    from vitascope.evaluate import abilities
    from vitascope.evaluate.measures.oracle import KnowingPipeline
    from vitascope.evaluate.measures.video_cache import Order, keep, read_kept
    from vitascope.judge.bundled import find_judge
    from vitascope.judge.network import Judge

    reader = Judge.load(find_judge(judge))
    pipeline = vitascope.load(model, dtype=dtype or "float32")
    step = pipeline.grid.frames_per_cell
    with progress("rendering") as on_progress:
        subjects = abilities.make_subjects(clips, seed, _shape(pipeline.config), on_progress)
    knowing = KnowingPipeline(pipeline, {subject.question.prompt: subject.video for subject in subjects})
    tasks, known = (abilities.make_tasks(maker, subjects, step, strength, seed) for maker in (pipeline, knowing))
    with without_notes(), kept_in(out) as kept:
        settings = {**_settings(seed), **_made_by(model, dtype), "strength": strength}
        orders = [Order(task.name, task.prompt, task.make) for task in tasks]
        with progress("generating") as on_progress:
            paths = keep(orders, kept / "model", settings, on_progress, exact=True)
        with progress("measuring") as on_progress:
            report = abilities.evaluate_abilities(
                subjects,
                tasks,
                known,
                lambda task: read_kept(paths[task.name]),
                lambda video: reconstruct(pipeline.codec, video),
                reader.read,
                step=step,
                on_progress=on_progress,
            )
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


def evaluate_storyboards(
    model: Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    boards: Annotated[int, typer.Option("-n", min=2, max=1000, help="Storyboards.")] = 20,
    seed: Seed = 0,
    judge: JudgeFolder = None,
    dtype: GeneratorDtype = None,
    out: Out = None,
) -> None:
    """Make storyboards of scenes that no training clip has: cuts where they belong and nowhere else, and the cast.

    To go on after an interruption, run it again.
    """
    if out is not None:
        check_folder(out)
    from vitascope.evaluate import storyboards
    from vitascope.evaluate.measures.video_cache import keep, read_kept
    from vitascope.judge.bundled import find_judge
    from vitascope.judge.network import Judge

    reader = Judge.load(find_judge(judge))
    pipeline = vitascope.load(model, dtype=dtype or "float32")
    shape = _shape(pipeline.config)
    made = storyboards.make_boards(boards, seed, shape)
    with without_notes(), kept_in(out) as kept:
        with progress("rendering") as on_progress:
            renders = keep(
                storyboards.rendered(made, shape),
                kept / "renders",
                {"shape": list(shape), **_settings(seed)},
                on_progress,
            )
        with progress("generating") as on_progress:
            orders = storyboards.generated(made, shape, pipeline.storyboard, seed)
            paths = keep(orders, kept / "model", {**_settings(seed), **_made_by(model, dtype)}, on_progress)
        with progress("reading") as on_progress:
            report = storyboards.evaluate_storyboards(
                made,
                lambda board: read_kept(renders[board.name]),
                lambda board: read_kept(paths[board.name]),
                reader.read,
                on_progress=on_progress,
            )
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


def _settings(seed: int) -> dict[str, Any]:
    """What decides which scenes there are."""
    from vitascope.worlds.solids.scene import WORLD_VERSION

    return {"world_version": WORLD_VERSION, "seed": seed}


def _made_by(model: str, dtype: Precision | None) -> dict[str, Any]:
    return {"model": model_fingerprint(model), "dtype": dtype or "float32"}


def _shape(config: PipelineConfig) -> VideoShape:
    """What a model makes if nothing else is asked for."""
    from vitascope.video.shape import VideoShape

    return VideoShape(config.num_frames, config.fps, config.height, config.width, 0.0)


@contextmanager
def without_notes() -> Iterator[None]:
    """What is noted of every single video would bury the progress."""
    import logging

    log = logging.getLogger("vitascope")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
