"""The loop: drives one run from where it stands to where it ends, parks, pauses or fails.

    take commands → launch what is ready → wait for an outcome → settle it: reconcile, commit, plan → again

A Graph settles when every activation of the step has ended (the super-step barrier), a Pipeline as each ends; that is
the only difference. When nothing executes, `_rest` decides: go on, sleep a moment, park, or end.
"""

import asyncio
from collections import deque
from functools import partial
from math import inf

from windlass.core import records as r
from windlass.core.errors import WindlassError
from windlass.core.frames import lane
from windlass.core.states import CANCELLED, COMPLETED, FAILED, PAUSED, WAITING, Status
from windlass.engine import failures, frames
from windlass.engine.activation import Activation, Outcome
from windlass.engine.begin import begin
from windlass.engine.commands import hurry, take
from windlass.engine.continued import complete
from windlass.engine.dead import fail
from windlass.engine.deadlines import leave_unasked
from windlass.engine.drive import Drive
from windlass.engine.edges import check_begin, exceed, is_wrapped, wrap_up
from windlass.engine.entry import enter
from windlass.engine.execute import attempt
from windlass.engine.kin import leave
from windlass.engine.ledger import in_doubt
from windlass.engine.reconcile import Step, reconcile
from windlass.engine.tree import roll_back
from windlass.engine.turns import Turns
from windlass.policies.chain import reason

SLICE_SECONDS = 0.005  # a run that never waits lets others have the loop this often
SOON_SECONDS = 1.0  # what is due sooner is waited for in memory (D19), and so long a child that is driven here
STALL_SECONDS = 60.0
EFFECT_SECONDS = 5.0  # that an effect in flight gets when the process leaves; after that it is in doubt


class RunLoop(Drive):
    """One owner's drive of one run."""

    async def drive(self) -> Status:
        """Go forward until the run ends, parks or pauses; the run is released then.

        Raises:
            StoreError: a write failed; the run stays at its last durable row, for the next claim.
        """
        notifier = self.services.notifier
        self.watch = asyncio.get_running_loop().call_later(STALL_SECONDS / 4, self._watch)
        notifier.listen("!" + self.run, self.hear)
        try:
            self.turns = Turns(self.services.seams, f"turns of {self.run}", self._begin, lambda: bool(self.direct))
            await self.turns.take()
        finally:
            self.alarm.stop()
            notifier.forget("!" + self.run, self.hear)
            self.watch.cancel()
            self.guard.stop()
            await self._leave()
        return self.journal.head.status

    async def _begin(self) -> bool:
        await enter(self)
        self.guard.begin(partial(exceed, self))
        check_begin(self)
        self.turns.turn = self._turn
        return not self.over

    async def _leave(self) -> None:
        """Interrupt what still runs; effects in flight get a while to come to their outcome."""
        effects = {effect for activation in self.running.values() for effect in activation.effects} | self.undos
        if effects and self.journal.broken is None:
            await asyncio.wait(effects, timeout=EFFECT_SECONDS)
        for activation in self.running.values():
            activation.closed = True
            if activation.task is not None and activation is not self.direct:
                activation.task.cancel()

    def hear(self) -> None:
        """Note that a command may be waiting; one that cannot wait stops what runs in the drive's own task."""
        super().hear()
        if self.direct is not None:
            self.services.seams.background(hurry(self), f"hurry {self.run}")

    async def _turn(self) -> bool:
        if self.news:
            self.news = False
            await take(self)
            if not self.position.n and not await begin(self):
                return False
        if self.journal.broken is not None:
            raise self.journal.broken
        if self.has_frames or self.guard.is_on:
            await frames.prepare(self)
            if self.over:
                return False
        direct = self._launch()
        if direct is not None:
            self.direct = direct
            outcome = await attempt(direct)
            if self.direct is not direct:  # another task goes on, and hears of it unless it was given up
                direct.tell(outcome)
                return False
            self.direct = None
            await self._settle([outcome])
            if self.clock.monotonic() - self._slice > SLICE_SECONDS:
                await asyncio.sleep(0)
                self._slice = self.clock.monotonic()
        elif self.done:
            outcomes, self.done = self.done, []
            await self._settle(outcomes)
        elif not self.running:
            await self._rest()
        else:
            due = None if self.leaving else self.next_due()
            is_soon = due is not None and due - self.clock.now() <= SOON_SECONDS
            if not is_soon and all(activation.starved for activation in self.running.values()):
                self.stop_all("waiting")
            await self.rest_until(due)
        return not self.over

    def _launch(self) -> Activation | None:
        """Start what is ready; return the activation instead if it is alone and may be awaited in place."""
        position = self.position
        while self.ready and not self.leaving:
            address = self.ready.popleft()
            frame = position.at(address) if position.frames else position
            planned = frame.waiting.get(address)
            if planned is None or address in self.running or address in frame.settled:
                called = self.running.get(address)
                if called is not None and called.stopping:
                    self.woken.add(address)
                if called is None or self._busy(lane(address)) < (called.node.concurrency or inf):
                    self.next_held(address)  # else it would only come behind the others
                continue
            pending = position.pending.get(address)
            if pending is not None and (pending.is_failed or (pending.due_at or 0) > self.clock.now()):
                self.resting[address] = "retry"
                self.next_held(address)
                continue
            self.resting.pop(address, None)
            activation = Activation(self.services, self.blueprint, self.journal, self.ledger, self.guard, planned)
            activation.streams = self.items
            node = activation.node
            if node.concurrency is not None and self._busy(lane(address)) >= node.concurrency:
                self.held.setdefault(lane(address), deque()).append(address)
                continue
            if self.guard.is_on and self._is_held(address):
                self.next_held(address)
                continue
            self.running[address] = activation
            if node.streams_to:
                self.ready.extend(reader for reader, why in self.resting.items() if why == "starves")
            due = self.alarm.watch(activation)
            is_alone = len(self.running) == 1 and not self.ready and not self.resting and not self.has_streams
            if is_alone and node.mode == "async":
                activation.task, activation.over, activation.beside = self.turns.task, self._ended, self._stand_aside
                if due < inf:  # it may take long
                    self.items.tell("activation.started", activation, attempt=activation.attempt)
                return activation
            self._start(activation)
        return None

    def _is_held(self, address: str) -> bool:
        hold = self.guard.admit(address)
        if hold is None:
            return False
        self.resting[address], self.guard.dues[address] = "held", hold.until
        if hold.until - self.clock.now() > SOON_SECONDS:
            self.journal.say("attempt.held", address, by=f"{hold.kind} {hold.name}", until=hold.until)
        return True

    def _busy(self, place: str) -> int:
        return sum(lane(address) == place for address in self.running)

    def _start(self, activation: Activation) -> None:
        activation.over = self._ended
        activation.task = self.services.seams.spawn(self._attempt(activation), activation.address)
        self.items.tell("activation.started", activation, attempt=activation.attempt)

    async def _attempt(self, activation: Activation) -> None:
        activation.tell(await attempt(activation))

    def _stand_aside(self) -> None:
        """Leave this task to the node that is alone in it, and go on in another: there is something to listen for."""
        if self.direct is not None:
            self.direct = None
            self.turns.leave_behind()

    def _ended(self, outcome: Outcome) -> None:
        self.done.append(outcome)
        if outcome.activation is self.direct:  # it was given up
            self._stand_aside()
        self.wake()

    async def _settle(self, outcomes: list[Outcome]) -> None:
        """Commit what attempts left: a step if it is complete, else pending writes, else a record."""
        finished: list[r.Finished] = []
        items = []
        for outcome in outcomes:
            activation = outcome.activation
            self.running.pop(activation.address, None)
            self.lingers_until = None
            if self.guard.is_on:
                self.guard.ended(activation.address, outcome.error, is_stopped=bool(outcome.stopped))
            self.next_held(activation.address)
            done = failures.settle(self, outcome)
            pending = self.position.pending.get(activation.address)
            if pending is not None and pending.listens and (done is not None or outcome.stopped == "waiting"):
                await leave_unasked(self, activation, waits=done is None)
            if done is None and outcome.stopped == "waiting":
                self.rest(activation)
            self.woken.discard(activation.address)
            if done is None:
                continue
            finished.append(done)
            leave(self.journal, done.address)
            self.known[done.address] = outcome.known
            if self.has_streams:
                output = done.writes.get(activation.node.output or "")
                items.append((activation, self.items.finishing(activation, output)))
            elif activation.ordinal:
                self.items.ended(activation)
        self.guard.escrow.count("steps", len(finished))
        await self._commit(finished)
        for activation, item in items:
            self.items.finished(activation, item)

    async def _commit(self, finished: list[r.Finished]) -> None:
        position = self.position
        if finished and position.frames:
            await frames.commit(self, finished)
        elif finished and (
            self.blueprint.wait == "any" or len(finished) + len(position.settled) == len(position.waiting)
        ):
            await self.step(finished)
        elif finished:
            await self.journal.write("writes", finished=tuple(finished), status=self.status())
        elif self.journal.has_notes:
            await self.journal.write("record", status=self.status())

    async def step(self, finished: list[r.Finished], path: str = "") -> None:
        """Settle what has finished in a frame, plan what follows, and commit both; the run may end with it."""
        journal, frame = self.journal, self.position.frame(path)
        blueprint = self.blueprint.within(path) if path else self.blueprint
        settled = [*frame.settled.values(), *finished]
        try:
            step = reconcile(blueprint, frame, finished, self.known, journal.blob)
            for done in settled:
                if done.anew is not None:  # it goes on as a new run
                    step = await complete(self, step, settled)
                    break
            self.guard.check(step.planned)
        except WindlassError as error:
            if finished:
                await journal.write("writes", finished=tuple(finished))
            self.continued = ""
            where = finished[0].address if finished else ""
            fail(self, where, failures.describe(error), reason(error))
            return
        if self.guard.rules.wraps and any(is_wrapped(done.address) for done in settled):
            step = step._replace(planned=())
        for done in settled:
            self.known.pop(done.address, None)
            for name in done.savepoints:
                journal.say("savepoint.made", done.address, name=name, n=self.position.n + 1)
        left = len(frame.waiting) - len(settled) + len(step.planned)
        limit = blueprint.step_limit
        if not left and not path:
            self.over = True
            await self._complete(step)
        elif limit is not None and frame.steps >= limit and step.planned:
            failures.fail_at_limit(self, path, limit)
            self.over = True
            await journal.write("step", step=step, status=FAILED, release=True)
        else:
            await journal.write("step", step=step, status=self.status())
            self.ready.extend(planned.address for planned in step.planned)
            if not left:
                await frames.close(self, path)

    async def _complete(self, step: Step) -> None:
        if not self.continued:  # which has told it
            self.journal.say("run.completed")
        await self.journal.write("step", step=step, status=COMPLETED, release=True)

    async def _rest(self) -> None:
        """Decide what to do when nothing executes and nothing is ready."""
        position = self.position
        if self.leaving == "cancel":
            await failures.withdraw(self)
            await self.end(CANCELLED, "run.cancelled", in_doubt=in_doubt(self.position))
        elif self.leaving == "rollback":
            await roll_back(self)
        elif self.leaving == "wrap_up":
            await wrap_up(self)
        elif self.leaving == "pause":
            await self.end(PAUSED, "run.paused", in_doubt=in_doubt(self.position))
        elif self.leaving == "stay":
            self.over = True
            if self.journal.has_changes:
                await self.journal.write_changes(release=True)
            else:
                await self.services.store.release(self.run, self.journal.record.epoch)
        elif self.failure is not None:
            address, failure = self.failure
            await self.end(FAILED, "run.failed", address, failure=failures.plain(failure))
        elif len(position.settled) == len(position.waiting):
            await self.step([])
        else:
            await self._park()

    async def _park(self) -> None:
        due = self.next_due()
        if due is not None and due - self.clock.now() <= SOON_SECONDS:
            await self.rest_until(due)
            return
        pending = self.position.pending.values()
        waiting = [id_ for one in pending for id_ in one.open_questions]
        children = [id_ for one in pending for id_ in one.open_children]
        if self.news:
            return
        if children and not waiting and self.lingers(children, SOON_SECONDS):
            await self.rest_until(self.lingers_until)
            return
        signals = [wait.name for one in pending for wait in one.open_signals]
        self.journal.say("run.parked", questions=waiting, children=children, signals=signals, due_at=due)
        self.over = True
        await self.journal.write("record", status=WAITING, due_at=due, release=True)

    def _watch(self) -> None:
        """Tell of attempts that gave no sign of life; look again after a while."""
        now = self.clock.monotonic()
        for activation in self.running.values():
            if now - activation.signs > STALL_SECONDS:
                activation.signs = now
                self.items.tell("activation.stalled", activation, seconds=STALL_SECONDS)
        self.watch = asyncio.get_running_loop().call_later(STALL_SECONDS / 4, self._watch)
