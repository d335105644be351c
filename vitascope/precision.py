"""What a network's numbers are held in, and what it computes in. Light, for those who only name them."""

from __future__ import annotations

from typing import Literal, TypeAlias

Dtype: TypeAlias = Literal["float32", "bfloat16"]
Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]
