"""The simulated store: the memory store's world, seen by one process, with every fault between the two.

Each method is one serialisable transaction, and what was applied outlives every crash; what goes wrong is on the way:
it arrives late, is not applied and an error comes back, is applied and an error comes back, or the process dies or
stands still before or after. `Watch` is told what was applied, whether the process hears of it or not.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from windlass.core import queries
from windlass.core import records as r
from windlass.core.changes import Adjust, Change, LetterPut, Write
from windlass.core.errors import StaleLease, StoreUnavailable
from windlass.core.tallies import Answer
from windlass.stores.base import LEASE_SECONDS
from windlass.stores.memory import MemoryStore
from windlass.stores.memory_world import World
from windlass.testing.sim_process import Process
from windlass.testing.sim_watch import Watch

T = TypeVar("T")


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Do what waits for nothing."""
    with suppress(StopIteration):
        work.send(None)


class SimStore:
    """One process's way to the store that all share.

    Args:
        fleet: all processes: while one of them lives and does not stand still, its heartbeat has just renewed its
            lease, by its own clock.
    """

    def __init__(self, process: Process, world: World, watch: Watch, fleet: "list[SimStore]") -> None:
        self.process = process
        self.watch = watch
        self.fleet = fleet
        self.inner = MemoryStore("memory:simulated", clock=process.clock, world=world)
        self.url = self.inner.url
        self.capabilities = self.inner.capabilities
        self.owner: r.Owner | None = None
        self._locks: dict[str, asyncio.Lock] = {}
        process.beat = self._last_beat
        fleet.append(self)

    def _last_beat(self) -> None:
        if self.owner is not None and self.process.state == "live":
            at_once(self.inner.renew(self.owner))

    def bury(self) -> None:
        """Let the owner be found dead at once, as on its own host, instead of when its lease runs out."""
        if self.owner is not None:
            self.process.clock.offset -= LEASE_SECONDS
            at_once(self.inner.renew(self.owner))

    def _order(self, run: str) -> asyncio.Lock:
        """First in, first out for each run, as the contract says."""
        lock = self._locks.get(run)
        if lock is None:
            lock = self._locks[run] = asyncio.Lock()
        return lock

    async def _beat(self) -> None:
        for store in self.fleet:
            if store.owner is not None and store.process.state == "live":
                await store.inner.renew(store.owner)

    async def open(self) -> None:
        """Begin."""
        await self.inner.open()

    async def create(self, record: r.RunRecord, first: Write, owner: r.Owner | None) -> tuple[Answer, ...]:
        """Make a run."""

        async def work() -> tuple[Answer, ...]:
            answers = await self.inner.create(record, first, owner)
            self.watch.created(self.process, record, first, owned=owner is not None)
            self._tell(first.changes, answers, rides=True)
            return answers

        return await self.process.touch("create", work)

    async def post(self, command: r.Command) -> bool:
        """Keep a command."""

        async def work() -> bool:
            fresh = await self.inner.post(command)
            self.watch.posted(command, fresh=fresh)
            return fresh

        return await self.process.touch("post", work)

    async def claim(self, run: str, owner: r.Owner) -> r.RunRecord:
        """Take a run."""

        async def work() -> r.RunRecord:
            await self._beat()
            record = await self.inner.claim(run, owner)
            self.watch.claimed(self.process, record)
            return record

        return await self.process.touch("claim", work)

    async def renew(self, owner: r.Owner) -> None:
        """Keep a lease, from now on for as long as the process lives."""
        await self.inner.renew(owner)
        self.owner = owner

    async def release(self, run: str, epoch: int) -> None:
        """Give a run up."""
        await self.process.touch("release", lambda: self.inner.release(run, epoch))

    async def retire(self, owner: r.Owner) -> None:
        """Give all runs up."""
        self.owner = None
        await self.process.touch("retire", lambda: self.inner.retire(owner))

    async def load(self, run: str) -> r.Loaded:
        """Return what a run left."""
        return await self.process.touch("load", lambda: self.inner.load(run))

    async def commit(self, write: Write) -> tuple[Answer, ...]:
        """Advance a run."""
        async with self._order(write.run):
            if digit := self.process.meet():
                return await self.process.suffer(digit, "commit", partial(self._commit, write))
            return await self._commit(write)

    async def _commit(self, write: Write) -> tuple[Answer, ...]:
        try:
            answers = await self.inner.commit(write)
        except StaleLease:
            self.watch.refused(self.process, write.run, write.epoch)
            raise
        self.watch.committed(self.process, write)
        self._tell(write.changes, answers, rides=True)
        return answers

    async def adjust(self, changes: Sequence[Adjust | LetterPut]) -> tuple[Answer, ...]:
        """Change what is not one run's."""

        async def work() -> tuple[Answer, ...]:
            answers = await self.inner.adjust(changes)
            self._tell(changes, answers, rides=False)
            return answers

        return await self.process.touch("adjust", work)

    def _tell(self, changes: Sequence[Change], answers: tuple[Answer, ...], *, rides: bool) -> None:
        if answers:
            adjusts = [change for change in changes if isinstance(change, Adjust)]
            self.watch.adjusted(list(zip(adjusts, answers, strict=True)), rides)

    async def append_items(self, run: str, epoch: int, items: Sequence[r.Item]) -> None:
        """Keep stream items."""

        async def work() -> None:
            try:
                await self.inner.append_items(run, epoch, items)
            except StaleLease:
                self.watch.refused(self.process, run, epoch)
                raise
            self.watch.appended(self.process, run, epoch)

        async with self._order(run):
            await self.process.touch("append_items", work)

    async def find(self, query: queries.Query[T]) -> list[T]:
        """Answer a query."""
        if digit := self.process.meet():
            return await self.process.suffer(digit, "find", partial(self._find, query))
        return await self._find(query)

    async def _find(self, query: queries.Query[T]) -> list[T]:
        if getattr(query, "claimable", type(query) is queries.Work):
            await self._beat()
        return await self.inner.find(query)

    def version(self) -> int:
        """Count the writes."""
        return self.inner.version()

    async def maintain(self, chore: str, **options: Any) -> dict[str, Any]:
        """Refuse: nothing is looked after while a simulation runs."""
        raise StoreUnavailable(f"{chore}: a simulated store does no chores ({', '.join(options)})")

    async def close(self) -> None:
        """End."""
        await self.inner.close()
