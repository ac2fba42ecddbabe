"""Waiting for runs: until one has ended, or nothing of it goes on by itself any more, wherever it is driven."""

import asyncio
from dataclasses import replace

from windlass.core import queries
from windlass.core import records as r
from windlass.core.errors import StaleLease
from windlass.core.states import COMPLETED, ENDED, WAITING, Status
from windlass.core.words import Result
from windlass.engine import family, reads
from windlass.engine.begin import front
from windlass.engine.continued import next_of
from windlass.engine.drives import Drives
from windlass.engine.family import is_going_on, is_settled
from windlass.engine.inputs import written
from windlass.engine.notifier import Ear
from windlass.engine.outputs import output, show


class Settling:
    """Tells when the runs that one Runtime waits for have come to rest."""

    def __init__(self, drives: Drives) -> None:
        self.drives = drives
        self.services = drives.services
        self.store = drives.store

    async def settled(self, run: str, *, timers: bool) -> Result:
        """Wait until a run has ended, is paused, or waits for people; with `timers`, or for a timer.

        Of a run that continued as a new one, the last is meant. A run that this process has driven to its end is told
        from memory.

        Raises:
            InputError: the run's id is no text.
            StoreError: this process's own drive failed.
        """
        written(run, "run")
        while True:
            result = await self._settled(run, timers=timers)
            if isinstance(result, Result):
                return result
            run = result

    async def _settled(self, run: str, *, timers: bool) -> Result | str:
        """Wait as `settled` does; returns the run instead that this one continued as."""
        with Ear(self.services.notifier, run) as ear:
            while True:
                task, loop = self.drives.tasks.get(run), self.drives.loops.get(run)
                if task is not None and loop is not None:
                    await asyncio.wait([task])
                    is_whole = not task.cancelled() and task.exception() is None  # its last write is durable
                    if loop.continued and is_whole:
                        return loop.continued
                    if loop.journal.head.status is COMPLETED and loop.over and is_whole:
                        shown = show(loop.position, loop.journal.blobs, loop.blueprint.codec)
                        return Result(run, COMPLETED.value, output(shown, loop.blueprint))
                    await asyncio.sleep(0)  # its callback has to run
                    continue
                record = await reads.get(self.store, run)
                if record.head.status is WAITING and self.drives.near.is_below(record):
                    await ear.changed()
                    continue
                faced = await front(self.store, record)  # the turn that it waits for, or itself
                is_over = await self.is_over(faced, timers=timers) and not await self._goes_on(faced)
                if is_over and not await self._is_below(faced, timers=timers):
                    if record.head.status is COMPLETED and (later := await next_of(self.store, record)):
                        return later
                    result = await reads.result(self.store, run, self.drives.blueprints.get(record.definition))
                    if faced is not record and result.status == Status.CREATED:
                        asked = await family.questions(self.store, faced.id)
                        return replace(result, waiting=tuple(one.id for one in asked))
                    if result.status != Status.RUNNING:  # or somebody has gone on with it since
                        return result
                    continue
                await ear.changed()

    async def _goes_on(self, record: r.RunRecord) -> bool:
        """Say whether a run that waits has been asked for something since, which this process can see to."""
        await asyncio.sleep(0)  # a caller that asks again and again leaves others their turn
        if record.head.status is not WAITING or record.definition not in self.drives.blueprints:
            return False
        if not await self.store.find(queries.Commands(run=record.id)):
            return False
        await self.drives.again(record.id)
        return True

    async def _is_below(self, record: r.RunRecord, *, timers: bool) -> bool:
        """Say whether something goes on below a run that waits."""
        is_near = self.drives.near.is_below(record)
        return record.head.status is WAITING and (is_near or await is_going_on(self.services, record, timers=timers))

    async def is_told(self, record: r.RunRecord) -> bool:
        """Say whether a follower of a run has heard all that will happen by itself."""
        faced = await front(self.store, record)
        if faced is not record and await self.store.find(queries.Commands(run=faced.id)):
            return False  # it will be cancelled for the sake of this one, perhaps
        record = faced
        return await self.is_over(record, timers=False) and not await self._is_below(record, timers=False)

    async def is_over(self, record: r.RunRecord, *, timers: bool) -> bool:
        """Say whether to stop waiting for a run; a run that has ended has ended, whoever drove it.

        Raises:
            StoreError: this process's own drive failed, and the run has not ended since.
        """
        if record.id in self.drives.tasks:
            return False
        settled = await is_settled(self.store, record, timers=timers)
        fenced = isinstance(self.drives.broken.get(record.id), StaleLease)
        if not settled or not (fenced or record.head.status in ENDED):
            self.drives.check(record.id)
        return settled
