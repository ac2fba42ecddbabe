"""What a declared number may be: policies are checked with these, and each says itself what is wrong with its own."""

import math
from collections.abc import Callable
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from inspect import iscoroutinefunction
from typing import Any

from windlass.core.tallies import MOST

Duration = float | timedelta
"""Seconds, or a timedelta."""

ErrorKinds = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Which errors are meant: a class, several, or a predicate."""

MILLION = 1_000_000


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


def is_whole(number: Any, least: int = 1) -> bool:
    """Say whether it is a whole number from `least` up; a truth value is none."""
    return isinstance(number, int) and not isinstance(number, bool) and least <= number <= MOST


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


def millionths(amount: Any, *, up: bool) -> int | None:
    """Turn an amount of money into whole millionths; None where it is no amount.

    Args:
        up: round up, so that a cost is never counted as less; else down, so that a limit is never more.
    """
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int | float | str):
        return None
    try:
        exact = Decimal(str(amount)) * MILLION
    except (ArithmeticError, ValueError):  # no number, or one with more digits than can be read
        return None
    if not exact.is_finite() or abs(exact) > MOST:
        return None
    return int(exact.to_integral_value(ROUND_CEILING if up else ROUND_FLOOR))
