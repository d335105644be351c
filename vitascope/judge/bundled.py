"""Finds a judge: a given folder, a training run's, or the bundled one."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from vitascope.errors import ModelError


def find_judge(folder: Path | None = None) -> Path:
    """Folder of a judge: the given one, the newest of a training run's folder, by default the bundled one.

    Raises:
        ModelError: no folder is given and none is bundled.
    """
    if folder is not None:
        of_run = folder / "judge"  # written at every checkpoint
        return of_run if (of_run / "config.json").is_file() and not (folder / "config.json").is_file() else folder
    bundled = Path(str(resources.files("vitascope"))) / "models" / "judge"
    if not (bundled / "config.json").is_file():
        raise ModelError("no judge is bundled here: train one (docs/judge.md) and give its folder with --judge")
    return bundled
