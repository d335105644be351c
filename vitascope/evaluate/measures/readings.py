"""Readings of videos by a judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vitascope.judge.bundled import find_judge
from vitascope.judge.network import Judge, Reading
from vitascope.kernels.device import resolve_device
from vitascope.video import Video

Read = Callable[[Video], Reading]


def load_judge(folder: Path | None, device: str) -> Judge:
    """The judge in a folder, by default the bundled one, on a device.

    Raises:
        ModelError: the folder holds no judge, or none is bundled.
        DeviceError: no such device.
    """
    return Judge.load(find_judge(folder)).to(resolve_device(device))


def shuffled(readings: Sequence[Reading]) -> list[Reading]:
    """Another clip's reading for each clip, for the accuracy of chance at the frequencies of the values."""
    half = len(readings) // 2
    return [*readings[half:], *readings[:half]]
