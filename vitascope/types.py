"""Types that several packages share: numbers, and the names of number formats. Imports no torch."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, TypeAlias

Number: TypeAlias = int | float | Fraction  # type checks at run time don't take 24 for a float

MAX_SHIFT = 1000.0  # of noise levels; a model's is 1 to 20
MAX_STEPS = 1000  # of sampling
MAX_GUIDANCE = 100.0
MAX_CHARACTERS = 32_000  # of a prompt
MAX_SEED = 2**63 - 1  # the largest that torch.Generator takes

Dtype: TypeAlias = Literal["float32", "bfloat16"]
Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]
TrainingPrecision: TypeAlias = Literal["auto", "float32", "bfloat16"]
DtypeChoice: TypeAlias = Literal["auto", "float32", "bfloat16", "int8"]
