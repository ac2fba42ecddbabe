"""Limits: how many may do something at once, and how often it may be done, over all processes.

What is declared, and how two declarations of one name become one. The state is a tally of the store (D38).
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from windlass.core.errors import DefinitionError
from windlass.core.usage import is_whole
from windlass.policies.keys import Scope, is_scope, read_named, scope_key
from windlass.policies.numbers import is_name, is_positive, length

PERIODS: Final = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "day": 86400}
RATE: Final = r"\s*(\d+(?:\.\d+)?)\s*/\s*([a-z]+)\s*"  # compiled when a rate is a text


@dataclass(frozen=True, slots=True, init=False)
class Limit:
    """Let only so many attempts through at once, or in a time; the others park until they may.

    Args:
        name: what is limited: `openai`, `gpu`. Tasks that name the same one share it.
        concurrency: most attempts at once; None is no limit.
        rate: permits per second, or `"100/min"` (s, min, h, day); None is no limit.
        burst: permits that may be had at once after a pause; default: those of one second, at least 1.
        scope: who shares it: all, or those of the same tenant, definition or node.

    Raises:
        DefinitionError: it limits nothing, a number is not above zero, or the scope is none.
    """

    name: str
    concurrency: int | None
    rate: float | None
    burst: int
    scope: Scope

    def __init__(
        self, name: str, *, concurrency: int | None = None, rate: float | str | None = None, burst: int | None = None,
        scope: Scope = "fleet",
    ) -> None:  # fmt: skip
        where = f"limit {name!r}"
        if not is_name(name):
            raise DefinitionError("limit.name", f"{where} has no name", hint="name what is limited: openai")
        if not is_scope(scope):
            raise DefinitionError(
                "limit.scope", f"{where}: no scope {scope!r}", hint="fleet, tenant, definition or node"
            )
        if concurrency is None and rate is None:
            raise DefinitionError("limit.empty", f"{where} limits nothing", hint="give concurrency= or rate=")
        if concurrency is not None and not is_whole(concurrency):
            raise DefinitionError("limit.concurrency", f"{where}: {concurrency!r} at once", hint="a number from 1")
        pace = per_second(rate)
        if rate is not None and pace is None:
            raise DefinitionError(
                "limit.rate", f"{where}: no rate {rate!r}", hint='"100/min" (s, min, h, day), or permits a second'
            )
        if burst is not None and (pace is None or not is_whole(burst)):
            raise DefinitionError("limit.burst", f"{where}: burst is {burst!r}", hint="a number from 1, beside a rate")
        found = (name, concurrency, pace, burst or max(1, math.ceil(pace or 0)), scope)
        for field, value in zip(self.__slots__, found, strict=True):
            object.__setattr__(self, field, value)

    def key(self, *, tenant: str = "", definition: str = "", node: str = "") -> str:
        """Name the tally that holds its state."""
        return scope_key("limit", self.scope, self.name, tenant=tenant, definition=definition, node=node)


def per_second(rate: Any) -> float | None:
    """Turn a declared rate into permits per second; None where it is none."""
    if isinstance(rate, str):
        match = re.fullmatch(RATE, rate.lower())
        if match is None or match[2] not in PERIODS:
            return None
        rate = float(match[1]) / PERIODS[match[2]]
    return length(rate) if is_positive(rate) else None


def tightest(one: Limit, other: Limit) -> Limit:
    """Make one limit of two of the same name: of each number the smaller; the scope is the first's."""
    rated = [limit for limit in (one, other) if limit.rate is not None]
    return Limit(
        one.name,
        concurrency=min((limit.concurrency for limit in (one, other) if limit.concurrency is not None), default=None),
        rate=min((limit.rate for limit in rated if limit.rate is not None), default=None),
        burst=min((limit.burst for limit in rated), default=None),
        scope=one.scope,
    )


def read_limits(given: Any, where: str) -> tuple[Limit | str, ...] | None:
    """Read `limits=`: Limits, and names of the platform's; None where nothing is declared.

    Raises:
        DefinitionError: it is something else, or one name stands twice.
    """
    hint = "write limits=[Limit(...)], or a platform's name"
    return read_named(
        given,
        Limit,
        wrong=lambda one: DefinitionError("limit.kind", f"{where}: limits has {one!r}", hint=hint),
        twice=lambda names: DefinitionError("limit.twice", f"{where}: one limit is named twice: {names}"),
    )
