"""Checks of shapes and types at run time, for the first calls of each function.

Checking every call took up to half of the tests' processor time, and the thousandth call rarely differs from the first
hundred. `pytest --jaxtyping-packages=vitascope,beartype.beartype` checks all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from operator import attrgetter
from types import FunctionType
from typing import Any

from beartype import beartype

CHECKED_CALLS = 50  # of each function, in each process


def first_calls(stub: Callable[..., Any]) -> Callable[..., Any]:
    """The check of a function's arguments or result, by beartype; after `CHECKED_CALLS` calls the function has none.

    `stub` has the name, the module and the signature of the function. jaxtyping doesn't check functions that have
    `__no_type_check__`.
    """
    check = beartype(stub)
    num_calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal num_calls
        num_calls += 1
        if num_calls == CHECKED_CALLS and "<locals>" not in stub.__qualname__:
            function = attrgetter(stub.__qualname__)(sys.modules[stub.__module__])
            if isinstance(function, FunctionType):  # no property, no class: every call of those is checked
                vars(function)["__no_type_check__"] = True
        return check(*args, **kwargs)

    return counted
