"""`windlass threads list|show`: looking at conversations, turn by turn, from any process."""

import asyncio
import time
from typing import Any

from windlass.cli.opening import opened
from windlass.cli.options import COMMON, Common, Limit
from windlass.cli.output import Out, duration, table
from windlass.cli.runs import as_row, when
from windlass.core.queries import Threads
from windlass.core.records import RunRecord
from windlass.core.thread import is_queued
from windlass.core.thread_errors import ThreadUnknown

DIGITS = 12  # shown of a digest
MOST_TURNS = 1_000


def list_threads(
    *,
    definition: tuple[str, ...] = (),
    tenant: str = "",
    limit: Limit = 50,
    after: str = "",
    common: Common = COMMON,
) -> int:
    """List threads by their last turns, newest first.

    Args:
        definition: only threads of the definition of this name; as often as needed.
        tenant: only of this tenant.
        limit: most threads to list.
        after: the last run of the page before.
    """
    out = Out(as_json=common.json)
    asked = Threads(definitions=definition or None, tenant=tenant or None, after=after or None, limit=limit)

    async def go() -> int:
        async with opened(common) as runtime:
            if after:
                await runtime.get(after)
            found = await runtime.store.find(asked)
        for record in found:
            out.give(as_row(record))
        if not found:
            out.line("no threads")
            return 0
        rows = [
            (
                record.thread, record.definition, record.tenant, str(record.turn), record.id, state_of(record),
                duration(time.time() - record.updated_at),
            )
            for record in found
        ]  # fmt: skip
        out.lines(table(("THREAD", "DEFINITION", "TENANT", "TURNS", "LAST RUN", "STATE", "MOVED"), rows))
        return 0

    return asyncio.run(go())


def show(
    thread: str, /, *, definition: str = "", tenant: str = "", limit: Limit = MOST_TURNS, common: Common = COMMON
) -> int:
    """Show the turns of a thread, the first first: which run each is, and how it stands.

    Args:
        thread: the thread's name.
        definition: only turns of the definition of this name: each has threads of its own.
        tenant: only of this tenant.
        limit: most turns to show: the last ones.
    """
    out = Out(as_json=common.json)

    async def go() -> int:
        async with opened(common) as runtime:
            filters: dict[str, Any] = {"definition": definition or None, "tenant": tenant or None, "limit": limit}
            found = await runtime.thread(thread, **filters)
        if not found:
            raise ThreadUnknown(f"there is no thread {thread!r} in {common.url}")
        for record in found:
            out.give({**as_row(record), "input": record.input_digest})
        rows = [
            (
                number(record), record.id, record.definition, state_of(record), str(record.head.n), when(record),
                duration(time.time() - record.created_at), record.input_digest[:DIGITS],
            )
            for record in found
        ]  # fmt: skip
        out.lines(table(("TURN", "RUN", "DEFINITION", "STATE", "CHECKPOINT", "", "AGE", "INPUT"), rows))
        return 0

    return asyncio.run(go())


def number(record: RunRecord) -> str:
    """Number a turn, and its parts where it continued as a new run."""
    return f"{record.turn}.{record.part}" if record.part else str(record.turn)


def state_of(record: RunRecord) -> str:
    """Say how a turn stands."""
    if record.quarantined:
        return "quarantined"
    return "queued" if is_queued(record) else record.head.status.value
