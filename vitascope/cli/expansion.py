"""`--expand`: prompts made fuller by the endpoint that the environment names, or by rule, and printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from vitascope.errors import EndpointError

if TYPE_CHECKING:
    from vitascope.generate.expand.endpoint import Endpoint
    from vitascope.generate.storyboard import Storyboard

Told = TypeVar("Told")

Expand = Annotated[
    bool,
    typer.Option(
        "--expand",
        help="Make a short prompt fuller: by rule, or by the OpenAI-compatible endpoint in VITASCOPE_EXPAND_URL, "
        "with VITASCOPE_EXPAND_MODEL and _KEY.",
    ),
]


def expanded(prompt: str, seed: int, *, has_pictures: bool, is_image: bool) -> str:
    """The prompt made fuller, and printed."""
    from vitascope.generate.expand import endpoint
    from vitascope.generate.expand import rules as expand

    fuller = _ask_or_rule(
        lambda service: endpoint.expand(service, prompt, seed),
        lambda: expand.expand(prompt, seed, has_pictures=has_pictures, is_image=is_image),
    )
    print(f"expanded: {fuller}", file=sys.stderr)
    return fuller


def expanded_storyboard(storyboard: Storyboard, seed: int) -> Storyboard:
    """The storyboard with its shots' texts made fuller, and printed."""
    from vitascope.generate.expand import endpoint
    from vitascope.generate.expand import rules as expand

    fuller = _ask_or_rule(
        lambda service: endpoint.expand_storyboard(service, storyboard, seed),
        lambda: expand.expand_storyboard(storyboard, seed),
    )
    for number, shot in enumerate(fuller.shots, start=1):
        print(f"expanded, shot {number}: {shot.text}", file=sys.stderr)
    return fuller


def _ask_or_rule(ask: Callable[[Endpoint], Told], rule: Callable[[], Told]) -> Told:
    """The endpoint's answer if there is one; if it fails, that is said, and the rule's."""
    service = _endpoint()
    if service is None:
        return rule()
    try:
        return ask(service)
    except EndpointError as error:
        print(f"vitascope: {error}; expanded by rule instead", file=sys.stderr)
        return rule()


def _endpoint() -> Endpoint | None:
    """The endpoint of the environment, None where there is none."""
    from vitascope.generate.expand.endpoint import Endpoint

    url, model, key = (os.environ.get(f"VITASCOPE_EXPAND_{name}", "").strip() for name in ("URL", "MODEL", "KEY"))
    return Endpoint(url, model, key) if url else None
