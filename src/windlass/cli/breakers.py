"""`windlass breakers list`: how breakers and limits stand that all processes share."""

import asyncio
import time
from typing import Any
from urllib.parse import unquote

import msgspec

from windlass.cli.opening import opened
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out, iso, table
from windlass.core.queries import Tallies
from windlass.core.tallies import BreakerState, LimitState, Tally


def list_breakers(*, common: Common = COMMON) -> int:
    """List breakers, and who probes those that are not closed; and limits, and who holds their permits.

    A breaker or limit that nothing has happened to has no state, and is not listed.
    """
    out = Out(as_json=common.json)

    async def go() -> list[Tally]:
        async with opened(common) as runtime:
            found = [await runtime.store.find(Tallies(prefix=f"{kind}|")) for kind in ("breaker", "limit")]
            return [tally for tallies in found for tally in tallies]

    now = time.time()
    rows = []
    for tally in asyncio.run(go()):
        kind, scope, of, name = (unquote(part) for part in tally.key.split("|"))
        told = _breaker(tally, now) if kind == "breaker" else _limit(tally, now)
        out.give({
            "kind": kind, "name": name, "scope": scope, "of": of or None, "key": tally.key, "at": iso(tally.at), **told
        })  # fmt: skip
        rows.append((kind, name, scope, of, *_cells(told)))
    heads = ("KIND", "NAME", "SCOPE", "OF", "STATE", "UNTIL", "BY")
    out.lines(table(heads, rows) if rows else ("no breaker has met a failure, and no limit is in use",))
    return 0


def _breaker(tally: Tally, now: float) -> dict[str, Any]:
    state = msgspec.json.decode(tally.body, type=BreakerState)
    return {
        "status": state.status, "until": iso(state.until) if state.until else None, "is_due": state.until <= now,
        "probe": state.probe or None, "failures": len(state.failures), "opened": state.times,
    }  # fmt: skip


def _limit(tally: Tally, now: float) -> dict[str, Any]:
    state = msgspec.json.decode(tally.body, type=LimitState)
    held = {run: permit for run, permit in state.held.items() if permit.until > now}
    told = {run: {"permits": permit.n, "until": iso(permit.until)} for run, permit in held.items()}
    busy = sum(permit.n for permit in held.values())
    return {"busy": busy, "held": told, "full_at": iso(state.tat) if state.tat > now else None}


def _cells(told: dict[str, Any]) -> tuple[str, str, str]:
    """Put how it stands into three cells: the state, until when, and by whom."""
    if "busy" in told:
        by = ", ".join(f"{run} ({held['permits']})" for run, held in told["held"].items())
        return f"{told['busy']} in use", told["full_at"] or "", by
    failures = f", {told['failures']} failures" if told["status"] == "closed" and told["failures"] else ""
    until = "" if told["status"] == "closed" else "may be probed" if told["is_due"] else told["until"]
    return f"{told['status']}{failures}, opened {told['opened']} times", until, told["probe"] or ""
