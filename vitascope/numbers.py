"""What a caller may give as a number."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

Number: TypeAlias = int | float | Fraction  # type checks at run time don't take 24 for a float
