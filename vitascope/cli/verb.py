"""Verbs whose options are built at first use: the list of verbs in --help doesn't need them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command


class Verb(TyperCommand):
    """A command, or a group of commands, with its name and the first line of its help."""

    def __init__(self, name: str, action: Callable[..., None] | typer.Typer):
        super().__init__(name, help=action.info.help if isinstance(action, typer.Typer) else inspect.getdoc(action))
        self.action = action

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the full command, which replaces this one."""
        group = self.action
        if not isinstance(group, typer.Typer):
            group = typer.Typer(add_completion=False, rich_markup_mode=None)
            group.command()(self.action)
        return get_command(group).make_context(info_name, args, parent, **extra)
