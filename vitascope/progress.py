"""How far a long piece of work has come, on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total) as the work goes on; it shows the time left."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress, TimeRemainingColumn

        columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(compact=True))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(escape(label), total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
        return

    started = shown = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if done and now - shown >= _SECONDS_BETWEEN_LINES:
            shown = now
            left = (now - started) * (total - done) / done
            print(f"{label}: {done}/{total}, {left:.0f} s left", file=sys.stderr, flush=True)

    yield show
