"""Files of ground truth per pixel: one compressed NumPy archive per clip, next to its media file.

`ID.maps.npz` holds up to three arrays: `masks` uint8 [t, h, w], `depth` float16 [t, h, w], `flow` float16 [t, h, w, 2].
`worlds/frame.py` defines them. Half precision rounds flow and depth to about 1/2000 of their values.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from vitascope.errors import DatasetError, reason
from vitascope.files import replacing
from vitascope.worlds.frame import Maps

STORED = {"masks": np.uint8, "depth": np.float16, "flow": np.float16}
READ = {"masks": np.uint8, "depth": np.float32, "flow": np.float32}


def maps_path(record: Path) -> Path:
    """File of the maps of a clip's record or media file."""
    return record.with_suffix(".maps.npz")


def write_maps(maps: Maps, path: Path) -> Path:
    """Write the maps of a clip, and return their file."""
    arrays = {name: each.astype(STORED[name]) for name, each in maps._asdict().items() if each is not None}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def read_maps(path: Path) -> Maps:
    """The maps of a clip, float32 and uint8; those that the file lacks are None.

    Raises:
        DatasetError: the file is missing, damaged or of another form.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            stored = {name: archive[name] for name in STORED if name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} can't be read ({reason(error)}); render the clip again with --truth") from None
    for name, each in stored.items():
        if each.dtype != STORED[name] or each.ndim != (4 if name == "flow" else 3):
            raise DatasetError(f"{path} holds no {name} as `vitascope render --truth` writes them; render it again")
    return Maps(**{name: each.astype(READ[name]) for name, each in stored.items()})
