"""The pruner of a worker."""

import asyncio
from typing import Any

from windlass.core.clock import Seams
from windlass.core.queries import Runs
from windlass.core.states import COMPLETED
from windlass.stores.memory import MemoryStore
from windlass.testing.conformance_place import begun
from windlass.testing.specimens import NOON, HandClock, a_write
from windlass.worker.pruner import Pruner


class Times(HandClock):
    """A clock on which an hour passes in a turn of the loop."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(0)


async def test_runs_go_when_they_are_old_enough() -> None:
    clock = Times(NOON)
    store = MemoryStore(clock=clock)
    await store.open()
    await begun(store)
    await store.commit(a_write(after=1, status=COMPLETED, release=True))
    told: list[tuple[str, dict[str, Any]]] = []
    pruner = Pruner(
        store,
        2.5 * 3_600,
        told=lambda what, **more: told.append((what, more)),
        seams=Seams(clock=clock, dice=lambda: 0.5),
    )
    pruning = asyncio.ensure_future(pruner.run())
    while clock.time < NOON + 4 * 3_600:  # noqa: ASYNC110 -- it is the sleep that moves the clock
        await asyncio.sleep(0)
    pruning.cancel()
    assert [more["runs"] for _, more in told][:4] == [0, 0, 0, 1]
    assert {what for what, _ in told} == {"store.pruned"}
    assert await store.find(Runs()) == []


async def test_a_store_that_fails_is_told() -> None:
    store = MemoryStore()
    told: list[str] = []
    assert await Pruner(store, 1.0, told=lambda what, **_: told.append(what)).once() is None
    assert told == ["store.failed"]
