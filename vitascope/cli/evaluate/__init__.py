"""`vitascope evaluate`: measure models and videos. Each verb prints a table; with --out it also writes a report."""

from __future__ import annotations

import typer

from vitascope.cli.evaluate import footage, judged

evaluate = typer.Typer(
    help="Measure a model or videos. The documentation's figures come from here.",
    add_completion=False,
    rich_markup_mode=None,
)
for name, verb in {
    "codec": footage.evaluate_codec,
    "physics": footage.evaluate_physics,
    "coherence": footage.evaluate_coherence,
    "judge": judged.evaluate_judge,
    "faithful": judged.evaluate_faithful,
    "distribution": footage.evaluate_distribution,
    "abilities": judged.evaluate_abilities,
    "storyboards": judged.evaluate_storyboards,
    "length": footage.evaluate_length,
}.items():
    evaluate.command(name)(verb)
