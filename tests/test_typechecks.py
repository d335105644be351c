"""Run-time checks of types, as the tests apply them to the package."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from tests.typechecks import CHECKED_CALLS, first_calls


@jaxtyped(typechecker=first_calls)
def doubled(number: int) -> int:
    return 2 * number


@jaxtyped(typechecker=first_calls)
def first_row(matrix: Float[Tensor, "rows columns"], *, wrong: bool = False) -> Float[Tensor, " columns"]:
    return matrix[:, 0] if wrong else matrix[0]


def test_the_first_calls_are_checked_and_later_ones_are_not() -> None:
    with pytest.raises(TypeCheckError):
        doubled("a")
    for _ in range(CHECKED_CALLS):
        assert doubled(2) == 4
    assert doubled("a") == "aa"


def test_sizes_of_a_result_are_those_of_the_arguments() -> None:
    """Fails if the check of a result doesn't know the sizes that the arguments had."""
    matrix = torch.zeros(2, 3)
    assert first_row(matrix).shape == (3,)
    with pytest.raises(TypeCheckError, match="checking the return value"):
        first_row(matrix, wrong=True)
    with pytest.raises(TypeCheckError, match="checking the parameters"):
        first_row(matrix[0])
