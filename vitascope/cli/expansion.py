"""`--expand`: prompts expanded by the endpoint named in the environment, or by rules, and printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from vitascope.errors import EndpointError

if TYPE_CHECKING:
    from vitascope.generate.expand.endpoint import Endpoint
    from vitascope.generate.requests import Storyboard

Expanded = TypeVar("Expanded")

Expand = Annotated[
    bool,
    typer.Option(
        "--expand",
        help="Add details to a short prompt: by rules, or by the OpenAI-compatible endpoint in VITASCOPE_EXPAND_URL, "
        "with VITASCOPE_EXPAND_MODEL and _KEY.",
    ),
]


def expanded(prompt: str, seed: int, *, has_pictures: bool, is_image: bool) -> str:
    """The expanded prompt, which is also printed."""
    from vitascope.generate.expand import endpoint
    from vitascope.generate.expand import rules as expand

    fuller = _ask_or_rule(
        lambda service: endpoint.expand(service, prompt, seed),
        lambda: expand.expand(prompt, seed, has_pictures=has_pictures, is_image=is_image),
    )
    print(f"expanded: {fuller}", file=sys.stderr)
    return fuller


def expanded_storyboard(storyboard: Storyboard, seed: int) -> Storyboard:
    """The storyboard with expanded texts, which are also printed."""
    from vitascope.generate.expand import endpoint
    from vitascope.generate.expand import rules as expand

    fuller = _ask_or_rule(
        lambda service: endpoint.expand_storyboard(service, storyboard, seed),
        lambda: expand.expand_storyboard(storyboard, seed),
    )
    for number, shot in enumerate(fuller.shots, start=1):
        print(f"expanded, shot {number}: {shot.text}", file=sys.stderr)
    return fuller


def _ask_or_rule(ask: Callable[[Endpoint], Expanded], rule: Callable[[], Expanded]) -> Expanded:
    """The endpoint's answer, or the rules' if there is no endpoint or it fails, which a warning states."""
    service = _endpoint()
    if service is None:
        return rule()
    try:
        return ask(service)
    except EndpointError as error:
        print(f"vitascope: {error}; expanded by rules instead", file=sys.stderr)
        return rule()


def _endpoint() -> Endpoint | None:
    """The endpoint named in the environment, or None."""
    from vitascope.generate.expand.endpoint import Endpoint

    url, model, key = (os.environ.get(f"VITASCOPE_EXPAND_{name}", "").strip() for name in ("URL", "MODEL", "KEY"))
    return Endpoint(url, model, key) if url else None
