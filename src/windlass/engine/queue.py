"""Turns that wait here for the turns in front of them: what one Runtime does so that they begin.

They stand in the store and may be begun by any process that knows them. This one looks whenever the store changes, and
now and then, because a lease that runs out or a timer that comes due changes nothing. It drives a turn whose time has
come, and one in front that has work and that nobody drives.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from windlass.core import queries
from windlass.core.errors import StoreError, WindlassError
from windlass.core.thread import is_queued
from windlass.engine.begin import front, held_up
from windlass.engine.services import Services

LOOK_SECONDS = 0.5
Thread = tuple[str, str, str]  # tenant, definition, name


class Queue:
    """The turns that were started or attached to here and have not begun.

    Args:
        drive: claims a run and drives it in the background, unless it is driven here.
    """

    def __init__(self, services: Services, drive: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self.services = services
        self.drive = drive
        self.runs: dict[str, Thread | None] = {}  # with the thread of each, once it is known
        self.closed = False
        self._heard = self._looking = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, run: str) -> None:
        """Let a turn begin as soon as it can."""
        if not self.runs:
            self.services.notifier.listen("!", self.hear)
        self.runs.setdefault(run)
        self.hear()

    def hear(self) -> None:
        """Look again: a turn may be over."""
        self._heard = True
        if self.runs and not self._looking and not self.closed:
            self._looking = True
            self.services.seams.background(self._look(), "look at queued turns")

    def close(self) -> None:
        """Look no more."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def _look(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            while self._heard and not self.closed:
                self._heard = False
                with suppress(StoreError):
                    await self._begin()
        finally:
            self._looking = False
        if self.runs and not self.closed:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self.hear)

    async def _begin(self) -> None:
        """Drive what can begin, and what is in front of the others and has work.

        Of each thread one turn is looked at: they all wait for the same one in front.
        """
        store, now = self.services.store, self.services.seams.clock.now()
        ids = tuple({thread or run: run for run, thread in reversed(self.runs.items())}.values())
        fronts: dict[str, None] = {}
        found = {one.id: one for one in await store.find(queries.Runs(ids=ids, limit=len(ids)))}
        for run in ids:
            record = found.get(run)
            if record is None or not is_queued(record):
                self._forget(run)
                self._heard = True  # the next of its thread has yet to be looked at
            else:
                self.runs[run] = (record.tenant, record.definition, record.thread)
                fronts[(await front(store, record)).id] = None
        if not fronts:
            return
        asked = queries.Runs(ids=tuple(fronts), claimable=True, due_before=now, limit=len(fronts))
        for record in await store.find(asked):
            if not self.closed:
                held = await held_up(store, record) if is_queued(record) else ""
                with suppress(WindlassError):  # of this run alone: whoever waits for it is told when it drives it
                    await self.drive(held or record.id)

    def _forget(self, run: str) -> None:
        self.runs.pop(run, None)
        self.services.notifier.wake(run)
        if not self.runs:
            self.services.notifier.forget("!", self.hear)
