"""A run's clips, read with progress on stderr."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from vitascope.data.clips import Clip, list_clips, split_validation
from vitascope.progress import progress

ItemT = TypeVar("ItemT")


def read_dataset(folder: str, num_validation: int = 0) -> tuple[list[Clip], list[Clip]]:
    """(training, validation): records of a dataset's clips; the last ones are for validation.

    Raises:
        DatasetError: no clips, or too few for validation.
    """
    with progress(f"reading the records of {folder}") as show:
        clips = list_clips(folder, show)
    return split_validation(clips, num_validation)


def with_progress(label: str, items: Sequence[ItemT]) -> Iterator[ItemT]:
    """The items one by one; progress counts those that the caller is done with."""
    with progress(label) as show:
        for done, item in enumerate(items):
            show(done, len(items))
            yield item
