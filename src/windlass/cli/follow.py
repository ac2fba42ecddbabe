"""Following a run that another process drives: its events, and the stream items that have reached the store."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from windlass.core.events import Event, from_item
from windlass.core.queries import Items
from windlass.core.states import ENDED, PAUSED, WAITING
from windlass.engine.notifier import Ear
from windlass.engine.runtime import Runtime

TICK_SECONDS = 0.25
SETTLED = frozenset({*ENDED, PAUSED, WAITING})


async def followed(
    runtime: Runtime, run: str, after: int, *, forever: bool = False, tick: Callable[[], None] = lambda: None
) -> AsyncIterator[Event]:
    """Yield events after number `after`, and stream items from now on, until the run settles.

    Args:
        tick: called a few times a second.

    Raises:
        RunUnknown: no run has this id.
    """
    kept = await runtime.store.find(Items(run=run))
    arrival = kept[-1].arrival if kept else -1
    with Ear(runtime.services.notifier, run) as ear:
        while True:
            record = await runtime.get(run)
            async for event in runtime.events(run, after=after):
                after = max(after, event.seq)
                yield event
            for item in await runtime.store.find(Items(run=run, after=arrival)):
                arrival = item.arrival
                yield from_item(item, msgspec.json.decode(item.value))
            if record.head.status in SETTLED and record.head.seq <= after and not forever:
                return
            tick()
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await ear.changed()
            except TimeoutError:
                continue
