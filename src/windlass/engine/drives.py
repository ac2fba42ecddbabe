"""The drives of one Runtime: which definitions it knows, which runs it drives, and when it wakes them again."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from windlass.core import queries
from windlass.core import records as r
from windlass.core.blueprint import Blueprint, Definition, differences
from windlass.core.errors import (
    DefinitionChanged,
    DefinitionError,
    DefinitionUnknown,
    RunOwned,
    RunState,
    StaleLease,
    StoreCorrupt,
    StoreError,
)
from windlass.core.position import load
from windlass.core.states import ENDED, PAUSED, WAITING, Status
from windlass.core.thread import is_queued
from windlass.engine import reads
from windlass.engine.activation import Activation
from windlass.engine.begin import is_due
from windlass.engine.drive import LOOK_SECONDS
from windlass.engine.ledger import ledger_of
from windlass.engine.letgo import FIRST_PAUSE, LONGEST_PAUSE, let_go
from windlass.engine.loop import RunLoop
from windlass.engine.near import Near
from windlass.engine.queue import Queue
from windlass.engine.redacting import Masking
from windlass.engine.services import Services
from windlass.engine.slots import Slots

NEWS_SECONDS = 0.01  # between two looks at whether another run here has heard of what ended


class Drives:
    """Drives runs in the background, each until it settles."""

    def __init__(self, services: Services, definitions: list[Definition], *, timers: bool) -> None:
        self.wakes = timers  # runs that park for a time are driven again when it has come
        self.services = services
        self.store = services.store
        self.blueprints: dict[str, Blueprint] = {}
        self.masking = Masking(services.platform.redact)
        self.loops: dict[str, RunLoop] = {}
        self.tasks: dict[str, asyncio.Task[Status]] = {}
        self.claims: set[asyncio.Future[None]] = set()  # under way: each may end with another drive
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self.broken: dict[str, BaseException] = {}  # why a drive here ended before its run settled
        self.closing = False
        self.slots = Slots(self.tasks, lambda run: services.seams.background(self.again(run), f"child {run}"))
        self.queue = Queue(services, self.again)
        self.parked: set[str] = set()  # runs that wait, last driven here
        self.near = Near(self.loops, services.notifier)
        self.hand_on: Callable[[list[str]], Coroutine[Any, Any, None]] | None = None  # starts handlers of dead letters
        self._looking = self._heard = False
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        for definition in definitions:
            self.learn(definition)

    def learn(self, definition: Definition) -> Blueprint:
        """Compile a definition and know it from now on by its name, and those that its runs are handed to."""
        blueprint = self.masking.of(definition.compile())
        if blueprint.name not in self.blueprints:
            for companion in blueprint.companions:
                self.blueprints.setdefault(blueprint.name, blueprint)  # they may hand back
                self.learn(companion)
        known = self.blueprints.setdefault(blueprint.name, blueprint)
        if known.fingerprint != blueprint.fingerprint:
            raise DefinitionError("definition.duplicate", f"two different definitions are named {blueprint.name!r}")
        self.blueprints[blueprint.name] = blueprint
        return blueprint

    def blueprint(self, record: r.RunRecord) -> Blueprint:
        """Return the definition of a run, if its structure is the one that the run was started with.

        Raises:
            DefinitionUnknown, DefinitionChanged: it is not known, or not the same.
            DefinitionError: it names a limit that the platform here does not declare.
        """
        blueprint = self.blueprints.get(record.definition)
        if blueprint is None:
            hint = f"windlass runs resume {record.id} {record.source}" if record.source else None
            raise DefinitionUnknown(f"run {record.id} is of {record.definition!r}, which is not known here", hint=hint)
        if blueprint.fingerprint != record.fingerprint:
            changed = differences(msgspec.json.decode(record.structure), blueprint.structure)
            said = "; ".join(changed[:5])
            raise DefinitionChanged(
                f"run {record.id} was started with {record.definition} {record.fingerprint}, "
                f"and the definition here is {blueprint.fingerprint}: {said}"
            )
        self.services.rules(blueprint, record.tenant, record.roles)
        return blueprint

    async def drive(self, run: str) -> None:
        """Claim a run and drive it in the background.

        Raises:
            RunUnknown, RunOwned, DefinitionUnknown, DefinitionChanged: it cannot be claimed, or not be driven.
        """
        async with self.lock(run):
            claim = asyncio.get_running_loop().create_future()
            self.claims.add(claim)
            try:
                await self._drive_alone(run)
            finally:
                self.claims.remove(claim)
                claim.set_result(None)

    def lock(self, run: str) -> asyncio.Lock:
        """Return what to hold while claiming a run: two claims at once by one process would fence each other off."""
        return self._locks.get(run) or self._locks.setdefault(run, asyncio.Lock())

    async def _drive_alone(self, run: str) -> None:
        if not await self.is_free(run):
            return
        record = await reads.get(self.store, run)
        blueprint = self.blueprint(record)
        if is_queued(record) and not await is_due(self.store, record):
            self.queue.add(run)
            return
        try:
            record = await self.store.claim(run, self.services.owner)
            loaded = await self.store.load(run)
            position = load(loaded)
            blobs = await reads.with_blobs(self.store, position)
            ledger = await ledger_of(self.store, record)
        except RunOwned:
            raise
        except BaseException as error:
            if isinstance(error, StoreCorrupt):
                with suppress(StoreError):  # a store that knows no quarantine
                    await self.store.maintain("quarantine", run=run, reason=str(error.args[0]))
            self.let_go(run)
            raise
        if self.closing:  # nobody here would drive it
            await self.store.release(run, record.epoch)
            return
        self.begin(RunLoop(self.services, blueprint, record, position, ledger, blobs))

    async def is_free(self, run: str) -> bool:
        """Say whether no drive here will look at commands; one that is over has made its last write by then."""
        while (drive := self.tasks.get(run)) is not None:
            if self.is_driving(run):
                return False
            await asyncio.wait([drive])
            await asyncio.sleep(0)  # its callback has to run
        return True

    def running(self) -> list[Activation]:
        """Return the attempts under way here; may be called from another thread."""
        return [activation for loop in tuple(self.loops.values()) for activation in tuple(loop.running.values())]

    def let_go(self, run: str) -> None:
        """Release a run, in the background, that this process may own and does not drive: its store has failed."""
        if not self.closing:
            self.services.seams.background(self._let_go(run), f"let go of {run}")

    async def _let_go(self, run: str) -> None:
        pause = FIRST_PAUSE
        is_wanted: Callable[[], bool] = lambda: self.closing or run in self.tasks  # noqa: E731
        while not is_wanted():
            async with self.lock(run):
                if await let_go(self.services, run, is_wanted):
                    return
            await self.services.seams.clock.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    def is_driving(self, run: str) -> bool:
        """Say whether a drive here will still look at commands."""
        return run in self.tasks and not self.loops[run].over

    def begin(self, loop: RunLoop) -> None:
        """Let a loop drive its run in the background."""
        timer = self.timers.pop(loop.run, None)
        if timer is not None:
            timer.cancel()
        self.broken.pop(loop.run, None)
        self.parked.discard(loop.run)
        if not self.parked:
            self.services.notifier.forget("!", self._hear)
        self.loops[loop.run] = loop
        task = self.services.seams.spawn(self._drive(loop), f"run {loop.run}")
        self.tasks[loop.run] = task
        task.add_done_callback(lambda ended: self._ended(loop, ended))

    async def _drive(self, loop: RunLoop) -> Status:
        try:
            await loop.guard.escrow.take_over()
            status = await loop.drive()
        except BaseException:
            await loop.guard.close()
            if loop.journal.broken is None:
                await self.store.release(loop.run, loop.journal.record.epoch)
            raise
        if loop.buried and self.hand_on is not None:
            await self.hand_on(loop.buried)
        if status in ENDED and self.services.escalation_ended is not None:
            await self.services.escalation_ended(loop.journal.record)
        return status

    def _ended(self, loop: RunLoop, task: "asyncio.Task[Status]") -> None:
        run = loop.run
        if self.tasks.get(run) is task:
            del self.tasks[run], self.loops[run]
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or self.closing:
            return
        self.slots.next()
        self.near.tell_above(loop.journal.record)
        if error is not None:
            self.broken[run] = error
        self.services.notifier.wake(run)
        if loop.journal.record.turn or loop.continued:
            self._turn_over(loop)
        if error is not None:
            self.let_go(run)
            if isinstance(error, StaleLease):  # what was posted here meanwhile may have nobody to take it
                self.services.seams.background(self.again(run, only_if_asked=True), f"again {run}")
            return
        head = loop.journal.head
        goes_on = head.status is Status.RUNNING  # a rollback that goes on
        if self.wakes and head.status is WAITING:
            if not self.parked:
                self.services.notifier.listen("!", self._hear)
            self.parked.add(run)
        if goes_on or loop.news or head.status is WAITING:  # a command may have come between its last look and its end
            self.services.seams.background(self.again(run, only_if_asked=not goes_on), f"again {run}")
        if self.wakes and head.status is WAITING and head.due_at is not None:
            self._arm(run, head.due_at)

    def _turn_over(self, loop: RunLoop) -> None:
        """Let the turn begin that waited for this one; one that was given up waits on."""
        if loop.continued:
            self.queue.add(loop.continued)
        elif not loop.position.n:
            self.queue.add(loop.run)
        else:
            self.queue.hear()

    def _arm(self, run: str, due_at: float) -> None:
        """Drive a parked run again once it is due; look again now and then, because the time of day may jump."""
        left = due_at - self.services.seams.clock.now()
        if left <= 0:
            self.services.seams.background(self.again(run), f"timer {run}")
        else:
            wait = min(left, LOOK_SECONDS)
            self.timers[run] = asyncio.get_running_loop().call_later(wait, self._arm, run, due_at)

    def _hear(self) -> None:
        """Something changed in the store, perhaps by another process: a parked run may have its answer."""
        self._heard = True  # while it looks, too: what it has found may be older than this change
        if not self._looking and not self.closing:
            self._looking = True
            self.services.seams.background(self._look(), "look at parked runs")

    async def _look(self) -> None:
        try:
            while self._heard and not self.closing:
                self._heard = False
                names = tuple(self.blueprints)
                asked = queries.Runs(claimable=True, definitions=names, statuses=(WAITING, PAUSED), limit=1000)
                found = await self.store.find(asked)
                for record in found:
                    if record.id in self.parked and record.id not in self.tasks:
                        await self.again(record.id, only_if_asked=True)
        finally:
            self._looking = False

    async def again(self, run: str, *, only_if_asked: bool = False) -> None:
        """Drive a run again that has work; somebody else may have been faster.

        Args:
            only_if_asked: look for a command first: the news of one may be false, and claiming leaves a trace.
        """
        if only_if_asked and not await self.store.find(queries.Commands(run=run)):
            return
        if not self.closing:  # since it began to look: nobody here would drive it
            with suppress(RunOwned, RunState):
                await self.drive(run)

    def check(self, run: str) -> None:
        """Raise what ended a drive of this run here before its time, if anything did."""
        if run not in self.tasks and run in self.broken:
            raise self.broken[run]

    async def calm(self, seconds: float) -> None:
        """Wait until nothing is driven here or about to be, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.tasks or self.claims or self.near.telling:
                    under_way: list[asyncio.Future[Any]] = [*self.tasks.values(), *self.claims]
                    await (asyncio.wait(under_way) if under_way else asyncio.sleep(NEWS_SECONDS))
                    await asyncio.sleep(0)  # their callbacks have to run

    async def close(self) -> None:
        """Let go of every run: what runs is interrupted, and goes on when it is next claimed."""
        self.closing = True
        self.queue.close()
        for timer in self.timers.values():
            timer.cancel()
        while self.tasks or self.claims:
            under_way: list[asyncio.Future[Any]] = [*self.tasks.values(), *self.claims]
            for drive in self.tasks.values():
                drive.cancel()
            await asyncio.wait(under_way)
            await asyncio.sleep(0)  # their callbacks have to run
