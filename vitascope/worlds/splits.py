"""Held-out combinations: which of them never appear in training data, decided by a hash."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "held_out"]


def is_within_share(combination: str, share: float) -> bool:
    """Whether a combination falls into a share of all, by a hash, so that the answer never changes."""
    digest = hashlib.sha256(combination.encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32
