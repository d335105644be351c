"""Where a judge is found: a folder that is named, or the one that comes with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from vitascope.errors import ModelError


def find_judge(folder: Path | None = None) -> Path:
    """The folder of a judge: the one named, or else the bundled one.

    Raises:
        ModelError: none is named and none is bundled.
    """
    if folder is not None:
        return folder
    bundled = Path(str(resources.files("vitascope"))) / "models" / "judge"
    if not (bundled / "config.json").is_file():
        raise ModelError("no judge is bundled here: train one (docs/judge.md) and name its folder with --judge")
    return bundled
