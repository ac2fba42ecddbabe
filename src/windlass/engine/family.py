"""Looking at a tree of runs: what goes on below a run, which questions are open there, and all events as one stream."""

from windlass.core import queries
from windlass.core import records as r
from windlass.core.states import CREATED, PAUSED, RUNNING, WAITING, Status
from windlass.engine.inherit import base_of
from windlass.engine.services import Services
from windlass.stores.base import Store

MOST_RUNS = 100_000


async def is_going_on(services: Services, record: r.RunRecord, *, timers: bool) -> bool:
    """Say whether something happens by itself below a run, of what it waits for.

    Args:
        timers: what waits for a time counts as waiting.
    """
    below = await awaited(services.store, record, (CREATED, RUNNING, WAITING))
    if any(one.owner is not None or one.head.status is not WAITING for one in below):
        return True
    if not timers and any(one.head.due_at is not None for one in below):
        return True
    ids = tuple(one.id for one in below)
    return bool(ids and await services.store.find(queries.Runs(ids=ids, claimable=True, limit=1)))


async def awaited(store: Store, record: r.RunRecord, statuses: tuple[Status, ...]) -> list[r.RunRecord]:
    """List the runs below this one that it waits for, through others."""
    found = await store.find(queries.Runs(under=record.id, statuses=statuses, limit=MOST_RUNS))
    return [one for one in found if base_of(one) == base_of(record)]


async def questions(store: Store, run: str) -> list[r.Question]:
    """List the open questions of a run and of all that it waits for, oldest first."""
    found = await store.find(queries.Questions(run=run))
    for record in await store.find(queries.Runs(ids=(run,))):
        for one in await awaited(store, record, (RUNNING, WAITING, PAUSED)):
            found += await store.find(queries.Questions(run=one.id))
    return sorted(found, key=lambda asked: asked.asked_at)
