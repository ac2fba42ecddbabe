"""The worker: claims every run that it knows and that has work, tenants in turn, until it is told to stop.

A Runtime drives runs and holds their leases; this is the loop around it (D3). It looks for runs that were never
started, whose owner is gone, whose time has come, or for which a command was posted. It wakes when the store changes,
and otherwise looks a few times a second: a wake-up may be lost, a look is not. The worker keeps nothing by itself; when
it dies, its runs are claimed by the next one.

Whoever has much to do does not keep the others waiting: each tenant has a run claimed in its turn, the one that has had
work for the longest time, and the turn goes on from look to look. It is each worker's own, so that several do not all
want the same run for long; where they do, one of them wins and the others take the next.
"""

import asyncio
from collections.abc import Callable, Sequence

from msgspec import Struct

from windlass.core.blueprint import Definition, with_companions
from windlass.core.clock import Seams
from windlass.core.errors import RunOwned, RunState, StoreError, WindlassError
from windlass.core.queries import Work
from windlass.core.records import RunRecord
from windlass.engine.runtime import Runtime

LOOK_SECONDS = 0.25  # the longest time between two looks; the jitter only shortens it
REST_SECONDS = 0.025  # the shortest
PAGE = 32  # runs of one look: more than are claimed before it is old, and then others may have their turn
SPARE = 8  # more than there is room for: others may be faster
PAGES = 16  # looks of one tick that find nothing to drive, because runs that cannot be driven are in front
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # before a run that could not be driven is tried again
LETTERS_SECONDS = 1.0  # between two looks at dead letters that nobody has handed on
RECENT_SECONDS = 60.0  # what they are looked at for: other processes' clocks may differ, and so may their patience
ALL_SECONDS = 600.0  # and so often at all of them, as at the start


class Tried(Struct):
    """A run that was picked up: where it stood, how often in a row, and when it may be tried again."""

    seq: int
    times: int
    not_before: float


class Worker:
    """Drives the runs of some definitions on an open Runtime.

    Args:
        runtime: knows the definitions, too.
        concurrency: most runs at once.
        told: called for what is worth a line in a log: what happened, to which run, details.
        seams: clock and dice, for tests.
    """

    def __init__(
        self, runtime: Runtime, definitions: Sequence[Definition], *, concurrency: int = 100,
        told: Callable[..., None] = lambda *_, **__: None, seams: Seams | None = None,
    ) -> None:  # fmt: skip
        self.runtime = runtime
        self.names = tuple(blueprint.name for blueprint in with_companions(definitions))
        self.concurrency = concurrency
        self.told = told
        self.seams = seams or Seams()
        self.stopping = False
        self._tried: dict[str, Tried] = {}
        self._turn: str | None = None  # the tenant that had it last
        self._letters_at = self._all_letters_at = 0.0  # when dead letters are looked at next
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Claim and drive until `stop`; a store that cannot be reached is tried again."""
        notifier = self.runtime.services.notifier
        notifier.listen("", self._news.set)
        self.runtime.drive_at_most(self.concurrency)
        try:
            pause = FIRST_PAUSE
            while not self.stopping:
                try:
                    await self.tick()
                except StoreError as error:
                    self.told("store.failed", error=error, again_in=pause)
                    await self._rest(pause)
                    pause = min(LONGEST_PAUSE, pause * 2)
                else:
                    pause = FIRST_PAUSE
                    await self._look_around()
        finally:
            notifier.forget("", self._news.set)

    async def tick(self) -> list[str]:
        """Claim what has work, as far as there is room; returns the runs that were picked up.

        Raises:
            StoreError: the store cannot be read.
        """
        room = self.concurrency - len(self.runtime.driving)
        if room <= 0 or self.stopping:
            return []
        now = self.seams.clock.now()
        picked: list[str] = []
        seen: set[str] = set()
        tried: list[str] = []
        barren = 0
        while barren < PAGES and not self.stopping:
            limit = min(PAGE, room - len(picked) + SPARE)
            besides = (*self._put_off(now), *tried) if tried else ()
            found = await self.runtime.store.find(
                Work(definitions=self.names, due_before=now, behind=self._turn, besides=besides, limit=limit)
            )
            more, passed = await self._pick_some(found, room - len(picked), now)
            picked += more
            seen |= {record.id for record in found}
            tried += [record.id for record in found[:passed]]
            if len(picked) == room or passed == len(found) < limit:
                break
            barren = 0 if more else barren + 1
        self._forget(seen, now)
        return picked + await self._hand_on(now, room - len(picked))

    async def _pick_some(self, found: Sequence[RunRecord], room: int, now: float) -> tuple[list[str], int]:
        """Claim what was found, until it is old: returns what was picked up, and how many were passed.

        A run that another worker was faster to claim says that it goes through the same list: those behind may be over
        by now, and to claim them would be two writes for nothing.
        """
        picked: list[str] = []
        driving = set(self.runtime.driving)
        old_at = self.seams.clock.monotonic() + REST_SECONDS
        for passed, record in enumerate(found):
            if len(picked) == room or self.stopping or (picked and self.seams.clock.monotonic() > old_at):
                return picked, passed
            if record.id in driving or not self._may_try(record, now):
                continue
            try:
                if await self._pick_up(record):
                    picked.append(record.id)
                    self._turn = record.tenant
            except (RunOwned, RunState):
                return picked, passed + 1
        return picked, len(found)

    def _put_off(self, now: float) -> list[str]:
        return [run for run, tried in self._tried.items() if now < tried.not_before]

    async def _hand_on(self, now: float, room: int) -> list[str]:
        """Start what is bound to dead letters, where whoever wrote one died before it could; returns the runs."""
        if now < self._letters_at or room <= 0 or self.stopping:
            return []
        self._letters_at = now + LETTERS_SECONDS
        since = now - RECENT_SECONDS if now < self._all_letters_at else None
        started = await self.runtime.hand_on(since, room)
        if since is None and len(started) < room:
            self._all_letters_at = now + ALL_SECONDS
        for run in started:
            self.told("run.picked_up", run=run, after=0, status="created", tries=1)
        return started

    def _may_try(self, record: RunRecord, now: float) -> bool:
        """Count picks of a run that does not move: what stops it would stop it again, at once and for ever."""
        tried = self._tried.get(record.id)
        if tried is None or tried.seq != record.head.seq:
            self._tried[record.id] = Tried(record.head.seq, 1, 0.0)
            return True
        if now < tried.not_before:
            return False
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tried.times - 1, 10))
        self._tried[record.id] = Tried(record.head.seq, tried.times + 1, now + pause)
        return True

    async def _pick_up(self, record: RunRecord) -> bool:
        """Claim and drive a run; False if it cannot be.

        Raises:
            RunOwned, RunState: somebody else was faster.
        """
        try:
            await self.runtime.pick_up(record.id)
        except (RunOwned, RunState):
            raise
        except WindlassError as error:  # of this run alone: the others go on
            tried = self._tried[record.id]
            tried.not_before = max(tried.not_before, self.seams.clock.now() + FIRST_PAUSE)
            self.told("run.refused", run=record.id, error=error)
            return False
        tries = self._tried[record.id].times
        self.told("run.picked_up", run=record.id, after=record.head.seq, status=record.head.status.value, tries=tries)
        return True

    def _forget(self, seen: set[str], now: float) -> None:
        """Forget runs that have no work any more; one that failed may only be out of sight, behind many others."""
        driving = set(self.runtime.driving)
        for run in [run for run in self._tried if run not in seen and run not in driving]:
            not_before = self._tried[run].not_before
            if not not_before or now >= not_before + LONGEST_PAUSE:
                del self._tried[run]

    async def _look_around(self) -> None:
        """Wait for a change in the store, at least a moment and at most until the next look."""
        began = self.seams.clock.monotonic()
        await self._rest(REST_SECONDS)
        look = LOOK_SECONDS * (0.5 + self.seams.dice() / 2)  # jittered: workers do not look all at once
        left = look - (self.seams.clock.monotonic() - began)
        if left > 0 and not self.stopping:
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                pass
        self._news.clear()

    async def _rest(self, seconds: float) -> None:
        if not self.stopping:
            await self.seams.clock.sleep(seconds)

    def stop(self) -> None:
        """Claim nothing more."""
        self.stopping = True
        self._news.set()

    async def drain(self, grace: float) -> list[str]:
        """Let the runs that are driven go on for `grace` seconds; returns those that are still driven then.

        They are interrupted when the Runtime closes, and any worker may claim them at once.
        """
        self.stop()
        ends = self.seams.clock.monotonic() + grace
        while self.runtime.driving and self.seams.clock.monotonic() < ends:
            await self.seams.clock.sleep(REST_SECONDS)
        return self.runtime.driving
