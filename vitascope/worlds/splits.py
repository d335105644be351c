"""Held-out combinations: a hash decides which ones never appear in training data."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "held_out"]


def is_within_share(combination: str, share: float) -> bool:
    """True if the hash of a combination falls into the given share of all hashes; the result never changes."""
    digest = hashlib.sha256(combination.encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32
