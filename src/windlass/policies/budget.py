"""Budgets: how much may be spent, and what follows at the edge. What is declared, and how amounts are read.

An amount is a whole number of a unit, so that sums are exact: money in millionths, wall time in milliseconds. The
state is a tally of the store; nothing is asked for before it is reserved there (D38).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from windlass.core.errors import DefinitionError
from windlass.core.tallies import MOST, Amounts
from windlass.core.usage import MILLION, Money, Usage, is_whole, millionths
from windlass.policies.numbers import Duration, is_name, length

Per = Literal["run", "tenant"]
Window = Literal["day", "month"]

UNITS: Final = {  # what is declared → the unit it is counted in
    "tokens_in": "tokens_in",
    "tokens_out": "tokens_out",
    "money": "money",
    "model_calls": "model_calls",
    "tool_calls": "tool_calls",
    "steps": "steps",
    "wall_time": "wall",
    "bytes": "bytes",
}
MILLI = 1000
DECLARED: Final = {unit: name for name, unit in UNITS.items()}
DATES: Final = {"day": "%Y-%m-%d", "month": "%Y-%m"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a call costs: reserved before it is made, settled after.

    Args:
        estimate: reserved from every budget in force before the call; it is not made where this is too much.
        read: takes the actual Usage from the result; without it, `result.usage` is taken if it is a Usage. Where there
            is none, or it is negative, the call counts at its estimate.

    Attributes:
        amounts: the estimate, by unit.

    Raises:
        DefinitionError: the estimate is no Usage, or has a negative part.
    """

    estimate: Usage
    read: Callable[[Any], Usage | None] | None = None
    amounts: Amounts = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.estimate, Usage):
            raise DefinitionError("budget.usage", f"a cost of {self.estimate!r}", hint="Cost(estimate=Usage(...))")
        object.__setattr__(self, "amounts", self.estimate.amounts())


@dataclass(frozen=True, slots=True)
class Settled:
    """What a call is settled at; `said` tells why that is its estimate, where it is."""

    amounts: Amounts
    said: str = ""


def settled(cost: Cost, result: Any) -> Settled:
    """Read from a call's result what it used."""
    estimate = cost.amounts
    try:
        used = cost.read(result) if cost.read is not None else getattr(result, "usage", None)
    except Exception as error:  # noqa: BLE001 -- the user's function: money was spent, so it has to be counted
        return Settled(estimate, f"the usage cannot be read: {error!r}")
    if not isinstance(used, Usage):
        return Settled(estimate, "the result says no usage")
    try:
        return Settled(used.amounts())
    except DefinitionError as error:
        return Settled(estimate, str(error.args[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapUp:
    """At the edge of a budget: run `node` once more, with what was held back for it, and end there.

    Args:
        reserve: the share of the budget that only this node may use.
    """

    node: str
    reserve: float = 0.1

    def __post_init__(self) -> None:
        if not is_name(self.node):
            raise DefinitionError("budget.edge", f"WrapUp names no node: {self.node!r}", hint='WrapUp(node="report")')
        if not 0 < length(self.reserve) < 1:
            raise DefinitionError("budget.reserve", f"a reserve of {self.reserve!r}", hint="a share between 0 and 1")


@dataclass(frozen=True, slots=True)
class HandTo:
    """At the edge of a budget: end the run, and start another of this definition on what it has come to."""

    definition: str
    given: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        name = getattr(self.definition, "name", self.definition)  # a definition may be given itself
        if not is_name(name):
            raise DefinitionError("budget.edge", f"HandTo names no definition: {self.definition!r}")
        object.__setattr__(self, "given", None if name is self.definition else self.definition)
        object.__setattr__(self, "definition", name)


Edge = Literal["stop", "ask"] | WrapUp | HandTo


def handed_to(edge: object) -> str:
    """Name the definition that is started at an edge; empty for none."""
    return edge.definition if isinstance(edge, HandTo) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on what a run, or a tenant in a window of time, may use in all. None is no limit.

    Args:
        money: in one currency of your own choice for all budgets.
        steps: finished activations.
        wall_time: active time only, in seconds or as a timedelta.
        bytes: what the run's writes take in the store.
        depth: how deep runs may start runs; of a run only.
        fan_out: most activations planned at once; of a run only.
        per: a run, or all runs of a tenant together, of whatever definition.
        window: with `per="tenant"`: counted anew each day or month (UTC); None: for ever.
        edge: what follows when it is used up: `stop` fails the run, `ask` asks a person for more, a WrapUp or HandTo.

    Attributes:
        shared: the limits as tallies count them: whole numbers by unit.

    Raises:
        DefinitionError: a limit is negative or no number, there is none, or the rest contradicts itself.
    """

    tokens_in: int | None = None
    tokens_out: int | None = None
    money: Money | None = None
    model_calls: int | None = None
    tool_calls: int | None = None
    steps: int | None = None
    wall_time: Duration | None = None
    bytes: int | None = None
    depth: int | None = None
    fan_out: int | None = None
    per: Per = "run"
    window: Window | None = None
    edge: Edge = "stop"
    shared: Amounts = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shared", self._shared())
        for what in ("depth", "fan_out"):
            given = getattr(self, what)
            if given is not None and not is_whole(given, 0):
                raise DefinitionError("budget.amount", f"a budget of {given!r} {what}", hint="a number from 0 up")
        has_shape = self.depth is not None or self.fan_out is not None
        if not self.shared and not has_shape:
            raise DefinitionError("budget.empty", "a budget that limits nothing", hint="give money=, tokens_in=, ...")
        if self.per not in ("run", "tenant") or (has_shape and self.per != "run"):
            raise DefinitionError(
                "budget.per", f"a budget per {self.per!r}", hint="run or tenant; depth and fan_out are of a run only"
            )
        if self.window not in (None, "day", "month") or (self.window is not None and self.per != "tenant"):
            raise DefinitionError(
                "budget.window", f"a budget per {self.per} with the window {self.window!r}",
                hint='window="day" or "month" goes with per="tenant"',
            )  # fmt: skip
        if self.edge not in ("stop", "ask") and not isinstance(self.edge, WrapUp | HandTo):
            raise DefinitionError(
                "budget.edge", f"a budget with the edge {self.edge!r}", hint="stop, ask, WrapUp(...) or HandTo(...)"
            )

    def _shared(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, unit in UNITS.items():
            given = getattr(self, name)
            if given is None:
                continue
            amount: int | None
            if name == "money":
                amount = millionths(given, up=False)
            elif name == "wall_time":
                whole = length(given) * MILLI
                amount = int(whole) if math.isfinite(whole) else None
            else:
                amount = given if is_whole(given, 0) else None
            if amount is None or amount < 0:
                raise DefinitionError(
                    "budget.amount", f"a budget of {given!r} {name}", hint="a number from 0 up; None is no limit"
                )
            found[unit] = amount
        return found


def read_budget(given: Any, where: str) -> Budget | None:
    """Read `budget=`.

    Raises:
        DefinitionError: it is no Budget.
    """
    if given is not None and not isinstance(given, Budget):
        raise DefinitionError("budget.kind", f"{where}: budget is {given!r}", hint="write budget=Budget(...)")
    return given


def window_start(window: Window | None, now: float) -> str:
    """Name the window that a moment lies in: `2026-11-21` or `2026-11`, in UTC; "" without a window.

    Args:
        now: seconds since the epoch.
    """
    return "" if window is None else datetime.fromtimestamp(now, UTC).strftime(DATES[window])


def tightest(budgets: Sequence[Budget]) -> Budget:
    """Make one budget of several on the same tally: of each limit the smallest; the edge is the first's."""
    first = budgets[0]
    names = (*UNITS, "depth", "fan_out")
    found: dict[str, Any] = {}
    for name in names:
        unit = UNITS.get(name)
        given = [budget for budget in budgets if getattr(budget, name) is not None]
        if given:
            amounts = [budget.shared[unit] if unit else getattr(budget, name) for budget in given]
            found[name] = getattr(given[amounts.index(min(amounts))], name)
    return Budget(**found, per=first.per, window=first.window, edge=first.edge)


def in_units(unit: str, number: float) -> int:
    """Turn a number as a person says it (money, seconds, tokens) into whole units; what cannot be is nothing."""
    if unit == "money":
        return millionths(number, up=False) or 0
    whole = number * MILLI if unit == "wall" else number
    return int(whole) if abs(whole) <= MOST else 0


def in_numbers(unit: str, amount: int) -> float:
    """Turn an amount into a number as a person says it: money, seconds, counts."""
    return amount / {"money": MILLION, "wall": MILLI}.get(unit, 1)


def spell_amount(unit: str, amount: int) -> str:
    """Write an amount for a person: money `2.5`, wall `90 s`, tokens `1,000`."""
    if unit == "wall":
        return f"{amount / MILLI:g} s"
    if unit == "money":
        return f"{Decimal(amount) / MILLION:,f}"
    return f"{amount:,}"
