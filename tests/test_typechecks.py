"""Run-time checks of types, as the tests apply them to the package."""

from __future__ import annotations

import pytest
from jaxtyping import TypeCheckError, jaxtyped

from tests.typechecks import CHECKED_CALLS, first_calls


@jaxtyped(typechecker=first_calls)
def doubled(number: int) -> int:
    return 2 * number


def test_the_first_calls_are_checked_and_later_ones_are_not() -> None:
    with pytest.raises(TypeCheckError):
        doubled("a")
    for _ in range(CHECKED_CALLS):
        assert doubled(2) == 4
    assert doubled("a") == "aa"
