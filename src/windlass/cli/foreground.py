"""Driving a run in the foreground: it is shown until it settles, and Ctrl-C pauses it (D34).

The first Ctrl-C lets what runs finish and pauses the run, the second stops it at once, the third leaves: what was
recorded stays, and the run goes on from there when it is resumed.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from windlass.cli.options import Common
from windlass.cli.outcome import look_up, tell_outcome
from windlass.cli.output import Out
from windlass.cli.view import View, open_view
from windlass.core.blueprint import Blueprint
from windlass.core.errors import RunError, RunFailed, RunOwned, RunState, StoreError
from windlass.core.events import Event
from windlass.core.position import load
from windlass.core.queries import Runs
from windlass.core.records import RunRecord
from windlass.core.states import COMPLETED, CREATED, ENDED, WAITING
from windlass.engine.continued import next_of
from windlass.engine.family import is_going_on
from windlass.engine.near import is_below
from windlass.engine.runtime import Runtime

INTERRUPTED: Final = 130
LOOK_SECONDS = 0.1  # between two looks at a run that waits, or that another process drives
MOST_CLAIMS = 3  # of a run that makes no progress: what stops it is then met again, and told
REPLACED = frozenset({"run.rolled_back", "run.forked"})  # events after which nodes stand otherwise than was told


class Foreground:
    """One run in the foreground.

    Args:
        wait: stay while the run waits for a due time or an answer, and while another process owns it.
    """

    def __init__(self, runtime: Runtime, run: str, view: View, out: Out, *, wait: bool) -> None:
        self.runtime = runtime
        self.run = run
        self.view = view
        self.out = out
        self.wait = wait
        self.presses = 0
        self.continued = ""  # the run that this one went on as
        self.pausing: set[asyncio.Task[None]] = set()

    async def go(self, after: int) -> RunRecord:
        """Show events after number `after` until the run settles or the user leaves; returns its record.

        Raises:
            StoreError: this process could not go on with the run.
        """
        with self._listening():
            follow = asyncio.create_task(self._follow(after))
            beside = (asyncio.create_task(self._watch_drive()), asyncio.create_task(self._keep_driven()))
            try:
                await asyncio.wait((follow, *beside), return_when=asyncio.FIRST_COMPLETED)
                for task in beside:
                    if task.done():
                        await task
                return await follow
            finally:
                follow.cancel()
                for task in beside:
                    task.cancel()
                await asyncio.gather(follow, *beside, *self.pausing, return_exceptions=True)
                self.view.close()

    async def _follow(self, after: int) -> RunRecord:
        seen = after
        while True:
            async for event in self.runtime.events(self.run, after=seen, follow=True):
                seen = max(seen, event.seq)
                self.view.show(event)
                if event.type == "run.continued":
                    self.continued = event.data["run"]
                if event.type in REPLACED:
                    self.view.board.place(load(await self.runtime.store.load(self.run)))
                if event.type == "run.parked" and not self.wait and (record := await self._parked(event)):
                    return record
            record = await self.runtime.get(self.run)
            if not self.wait or record.head.status not in (WAITING, CREATED):
                return record
            while record.head.seq <= seen:
                await asyncio.sleep(LOOK_SECONDS)
                record = await self.runtime.get(self.run)

    async def _parked(self, event: Event) -> RunRecord | None:
        record = await self.runtime.get(self.run)
        while event.data.get("children") and record.head.seq == event.seq and await self._is_below(record):
            await asyncio.sleep(LOOK_SECONDS)
            record = await self.runtime.get(self.run)
        return record if record.head.status is WAITING and record.head.seq == event.seq else None

    async def _is_below(self, record: RunRecord) -> bool:
        """Say whether child runs go on: this process may drive them, and may not end before they park."""
        here = await self.runtime.store.find(Runs(ids=tuple(self.runtime.driving)))
        return any(is_below(record, one) for one in here) or await is_going_on(
            self.runtime.services, record, timers=True
        )

    async def _watch_drive(self) -> None:
        """Meet what this process's own drive fails with; a run that failed is no failure of the drive."""
        while True:
            with suppress(RunFailed):
                await self.runtime.wait(self.run, timers=not self.wait)
            await asyncio.sleep(LOOK_SECONDS)

    async def _keep_driven(self) -> None:
        """Take the run over when it has work and nobody drives it: its owner died, or an answer came."""
        claims, at = 0, -1
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.view.tick()
            if self.run in self.runtime.driving:
                continue
            due = Runs(ids=(self.run,), claimable=True, due_before=time.time())
            found = await self.runtime.store.find(due)
            if not found or self.presses:
                continue
            claims, at = (claims + 1, at) if found[0].head.seq == at else (1, found[0].head.seq)
            if claims > MOST_CLAIMS:
                raise StoreError(f"run {self.run} was claimed {MOST_CLAIMS} times and did not move")
            await take_up(self.runtime, self.run)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGINT, self._pressed)
        except (NotImplementedError, RuntimeError, ValueError):  # no such signals here, or not the main thread
            yield
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _pressed(self) -> None:
        """Act on Ctrl-C."""
        self.presses += 1
        if self.run not in self.runtime.driving:
            self._leave(f"left {self.run} as it is")
        if self.presses > 2:  # noqa: PLR2004 -- drain, stop, leave
            self._leave("left; what was recorded stays, and `windlass runs resume` goes on from there")
        first = self.presses == 1
        self.out.say(
            "pausing: what runs may finish (Ctrl-C again stops it)" if first else "stopping (Ctrl-C again leaves)"
        )
        task = asyncio.create_task(self._pause(immediate=not first))
        self.pausing.add(task)
        task.add_done_callback(self.pausing.discard)

    async def _pause(self, *, immediate: bool) -> None:
        try:
            await self.runtime.pause(self.run, immediate=immediate, by="Ctrl-C")
        except RunError:
            return  # it ended meanwhile

    def _leave(self, said: str) -> None:
        """End the process here and now: a thread or an effect that hangs cannot hold it."""
        self.view.close()
        self.out.say(said)
        os._exit(INTERRUPTED)


async def take_up(runtime: Runtime, run: str) -> bool:
    """Claim and drive a run; False if somebody else was faster."""
    try:
        await runtime.pick_up(run)
    except (RunOwned, RunState):
        return False
    return True


async def show_until_settled(
    runtime: Runtime, run: str, common: Common, *, after: int, wait: bool = False, blueprint: Blueprint | None = None
) -> int:
    """Show a run that is driven here or elsewhere, say how it stands in the end, and return the exit code.

    Of a child run that has ended, the run above it whose definition was given is shown then: it goes on here.

    Raises:
        StoreError: this process could not go on with the run.
    """
    out = Out(as_json=common.json)
    record = await runtime.get(run)
    if after and record.head.status is COMPLETED and (later := await next_of(runtime.store, record)):
        record = await runtime.get(later)  # what was left here has ended, and goes on there
        run, after = later, record.head.seq
        out.say(f"run   {run}")
    over = "" if blueprint is None else run_above(record, blueprint.name)
    seen = (await runtime.get(over)).head.seq if over else 0
    view = open_view(out, record)
    if after:
        await catch_up(runtime, run, view, after)
    front = Foreground(runtime, run, view, out, wait=wait)
    await front.go(after)
    while front.continued:
        run = front.continued
        out.say(f"run   {run}")
        front = Foreground(runtime, run, open_view(out, await runtime.get(run)), out, wait=wait)
        await front.go(0)
    outcome = await look_up(runtime, run, blueprint)
    code = tell_outcome(out, common, outcome)
    if over and outcome.status in ENDED and not front.presses:
        out.say(f"run   {over}")
        return await show_until_settled(runtime, over, common, after=seen, wait=wait, blueprint=blueprint)
    return INTERRUPTED if front.presses > 1 else code


def run_above(record: RunRecord, definition: str) -> str:
    """Name the topmost run of a definition that waits for a child run, through others; empty if none does.

    It goes on here once the child has ended: its definition was given.
    """
    origin = record.origin
    if origin is None or record.definition == definition or origin.base not in origin.line:
        return ""
    begin = origin.line.index(origin.base)
    awaited = zip(origin.line[begin:], origin.names[begin:], strict=True)
    return next((run for run, name in awaited if name == definition), "")


async def catch_up(runtime: Runtime, run: str, view: View, until: int) -> None:
    """Put what has happened up to event `until` on the board, without showing each event."""
    async for event in runtime.events(run):
        if event.seq <= until:
            view.board.see(event)
    view.board.place(load(await runtime.store.load(run)))
