"""What a call used, or is expected to use: tokens, money, calls. Whole numbers by unit, so that sums are exact."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, ClassVar

from windlass.core.errors import DefinitionError
from windlass.core.tallies import MOST

Money = Decimal | str | float
MILLION = 1_000_000
UNITS = ("tokens_in", "tokens_out", "money", "model_calls", "tool_calls")


def is_whole(number: Any, least: int = 1) -> bool:
    """Say whether it is a whole number from `least` up; a truth value is none."""
    return isinstance(number, int) and not isinstance(number, bool) and least <= number <= MOST


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What something used, or is expected to use. A part that is left out is nothing.

    Args:
        money: in the currency that the budgets are in; kept in millionths, rounded up.
    """

    __windlass_tag__: ClassVar[str] = "windlass.Usage"  # leaves the plain name to the user's own types

    tokens_in: int = 0
    tokens_out: int = 0
    money: Money = 0
    model_calls: int = 0
    tool_calls: int = 0

    def amounts(self) -> dict[str, int]:
        """Return it as whole numbers by unit, without zeros.

        Raises:
            DefinitionError: a part is negative or no number.
        """
        found: dict[str, int] = {}
        for name in UNITS:
            given = getattr(self, name)
            if type(given) is int and given == 0:
                continue
            amount = millionths(given, up=True) if name == "money" else given if is_whole(given, 0) else None
            if amount is None or amount < 0:
                raise DefinitionError("budget.usage", f"a usage of {given!r} {name}", hint="numbers from 0 up")
            if amount:
                found[name] = amount
        return found
