"""Checks of shapes and types at run time, for the first calls of each function.

Checking every call took up to half of the tests' processor time, and the thousandth call rarely differs from the first
hundred. `pytest --jaxtyping-packages=vitascope,beartype.beartype` checks all.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from operator import attrgetter
from types import FunctionType
from typing import Any

from beartype import beartype

CHECKED_CALLS = 50  # of each function, in each process
_calls: Counter[tuple[str, str, bool]] = Counter()  # a function within another is made, and wrapped, again and again


def first_calls(stub: Callable[..., Any]) -> Callable[..., Any]:
    """The check of a function's arguments or result, by beartype; after `CHECKED_CALLS` calls the function has none.

    `stub` has the name, the module and the signature of the function. jaxtyping doesn't check functions that have
    `__no_type_check__`.
    """
    result = stub.__annotations__.get("return", Any)
    key = stub.__module__, stub.__qualname__, result is Any
    check: Callable[..., Any] | None = None

    def counted(*args: Any, **kwargs: Any) -> None:
        nonlocal check
        if _calls[key] >= CHECKED_CALLS:
            return
        _calls[key] += 1
        if check is None:  # compiled here, as a process calls only some of the functions that it imports
            if result is not Any:
                stub.__annotations__ = {"return": result}  # the other stub has checked the arguments
            check = beartype(stub)
        if _calls[key] == CHECKED_CALLS:
            _leave_unchecked(stub)
        check(*args, **kwargs)

    return counted


def _leave_unchecked(stub: Callable[..., Any]) -> None:
    """Save the wrapper's time, too. It stays on properties, class methods and functions within functions."""
    if "<locals>" not in stub.__qualname__:
        function = attrgetter(stub.__qualname__)(sys.modules[stub.__module__])
        if isinstance(function, FunctionType):
            vars(function)["__no_type_check__"] = True
