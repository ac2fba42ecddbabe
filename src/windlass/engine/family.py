"""Looking at a tree of runs: what goes on below a run, which questions are open there, and all events as one stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from msgspec.structs import replace

from windlass.core import queries
from windlass.core import records as r
from windlass.core.clock import Seams
from windlass.core.errors import RunUnknown
from windlass.core.events import Event
from windlass.core.states import CREATED, ENDED, PAUSED, RUNNING, WAITING, Status
from windlass.engine.inherit import base_of
from windlass.engine.inputs import written
from windlass.engine.services import Services
from windlass.stores.base import Store

MOST_RUNS = 100_000
SETTLED = frozenset({*ENDED, PAUSED, WAITING})


async def is_going_on(services: Services, record: r.RunRecord, *, timers: bool) -> bool:
    """Say whether something happens by itself below a run that waits, of what it waits for.

    Looked at until nothing has moved meanwhile: an end is on its way from one run to another between two looks.

    Args:
        timers: what waits for a time counts as waiting.
    """
    store = services.store
    if not await store.find(queries.Runs(parent=record.id, limit=1)):
        return False
    seen: list[r.RunRecord] = []
    while True:
        here = await store.find(queries.Runs(ids=(record.id,)))
        found = await awaited(store, record, (CREATED, RUNNING, WAITING, PAUSED))
        below = [one for one in found if one.head.status is not PAUSED]
        if any(one.owner is not None or one.head.status not in SETTLED for one in (*here, *below)):
            return True
        if any([await _is_resumed(store, one) for one in found if one.head.status is PAUSED]):
            return True
        if not timers and not all([await is_for_people(store, one) for one in below]):
            return True
        if seen and [(one.id, one.epoch, one.head.seq) for one in seen] == [
            (one.id, one.epoch, one.head.seq) for one in (*here, *below)
        ]:
            return False
        seen = [*here, *below]
        if await store.find(queries.Runs(ids=tuple(one.id for one in seen), claimable=True, limit=1)):
            return True


async def _is_resumed(store: Store, record: r.RunRecord) -> bool:
    """Say whether somebody has asked a paused run to go on, as the run above it does when it is resumed."""
    return any(command.verb == "resume" for command in await store.find(queries.Commands(run=record.id)))


async def is_settled(store: Store, record: r.RunRecord, *, timers: bool) -> bool:
    """Say whether nothing of a run goes on by itself any more; `timers`: what waits for a time counts as waiting."""
    if record.head.status is WAITING:
        return timers or await is_for_people(store, record)
    return record.head.status in SETTLED


async def is_for_people(store: Store, record: r.RunRecord) -> bool:
    """Say whether a run that waits does so for people alone: a question's clock is no timer."""
    due_at = record.head.due_at
    if due_at is None:
        return True
    asked = await store.find(queries.Questions(run=record.id))
    return any(due_at in (*one.terms.remind, one.terms.due_at) for one in asked)


async def awaited(store: Store, record: r.RunRecord, statuses: tuple[Status, ...]) -> list[r.RunRecord]:
    """List the runs below this one that it waits for, through others."""
    found = await store.find(queries.Runs(under=record.id, statuses=statuses, limit=MOST_RUNS))
    return [one for one in found if base_of(one) == base_of(record)]


async def questions(store: Store, run: str) -> list[r.Question]:
    """List the open questions of a run and of all that it waits for, oldest first.

    Raises:
        RunUnknown: no run has this id.
        InputError: it is no text.
    """
    found = await store.find(queries.Questions(run=written(run, "run")))
    records = await store.find(queries.Runs(ids=(run,)))
    if not records:
        raise RunUnknown(run, store.url)
    for one in await awaited(store, records[0], (RUNNING, WAITING, PAUSED)):
        found += await store.find(queries.Questions(run=one.id))
    return sorted(found, key=lambda asked: asked.asked_at)


Read = Callable[..., AsyncIterator[Event]]


async def stream(read: Read, seams: Seams, run: str, *, after: int, at_once: bool) -> AsyncIterator[Event]:
    """Yield the events of a run and of all below it, each with the path of its run.

    A child's events come after the one that tells of its start. Without `at_once` they come right behind it; with it,
    the runs of a tree are followed at the same time, each until it settles, but for detached ones: those go their way.
    """
    if not at_once:
        async for event in _in_turn(read, run, after):
            yield event
        return
    heard: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
    followed: dict[str, asyncio.Task[None]] = {}

    async def follow(one: str, path: str, begin: int) -> None:
        end: Exception | None = None
        try:
            async for event in read(one, after=begin):
                heard.put_nowait(replace(event, path=path))
                if _is_awaited(event) and event.data["id"] not in followed:
                    begun(event.data["id"], event.data["path"], 0)
        except Exception as error:  # noqa: BLE001 -- whoever reads the stream is told
            end = error
        heard.put_nowait(end)

    def begun(one: str, path: str, begin: int) -> None:
        followed[one] = seams.spawn(follow(one, path, begin), f"events of {one}")

    begun(run, "", after)
    ended = 0
    try:
        while ended < len(followed):
            told = await heard.get()
            if isinstance(told, Exception):
                raise told
            if told is None:
                ended += 1
            else:
                yield told
    finally:
        for task in followed.values():
            task.cancel()


def _is_awaited(event: Event) -> bool:
    return event.type == "child.started" and not event.data["detached"]


async def _in_turn(read: Read, run: str, after: int, path: str = "") -> AsyncIterator[Event]:
    async for event in read(run, after=after):
        yield replace(event, path=path)
        if event.type == "child.started":
            with suppress(RunUnknown):  # a detached one may have been pruned
                async for below in _in_turn(read, event.data["id"], 0, event.data["path"]):
                    yield below
