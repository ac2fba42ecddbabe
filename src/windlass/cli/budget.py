"""`windlass budget show`: what runs and tenants have spent, what is held and by whom, and what is left."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from windlass.cli.loader import load, load_platform
from windlass.cli.opening import opened
from windlass.cli.options import DRIVING, Driving
from windlass.cli.output import Out, iso, table
from windlass.core.queries import Tallies
from windlass.core.tallies import Amounts, BudgetState, Held, Tally, held_key
from windlass.engine.runtime import Runtime
from windlass.policies.budget import UNITS, Budget, spell_amount
from windlass.policies.chain import bounds
from windlass.policies.keys import tally_key

WINDOWS: Final = {10: "day", 7: "month"}  # by the length of how a window is named
Limits = Mapping[tuple[str, str | None], Amounts]


class Standing(Struct, frozen=True):
    """How a budget stands: amounts by unit, and who holds them."""

    tally: Tally
    state: BudgetState
    holders: dict[str, Held]
    limit: Amounts

    @property
    def of(self) -> tuple[str, str, str]:
        """Whose budget it is: `run` or `tenant`, the name, and the window."""
        _, per, name, *window = map(unquote, self.tally.key.split("|"))
        return per, name, window[0] if window else ""

    def units(self) -> Iterator[tuple[str, dict[str, int | None]]]:
        """Go through its units, each with its amounts; None is no limit."""
        state = self.state
        for unit in UNITS.values():
            found = [amounts.get(unit) for amounts in (state.spent, state.held, state.extra, self.limit)]
            if any(amount is not None for amount in found):
                spent, held, extra = (amount or 0 for amount in found[:3])
                limit = found[3]
                left = None if limit is None else limit + extra - spent - held
                yield unit, {"spent": spent, "held": held, "raised": extra, "limit": limit, "left": left}


def show(definition: str = "", /, *, run: str = "", tenant: str = "", common: Driving = DRIVING) -> int:
    """Show what was spent, what is held and by which runs, and with a definition or platform what is left.

    Args:
        definition: FILE.py:NAME, to compare with its limits.
        run: this run's budget, and its tenant's; else those of tenants.
        tenant: this tenant's budgets.
    """
    out = Out(as_json=common.json)
    limits = limits_of(definition, common.platform)

    async def go() -> list[Standing]:
        async with opened(common) as runtime:
            names = [("tenant", tenant)] if tenant or not run else []
            if run:
                record = await runtime.get(run)
                names += [("run", run), *([("tenant", record.tenant)] if not tenant else [])]
            return [found for per, name in names for found in await _standings(runtime, limits, per, name)]

    found = asyncio.run(go())
    for standing in found:
        out.give(as_object(standing))
    rows = [row for standing in found for row in _rows(standing)]
    heads = ("BUDGET", "OF", "WINDOW", "UNIT", "SPENT", "HELD", "RAISED", "LIMIT", "LEFT")
    out.lines(table(heads, rows) if rows else ("nothing was spent under a budget",))
    for standing in found:
        for holder, held in standing.holders.items():
            amounts = ", ".join(f"{spell_amount(unit, number)} {unit}" for unit, number in held.amounts.items())
            out.line(f"  {holder} holds {amounts} of the {' '.join(filter(None, standing.of))}'s")
    return 0


def limits_of(definition: str, platform: str) -> Limits:
    """Work out the limits that are declared, by whom they are for and their window.

    Raises:
        DefinitionError: the definition or the platform cannot be loaded.
    """
    loaded = load([definition]) if definition else []
    rules = load_platform(platform)
    budgets: list[Budget] = (
        [each.budget for each in bounds(loaded[0].compile(), rules).budgets] if loaded else list(rules.budgets)
    )
    return {(budget.per, budget.window): budget.shared for budget in budgets}


async def _standings(runtime: Runtime, limits: Limits, per: str, name: str) -> list[Standing]:
    """Find the budgets of a run or tenant; of every tenant if it has no name."""
    key = tally_key("budget", per, name) if name else f"budget|{per}|"
    found = await runtime.store.find(Tallies(prefix=key, kind="budget"))
    standings = []
    for tally in found:
        if name and tally.key != key and not tally.key.startswith(f"{key}|"):
            continue  # another, whose name begins so
        state = msgspec.json.decode(tally.body, type=BudgetState)
        begin = held_key(tally.key)
        rows = await runtime.store.find(Tallies(prefix=begin))
        holders = {row.key.removeprefix(begin): msgspec.json.decode(row.body, type=Held) for row in rows}
        if state.own is not None:
            holders[tally.key.partition("|run|")[2]] = state.own
        window = tally.key.removeprefix(f"budget|{per}|").partition("|")[2]
        standings.append(Standing(tally, state, holders, limits.get((per, WINDOWS.get(len(window))), {})))
    return standings


def as_object(standing: Standing) -> dict[str, Any]:
    """Spell a budget's standing out for programs, in whole units: money in millionths, wall time in milliseconds."""
    per, name, window = standing.of
    return {
        "per": per, "of": name, "window": window or None, "key": standing.tally.key, "at": iso(standing.tally.at),
        "units": dict(standing.units()),
        "holders": {run: {"epoch": held.epoch, "amounts": held.amounts} for run, held in standing.holders.items()},
    }  # fmt: skip


def _rows(standing: Standing) -> Iterator[tuple[str, ...]]:
    for unit, amounts in standing.units():
        spelled = ("-" if amount is None else spell_amount(unit, amount) for amount in amounts.values())
        yield (*standing.of, unit, *spelled)
