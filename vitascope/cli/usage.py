"""`vitascope evaluate abilities` and `storyboards`: whether the verbs do what they are for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import vitascope
from vitascope.cli.options import MODEL_HELP, GeneratorDtype, Seed, check_folder
from vitascope.cli.scores import JudgeFolder
from vitascope.progress import progress

if TYPE_CHECKING:
    from vitascope.generate.model_folder import PipelineConfig
    from vitascope.production import ClipShape

Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="DIR", help="Also write JSON and a picture here.")]


def evaluate_abilities(
    model: Annotated[str, typer.Option(metavar="NAME|DIR|ID", help=MODEL_HELP)] = "playground",
    clips: Annotated[int, typer.Option("-n", min=2, max=1000, help="Rendered clips that each ability is used on.")] = 8,
    strength: Annotated[float, typer.Option(min=0.01, max=1, help="Of the edits.")] = 0.8,
    seed: Seed = 0,
    judge: JudgeFolder = None,
    dtype: GeneratorDtype = None,
    out: Out = None,
) -> None:
    """Extend, fill, connect, loop and edit clips: is what was given kept, does it join, is what is made right."""
    if out is not None:
        check_folder(out)
    from vitascope.codec.streaming import reconstruct
    from vitascope.evaluate import abilities
    from vitascope.judge.bundled import find_judge
    from vitascope.judge.network import Judge

    reader = Judge.load(find_judge(judge))
    pipeline = vitascope.load(model, dtype=dtype or "float32")
    subjects = abilities.make_subjects(clips, seed, _shape(pipeline.config))
    with _without_notes(), progress("abilities") as on_progress:
        report = abilities.evaluate_abilities(
            pipeline,
            subjects,
            partial(reconstruct, pipeline.codec),
            reader.read,
            step=pipeline.lattice.frames_per_cell,
            strength=strength,
            seed=seed,
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
    """Make storyboards of scenes that no training clip has: cuts where they belong and nowhere else, and the cast."""
    if out is not None:
        check_folder(out)
    from vitascope.evaluate import storyboards
    from vitascope.generate.storyboard import Storyboard
    from vitascope.judge.bundled import find_judge
    from vitascope.judge.network import Judge
    from vitascope.video import Video

    reader = Judge.load(find_judge(judge))
    pipeline = vitascope.load(model, dtype=dtype or "float32")
    shape = _shape(pipeline.config)

    def make(storyboard: Storyboard, seed: int) -> Video:
        return pipeline.storyboard(storyboard, seed=seed)

    with _without_notes(), progress("storyboards") as on_progress:
        report = storyboards.evaluate_storyboards(
            storyboards.make_boards(boards, seed, shape), shape, make, reader.read, seed=seed, on_progress=on_progress
        )
    typer.echo("\n".join(report.lines()))
    if out is not None:
        report.write(out)
        typer.echo(out)


def _shape(config: PipelineConfig) -> ClipShape:
    """What a model makes if nothing else is asked for."""
    from vitascope.production import ClipShape

    return ClipShape(config.num_frames, config.fps, config.height, config.width, 0.0)


@contextmanager
def _without_notes() -> Iterator[None]:
    """What is noted of every single video would bury the progress."""
    import logging

    log = logging.getLogger("vitascope")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
