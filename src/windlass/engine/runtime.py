"""Runtime: the front door. It opens a store, drives runs, and steers them; every verb works from any process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from windlass.core import queries
from windlass.core import records as r
from windlass.core.audit import Account
from windlass.core.blueprint import Definition
from windlass.core.clock import Seams
from windlass.core.errors import LoopRunning, RunFailed
from windlass.core.events import Event
from windlass.core.letters import DeadLetter
from windlass.core.owner import this_process
from windlass.core.states import FAILED
from windlass.core.talk import Model, models_of
from windlass.core.words import Result
from windlass.engine import answers, escalations, family, forks, people, reads, redrive
from windlass.engine.activation import Activation
from windlass.engine.births import Options
from windlass.engine.context import Context, SyncContext
from windlass.engine.control import Control
from windlass.engine.drives import Drives
from windlass.engine.inputs import keywords
from windlass.engine.lease import Heartbeat
from windlass.engine.nest import Nest
from windlass.engine.notifier import Notifier
from windlass.engine.pool import Pool
from windlass.engine.redacting import masked
from windlass.engine.services import Services
from windlass.engine.settling import Settling
from windlass.engine.strict import install
from windlass.engine.tree import Target
from windlass.engine.watchdog import Watchdog
from windlass.policies.chain import NO_PLATFORM
from windlass.policies.platform import Platform
from windlass.stores.base import Store, open_store


def make_context(activation: Activation) -> SyncContext:
    """Give a node the context that fits it."""
    return SyncContext(activation) if activation.node.mode == "sync" else Context(activation)


class Runtime:
    """Runs definitions durably: `async with Runtime("sqlite:///runs.db") as runtime: ...`.

    Args:
        store: a URL (`memory:`, `sqlite:///file.db`) or an open store, which is then not closed.
        definitions: what this runtime knows; whatever is passed to start, run or execute is added.
        timers: drive runs that parked here again when their time has come; a worker that claims them says False.
        platform: defaults, ceilings and what all definitions share: budgets, breakers, limits, grants.
        models: of this deployment: each replaces the definition's of its name, or is one more.
        strict: refuse what tasks do outside past their ports, where that can be seen (docs/models.md).
        seams: clock, ids, dice and tasks, for tests.
    """

    def __init__(
        self, store: str | Store = "memory:", definitions: list[Definition] | None = None, *, timers: bool = True,
        platform: Platform = NO_PLATFORM, models: Sequence[Model] = (), strict: bool = False, seams: Seams | None = None
    ) -> None:  # fmt: skip
        self.store = open_store(store) if isinstance(store, str) else store
        self._owns_store = isinstance(store, str)
        self._definitions = definitions or []
        self._timers = timers
        self._declared = (platform, models_of(models, "Runtime"), strict)
        self._seams = seams or Seams()

    async def __aenter__(self) -> Self:
        """Open the store and begin to hold leases."""
        if self._declared[-1]:
            install()
        if self._owns_store:
            await self.store.open()
        owner = this_process()
        notifier = Notifier(self.store, self._seams)
        pool = Pool(self._seams)
        self.services = Services(self.store, self._seams, owner, notifier, pool, make_context, *self._declared)
        self._drives = Drives(self.services, self._definitions, timers=self._timers)
        self._settling = Settling(self._drives)
        self._control = Control(self.services, self._drives)
        self.services.nest = Nest(self._control)
        escalations.bind(self._control)
        drives = self._drives
        self.watchdog = Watchdog(self._seams.clock, drives.running, lambda: bool(drives.tasks))
        self._heartbeat = Heartbeat(self.store, self._seams, owner, self.watchdog.look)
        await self.store.renew(owner)
        self._heartbeat.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of every run; what was interrupted goes on when it is next claimed."""
        await self._drives.close()
        self._heartbeat.stop()
        self.services.notifier.close()
        await self.store.retire(self.services.owner)
        if self._owns_store:
            await self.store.close()

    async def start(self, definition: Definition, input: Any = None, id: str | None = None, **options: Any) -> str:
        """Make a run, drive it in the background, and return its id; an id that exists is attached to (D4).

        Args:
            options: tags, thread, on_busy, tenant, durability, source, before, after; see `Options`.

        Raises:
            DefinitionError: the definition is none.
            InputError, ValueNotKept, ValueTooLarge: the input, or an option, is not what it should be.
            RunExists: the id belongs to a run with another definition or input.
            ThreadBusy: a turn of the thread has not ended, and `on_busy` is "reject".
        """
        return await self._control.start(definition, input, id, masked(keywords(Options, options)))

    async def execute(
        self, definition: Definition, input: Any = None, id: str | None = None, **options: Any
    ) -> AsyncIterator[Event]:
        """Start (or attach) and yield events until the run ends, is paused or waits for people.

        Never raises for a task's failure: a failure is an event.
        """
        run = await self.start(definition, input, id, **options)
        while run:
            following, run = run, ""
            async for event in self.events(following, follow=True):
                yield event
                run = event.data["run"] if event.type == "run.continued" else run

    async def run(self, definition: Definition, input: Any = None, id: str | None = None, **options: Any) -> Result:
        """Start (or attach) and wait until the run ends, is paused or waits for people.

        Raises:
            RunFailed: the run failed.
        """
        return await self.wait(await self.start(definition, input, id, **options))

    def run_sync(self, definition: Definition, input: Any = None, id: str | None = None, **options: Any) -> Result:
        """Open the runtime, run a definition and close it again: the one door for code without a loop.

        Raises:
            LoopRunning: a loop runs already.
            RunFailed: the run failed.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._run_alone(definition, input, id, options))
        raise LoopRunning("run_sync was called in a running event loop")

    async def _run_alone(self, definition: Definition, input: Any, id: str | None, options: dict[str, Any]) -> Result:
        async with self:
            return await self.run(definition, input, id, **options)

    async def wait(self, run: str, *, timers: bool = False) -> Result:
        """Wait until a run ends, is paused or waits for people; with `timers`, also until it waits for a timer.

        Raises:
            RunUnknown: no run has this id.
            RunFailed: the run failed.
        """
        result = await self._settling.settled(run, timers=timers)
        if result.status == FAILED:
            failure = (await reads.last_failure(self.store, run) or {}).get("failure", {})
            said = f"{failure.get('kind', 'Failure')}: {failure.get('message', '')}"
            hint = f"mend it, then `windlass runs resume {run}`"
            raise RunFailed(f"run {run} failed: {said}", failure=failure, hint=hint)
        return result

    async def pick_up(self, run: str) -> None:
        """Claim a run whose definition is known, and drive it in the background: what a worker does.

        Raises:
            RunUnknown, RunOwned, DefinitionUnknown, DefinitionChanged: it cannot be claimed, or not be driven here.
        """
        await self._drives.drive(run)

    def drive_at_most(self, runs: int) -> None:
        """Let child runs beyond so many wait for a slot, here or in another process; what is started is not held."""
        self._drives.slots.most = runs

    @property
    def driving(self) -> list[str]:
        """The runs that this runtime drives at the moment."""
        return [run for run in self._drives.tasks if self._drives.is_driving(run)]

    async def calm(self, seconds: float) -> None:
        """Wait until nothing is driven here any more, at most so long: what is left then is interrupted by leaving."""
        await self._drives.calm(seconds)

    async def pause(self, run: str, *, immediate: bool = False, by: str = "") -> None:
        """Stop a run at its next boundary; with `immediate`, stop what executes (effects in flight end first)."""
        await self._control.steer(run, "pause", by, immediate=immediate)

    async def resume(self, run: str, *, edits: dict[str, Any] | None = None, by: str = "") -> None:
        """Let a paused, failed or interrupted run go on, in the background; `edits` sets channels first."""
        await self._control.resume(run, edits, by)

    async def cancel(self, run: str, *, by: str = "") -> None:
        """End a run; effects in flight come to their outcome first."""
        await self._control.steer(run, "cancel", by)

    async def rollback(self, run: str, to: Target, *, by: str = "") -> None:
        """Take a run back to a checkpoint, a savepoint or (node, visit), on a new branch; it is paused then."""
        await self._control.steer(run, "rollback", by, to=to)

    async def answer(
        self, question: str, value: Any, *, by: str = "", roles: Sequence[str] = (), tenant: str = ""
    ) -> None:
        """Answer an open question, as whom the caller says; the run goes on wherever its definition is known."""
        await answers.answer(self._control, question, value, by=by, roles=roles, tenant=tenant)

    async def signal(self, run: str, name: str, value: Any = None, *, by: str = "", id: str = "") -> bool:
        """Send a signal to a run: one `ctx.signal(name)` takes it; False if one of this `id` was sent before."""
        return await people.signal(self._control, run, name, value, by=by, id=id)

    async def edit(
        self, run: str, edits: dict[str, Any], *, by: str = "", why: str = "", overwrite: bool = False
    ) -> None:
        """Correct channels of a run, through their reducers or whole; it goes on as it was, with the new values."""
        await people.edit(self._control, run, edits, by=by, why=why, overwrite=overwrite)

    async def escalate(self, question: str, to: str | Definition, *, by: str = "", why: str = "") -> str:
        """Put an open question to somebody else, or to a run of a definition; returns to whom, or that run's id."""
        return await people.escalate(self._control, question, to, by=by, why=why)

    async def fork(
        self, run: str, *, at: Target | None = None, edits: dict[str, Any] | None = None, id: str | None = None,
        effects: str = "adopt",
    ) -> str:  # fmt: skip
        """Begin a new run from a checkpoint of another, and drive it; returns its id."""
        return await forks.fork(self._control, run, at, edits, id, effects)

    async def replay(self, run: str) -> reads.Replay:
        """Apply a run's log again and compare the state digest at every checkpoint; runs no node."""
        return await reads.replay(self.store, run, await self._blueprint(run))

    async def get(self, run: str) -> r.RunRecord:
        """Return a run's record."""
        return await reads.get(self.store, run)

    async def state(self, run: str, at: Target | None = None, *, frame: str = "") -> dict[str, Any]:
        """Return a run's channels, or those of a sub-graph `frame` of it, at its head or after a checkpoint."""
        return await reads.state(self.store, run, at, await self._blueprint(run), frame)

    async def history(self, run: str) -> list[reads.Checkpoint]:
        """Return every checkpoint of a run."""
        return await reads.history(self.store, run)

    async def diff(self, run: str, a: Target, b: Target) -> dict[str, tuple[Any, Any]]:
        """Return the channels that differ between two checkpoints: name → (at a, at b)."""
        return reads.differences(await self.state(run, a), await self.state(run, b))

    async def events(
        self, run: str, *, after: int = 0, follow: bool = False, children: bool = False
    ) -> AsyncIterator[Event]:
        """Yield a run's events after number `after`; with `follow`, until the run settles.

        Args:
            children: those of its child runs as well, each with its `path`, and of theirs.

        Raises:
            RunUnknown: no run has this id.
            StoreError: this process drives the run, and its store failed.
        """
        if children:
            read = partial(self.events, follow=follow)
            async for event in family.stream(read, self._seams, run, after=after, at_once=follow):
                yield event
            return
        log = lambda: (loop := self._drives.loops.get(run)) and loop.items  # noqa: E731
        settled = self._settling.is_told if follow else None
        async for event in reads.events(self.store, self.services.notifier, run, after, log, settled):
            yield event

    async def audit(self, run: str) -> list[Account]:
        """Return what each attempt used of models and tools, and what came of it: prompts, answers, cost."""
        from windlass.engine import audits

        return await audits.read(self.store, run)

    async def runs(self, **filters: Any) -> list[r.RunRecord]:
        """Return runs, newest first; filters are those of `queries.Runs`."""
        return await self.store.find(keywords(queries.Runs, filters))

    async def thread(self, thread: str, **filters: Any) -> list[r.RunRecord]:
        """Return the turns of a thread, the first first; filters: `definition`, `tenant`, and `limit` for the last."""
        return await reads.thread(self.store, thread, **filters)

    async def questions(self, run: str | None = None) -> list[r.Question]:
        """Return open questions, oldest first: all, or those of a run and of the children that it waits for.

        Raises:
            RunUnknown: no run has this id.
        """
        if run is None:
            return await self.store.find(queries.Questions())
        return await family.questions(self.store, run)

    async def dead_letters(self, **filters: Any) -> list[DeadLetter]:
        """Return dead letters, newest first; filters are those of `redrive.letters`."""
        return await redrive.letters(self.store, **filters)

    def redrive(self, *ids: str, **options: Any) -> AsyncIterator[redrive.Redriven]:
        """Let the runs of dead letters go on, and say of each what came of it; options as of `redrive.again`."""
        return redrive.again(self._control, ids, **options)

    async def drop(self, *ids: str, by: str = "", note: str = "") -> None:
        """Put dead letters aside for good."""
        await redrive.drop(self.store, ids, by, note)

    async def hand_on(self, since: float | None = None, limit: int = 100) -> list[str]:
        """Start what is bound to dead letters and was not started, as a worker does; returns the runs."""
        return await escalations.look(self._control, since, limit)

    async def _blueprint(self, run: str) -> Any:
        return self._drives.blueprints.get((await reads.get(self.store, run)).definition)
