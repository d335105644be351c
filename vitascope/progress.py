"""Progress reports on stderr: a bar on terminals, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias, TypeVar

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_OF_RATE = 60.0  # minimum window for estimating the time left

OnProgress: TypeAlias = Callable[[int, int], None]
"""Receives (done, total)."""
Progress: TypeAlias = Callable[[str], AbstractContextManager[OnProgress]]
"""Opens a phase of work by its label, as `progress` and `no_progress` do."""

ItemT = TypeVar("ItemT")


def announce(phase: str) -> None:
    """Print a line on stderr before a phase of work that can't be counted."""
    print(phase, file=sys.stderr, flush=True)


@contextmanager
def no_progress(label: str) -> Iterator[OnProgress]:
    """A phase of work that shows nothing."""
    yield lambda done, total: None


@contextmanager
def progress(label: str, *, at_once: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Function to call with (done, total) during the work; it shows the time left.

    Plain lines are at least five seconds apart. With `at_once`, the first call prints one too.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress, TimeRemainingColumn

        columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(compact=True))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(escape(label), total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
        return

    shown = -math.inf if at_once else time.monotonic()
    reports: deque[tuple[float, int]] = deque()  # of the last minute; the first one may include work of an earlier run

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        reports.append((now, done))
        while len(reports) > 2 and reports[1][0] <= now - _SECONDS_OF_RATE:
            reports.popleft()
        if now - shown >= _SECONDS_BETWEEN_LINES:
            shown = now
            since, before = reports[0]
            left = f", {(now - since) * (total - done) / (done - before):.0f} s left" if done > before else ""
            print(f"{label}: {done}/{total}{left}", file=sys.stderr, flush=True)

    yield show


def with_progress(label: str, items: Sequence[ItemT], *, at_once: bool = False) -> Iterator[ItemT]:
    """The items one by one; progress counts those that the caller is done with. `at_once` as in `progress`."""
    with progress(label, at_once=at_once) as show:
        for done, item in enumerate(items):
            show(done, len(items))
            yield item
