"""What a declared number may be: policies are checked with these, and each says itself what is wrong with its own."""

import math
from collections.abc import Callable
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any

from windlass.core.tallies import MOST

Duration = float | timedelta
"""Seconds, or a timedelta."""

ErrorKinds = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Which errors are meant: a class, several, or a predicate."""


def length(duration: Any) -> float:
    """Turn a duration into seconds; NaN where it is none."""
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        return math.nan
    return float(min(max(duration, -MOST), MOST)) if isinstance(duration, int) else duration


def is_positive(duration: Any) -> bool:
    """Say whether it is a length of time above zero that ends."""
    return 0 < length(duration) < math.inf


def is_name(name: Any) -> bool:
    """Say whether it is a text that is not empty."""
    return isinstance(name, str) and bool(name)


def names_errors(on: Any) -> bool:
    """Say whether it is an exception class, a tuple of some, or a plain predicate."""
    if isinstance(on, type):
        return issubclass(on, BaseException)
    if isinstance(on, tuple):
        return bool(on) and all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in on)
    return callable(on) and not iscoroutinefunction(on)


def is_meant(on: ErrorKinds, error: BaseException) -> bool:
    """Say whether a declaration names this error; what its predicate raises passes through."""
    if isinstance(on, type | tuple):
        return isinstance(error, on)
    return bool(on(error))
