"""TensorBoard events of a run, in the folder `tensorboard`: figures and sample pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Events:
    """Writes figures and pictures as TensorBoard events; without a writer it does nothing."""

    def __init__(self, writer: Any = None):
        self._writer = writer

    def write(self, step: int, group: str, figures: Mapping[str, float], picture: Path | None = None) -> None:
        """Write figures under group/name, and a PNG picture if the file exists."""
        if self._writer is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        values = [Summary.Value(tag=f"{group}/{name}", simple_value=value) for name, value in figures.items()]
        if picture is not None and picture.exists():
            image = Summary.Image(encoded_image_string=picture.read_bytes(), colorspace=3)
            values.append(Summary.Value(tag=f"{group}/samples", image=image))
        self._add(step, summary=Summary(value=values))

    def mark_start(self, first_step: int) -> None:
        """Make TensorBoard drop events of later steps, which a resumed run writes again."""
        from tensorboard.compat.proto.event_pb2 import SessionLog  # pyright: ignore[reportAttributeAccessIssue]

        self._add(first_step + 1, session_log=SessionLog(status=SessionLog.START))

    def _add(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

        self._writer.add_event(Event(wall_time=time.time(), step=step, **content))
        self._writer.flush()


@contextmanager
def open_events(run: Path, first_step: int) -> Iterator[Events]:
    """Event writer of a run. Without the package tensorboard it writes nothing and prints one line."""
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        print("no TensorBoard events: install them with pip install 'vitascope[train]'", file=sys.stderr)
        yield Events()
        return
    writer = EventFileWriter(str(run / "tensorboard"))
    try:
        events = Events(writer)
        events.mark_start(first_step)
        yield events
    finally:
        writer.close()
