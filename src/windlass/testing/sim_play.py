"""One simulated schedule: processes, the people and programs around them, and what must be true in the end.

Clients start runs, follow them, answer and steer, each by asking some process; when it dies or its store fails, they
ask another one, as a person would. They are not simulated processes: they never die, so what they were told counts as
acknowledged.
"""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from typing import Any, TypeVar

from msgspec import Struct, json

from windlass.core import records as r
from windlass.core.blueprint import Definition
from windlass.core.errors import AlreadyAnswered, RunFailed, RunOwned, RunState, StoreError, WindlassError
from windlass.core.owner import this_process
from windlass.core.states import COMPLETED, ENDED, FAILED, PAUSED, WAITING, Status
from windlass.engine import reads
from windlass.engine import runtime as engine
from windlass.engine.activation import Activation
from windlass.engine.context import Context, SyncContext
from windlass.engine.functions import run_function
from windlass.engine.outputs import output
from windlass.engine.runtime import Runtime
from windlass.engine.services import Known
from windlass.policies.chain import NO_PLATFORM
from windlass.policies.platform import Platform
from windlass.stores.memory import MemoryStore
from windlass.stores.memory_world import World
from windlass.testing.sim_process import LONG_STALL, PROCESS, RESTARTS, Gone, Process, ProcessLoop, bury
from windlass.testing.sim_store import SimStore
from windlass.testing.sim_tape import Tape
from windlass.testing.sim_watch import Watch
from windlass.testing.simloop import Stuck

T = TypeVar("T")
MOST_TURNS = 10_000
LONGEST = 1800.0  # seconds of simulated time after which a run that has not ended is stuck
LONGEST_TURN = 2.0  # seconds of processor time for a whole schedule; most take a few milliseconds
AGAIN = 2.0  # seconds between two tries of a client
OWNERS = count(1)
PATIENCE = 6.0  # seconds that a client waits for one process


class Spinning(BaseException):
    """Raised in what does not give the loop a turn any more."""


@contextmanager
def limited(told: Callable[[], None]) -> Iterator[None]:
    """Interrupt what takes more processor time than a schedule can; only the main thread can be."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        told()
        raise Spinning

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_TURN, LONGEST_TURN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def hosted() -> Iterator[None]:
    """Let simulated processes be owners of their own, which the system is not asked about."""
    place: Any = engine
    before, place.this_process = place.this_process, owner_here
    try:
        yield
    finally:
        place.this_process = before


def owner_here() -> r.Owner:
    """Describe the caller as an owner, by another id each time, as `this_process` does."""
    process = PROCESS.get()
    if process is None:
        return this_process()
    number = next(OWNERS)
    return r.Owner(f"{process.name}-{number}", "simulated", "", number, "")


class Outcome(Struct):
    """What one schedule came to: how each run ended, what was reached, what was broken, and its tape."""

    runs: dict[str, tuple[str, Any]]
    reached: dict[str, int]
    trouble: list[str]
    tape: list[int]
    turns: int
    faults: int


class Observed:
    """A function of a task, called as the tape says.

    It equals every other one of the same function: what the engine keeps by function is found again, and does not hold
    on to a thousand simulations.
    """

    def __init__(
        self, fn: Callable[..., Any], process: Process, what: str,
        work: Callable[[tuple[Any, ...], dict[str, Any]], Awaitable[Any]], begun: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.fn = fn
        self._begun = begun
        self._process = process
        self._what = what
        self._work = work
        self.__annotations__ = {"return": getattr(fn, "__annotations__", {}).get("return", Any)}

    async def __call__(self, *given: Any, **named: Any) -> Any:
        """Call it."""
        self._begun()
        return await self._process.touch(self._what, lambda: self._work(given, named), ConnectionError)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Observed) and self.fn == other.fn

    def __hash__(self) -> int:
        return hash(self.fn)


class SimContext(Context):
    """The context of a task in a simulation: effects and calls meet the tape's faults, and the watch sees them."""

    async def effect(self, name: str, fn: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make `fn` happen once; see `Context.effect`."""
        activation, watch = self._activation, here().watch
        key = f"{name}|{options.get('key', '')}"
        process = PROCESS.get()
        if process is None:
            return await super().effect(name, fn, *arguments, **options)

        async def work(given: tuple[Any, ...], named: dict[str, Any]) -> Any:
            call = watch.calling(process, activation, key)
            value = await run_function(activation.services.pool, fn, given, named)
            watch.happened(call, activation, key, value)
            return value

        return await super().effect(name, Observed(fn, process, "effect", work), *arguments, **options)

    async def call(self, name: str, fn: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call `fn` and keep what it returns; see `Context.call`."""
        activation, process, watch = self._activation, PROCESS.get(), here().watch
        if process is None:
            return await super().call(name, fn, *arguments, **options)

        def work(given: tuple[Any, ...], named: dict[str, Any]) -> Awaitable[Any]:
            return run_function(activation.services.pool, fn, given, named)

        begun = partial(watch.called, activation, options.get("cost"))
        return await super().call(name, Observed(fn, process, "call", work, begun), *arguments, **options)


def make_context(activation: Activation) -> SyncContext:
    """Give a node the context that fits it."""
    return SyncContext(activation) if activation.node.mode == "sync" else SimContext(activation)


SIMULATION: ContextVar["Simulation"] = ContextVar("simulation")


def here() -> "Simulation":
    """Return the simulation around the caller."""
    return SIMULATION.get()


class Simulation:
    """Processes on one loop, with one tape, around one store.

    Args:
        definitions: what every process knows.
        script: what clients do; the schedule ends when it has ended.
        names: of the processes.
        platform: what all of them have declared for every run.
        known: what was worked out of the definitions under this platform.
    """

    def __init__(
        self, tape: Tape, definitions: list[Definition], script: Callable[["Simulation"], Awaitable[None]],
        names: tuple[str, ...] = ("one", "two"), platform: Platform = NO_PLATFORM, known: Known | None = None,
    ) -> None:  # fmt: skip
        self.platform = platform
        self.known = known or Known()
        self.tape = tape
        self.definitions = definitions
        self.script = script
        self.names = names
        self.loop = ProcessLoop(tape.order, MOST_TURNS)
        self.watch = Watch(self.loop.clock.now)
        self.world = World()
        self.fleet: list[SimStore] = []
        self.processes: dict[str, Process] = {}
        self.graves: list[Process] = []
        self.numbers = count(1)
        self.outside: dict[str, Any] = {}  # what scenes keep outside the store
        self.runs: dict[str, tuple[str, Any]] = {}
        self.plain = MemoryStore("memory:simulated", world=self.world)  # a look that meets no fault

    def run(self) -> Outcome:
        """Go through the schedule, and say what it came to."""
        try:
            with limited(self._spins), hosted():
                self.loop.run(self._main())
        except Spinning:
            self._spins()
        except Stuck as stuck:
            self.watch.blame(f"stuck: {stuck}")
        except TimeoutError:
            told = {run: story.status.value for run, story in self.watch.stories.items()}
            self.watch.blame(f"stuck: after {LONGEST:,.0f} s the runs are {told}")
        finally:
            self._bury()
        for failure in self.loop.failures:
            self.watch.blame(f"nobody handled {failure.get('exception') or failure.get('message')!r}")
        faults = self.tape.taken[0] - self.tape.budget
        return Outcome(
            self.runs, dict(self.watch.reached), self.watch.trouble, self.tape.taken, self.loop.turns, faults
        )

    def _spins(self) -> None:
        self.watch.blame("stuck: something spins without giving the loop a turn")
        self.loop.most_turns = 0

    async def _main(self) -> None:
        token = SIMULATION.set(self)
        try:
            await self.plain.open()
            for name in self.names:
                await self._begin(name)
            async with asyncio.timeout(LONGEST):
                await self.script(self)
            for run, story in self.watch.stories.items():
                self.watch.end(run)
                await self._look_at(run, story.status)
        finally:
            SIMULATION.reset(token)

    async def _begin(self, name: str) -> None:
        process = Process(name, self.loop, self.tape, self.watch.reach, self._died, self.numbers)
        store = SimStore(process, self.world, self.watch, self.fleet)
        await store.open()
        runtime = Runtime(
            store, list(self.definitions), timers=bool(len(name) % 2), platform=self.platform, seams=process.seams
        )
        self.processes[name] = process
        _ = process.spawn(self._live(process, runtime))

    async def _live(self, process: Process, runtime: Runtime) -> None:
        while True:
            try:
                await runtime.__aenter__()
            except StoreError:
                await process.clock.sleep(AGAIN)
            else:
                break
        runtime.services.context, runtime.services.known = make_context, self.known
        await process.live(runtime, self.definitions)

    def _died(self, process: Process) -> None:
        """Let another process of the name come up after a while."""
        self.watch.died(process)
        self.graves.append(process)
        found_dead = bool(self.tape.pick(2))
        for store in [store for store in self.fleet if store.process is process]:
            self.fleet.remove(store)
            if found_dead:
                store.bury()
        after = RESTARTS[self.tape.pick(len(RESTARTS))]
        begin = lambda: asyncio.ensure_future(self._begin(process.name), loop=self.loop)  # noqa: E731
        process.around.run(self.loop.call_later, after, begin)

    def _bury(self) -> None:
        processes = [*self.graves, *self.processes.values()]
        for process in processes:
            process.bury()
        bury(self.loop.tasks, copy_context())
        for process in processes:
            process.forget()
        self.loop.forget()
        self.fleet.clear()

    async def _look_at(self, run: str, status: Status) -> None:
        """Keep how a run has ended, and read its log as it stands."""
        story, kept = self.watch.stories[run], self.world.runs[run]
        rows = [(row.first, row.last, row.digest) for row in kept.rows]
        if rows != story.rows:
            self.watch.blame(f"{run}: the log is not what was written")
        blueprint = next((d.compile() for d in self.definitions if d.compile().name == kept.record.definition), None)
        value, is_whole = None, False
        if self.tape.budget != self.tape.taken[0]:
            again = await reads.replay(self.plain, run, blueprint)
            if again.differing:
                self.watch.blame(f"{run}: a replay differs at {again.differing}")
            is_whole = not kept.manifests  # a load goes through the same rows then
            value = output(again.state, blueprint) if kept.head.status is COMPLETED else None
        if not is_whole:
            value = (await reads.result(self.plain, run, blueprint)).output
        self.runs[run] = (status.value, value)

    # What clients do.

    async def ask(
        self, work: Callable[[Runtime], Coroutine[Any, Any, T]], first: str = "", patience: float = PATIENCE
    ) -> T:
        """Let some process do something, the first of the name or any; another one when it dies, fails or is silent.

        Raises:
            WindlassError: what the process said, unless it is about its store.
        """
        names = [first] * (first in self.names) + [name for name in self.names if name != first]
        for turn in count():
            process = self.processes[names[turn % len(names)]]
            if process.runtime is not None and process.state != "dead":
                try:
                    async with asyncio.timeout(patience if process.state == "live" else AGAIN):
                        return await process.ask(work(process.runtime))
                except (Gone, TimeoutError, StoreError, RunOwned):
                    self.watch.reach("client asked again")
            await asyncio.sleep(AGAIN if turn else 0.1)
        raise AssertionError

    async def start(self, definition: Definition, input: Any, run: str = "r") -> str:
        """Start a run until it is acknowledged."""
        begun: str = await self.ask(lambda runtime: runtime.start(definition, input, run), self.names[0])
        if run not in self.world.runs:
            self.watch.blame(f"{run} was acknowledged, and is not in the store")
        return begun

    async def written(self, rows: int, run: str = "r") -> None:
        """Wait until so many rows of a run were written, it has ended, or a while has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONG_STALL):
                await self.until(lambda story: len(story.rows) >= rows or story.status in ENDED, run)

    async def until(self, is_so: Callable[[Any], bool], run: str = "r") -> None:
        """Wait until something is so of what the watch knows of a run."""
        news = asyncio.Event()
        hear = lambda of: news.set() if of == run else None  # noqa: E731
        self.watch.heard.append(hear)
        try:
            while run not in self.watch.stories or not is_so(self.watch.stories[run]):
                news.clear()
                await news.wait()
        finally:
            self.watch.heard.remove(hear)

    async def finish(self, run: str = "r", *, answers: Callable[[r.Question], Any] | None = None,
                     ends: frozenset[Status] = frozenset({*ENDED, PAUSED}), mend: bool = True) -> None:  # fmt: skip
        """See a run to its end: answer what it asks, and let it go on when it has failed.

        Args:
            answers: what to say to a question that is not about a doubt; by default they stay open.
            mend: resume it when it has failed: what failed it were faults.
        """
        while True:
            await self.until(lambda story: story.status in ends or story.status is WAITING, run)
            status = self.watch.stories[run].status
            if status is FAILED and mend:
                await self.said(lambda runtime: runtime.resume(run))
            elif status in ends or not await self._reply(run, answers):
                return
            await asyncio.sleep(AGAIN)

    async def _reply(self, run: str, answers: Callable[[r.Question], Any] | None) -> bool:
        """Answer the open questions of a run; False when nobody has anything to say and no timer is left."""
        found = await self.ask(lambda runtime: runtime.questions(run))
        said = False
        for question in found:
            value: Any = self.watch.verdict(question)
            if value is None and answers is not None:
                value = answers(question)
            if value is not None:
                said = True
                await self.said(lambda runtime, q=question.id, v=value: runtime.answer(q, v))  # type: ignore[misc]
        story = self.watch.stories[run]
        head = self.world.runs[run].head
        return said or story.status is not WAITING or head.due_at is not None or not found

    async def said(self, work: Callable[[Runtime], Coroutine[Any, Any, Any]], first: str = "") -> str:
        """Let some process do something; returns what kind of error it met, or nothing."""
        try:
            await self.ask(work, first)
        except (WindlassError, AlreadyAnswered, RunState, RunFailed) as error:
            return type(error).__name__
        return ""

    async def follow(self, run: str = "r") -> list[int]:
        """Follow a run to its end, from process to process; check that every event is told once, in order."""
        seen: list[int] = []
        turn = [0]
        while True:
            try:
                await self.ask(lambda runtime: self._follow(runtime, run, seen, turn), patience=LONGEST)
            except WindlassError:
                self.watch.reach("follower asked again")
            await asyncio.sleep(AGAIN)
            story = self.watch.stories.get(run)
            if story is not None and story.status is COMPLETED and len(seen) == story.seq:
                return seen

    async def _follow(self, runtime: Runtime, run: str, seen: list[int], turn: list[int]) -> None:
        turn[0] += 1
        mine = turn[0]
        async for event in runtime.events(run, after=seen[-1] if seen else 0, follow=True):
            if turn[0] != mine:
                return  # the client has turned to another process
            if event.seq > self.watch.stories[run].seq:
                self.watch.blame(f"{run}: event {event.seq} was told before it was written")
            if event.seq:
                if event.seq != (seen[-1] if seen else 0) + 1:
                    self.watch.blame(f"{run}: event {event.seq} was told after {seen[-1:]}")
                seen.append(event.seq)


Script = Callable[[Simulation], Awaitable[None]]


@dataclass(frozen=True)
class Scene:
    """Something to simulate.

    Args:
        script: what clients do.
        check: says what is wrong with how it has ended; by default its output must be that of an unfaulted schedule.
    """

    name: str
    definitions: list[Definition]
    script: Script
    check: Callable[[Simulation, Outcome], list[str]] | None = None
    names: tuple[str, ...] = ("one", "two")
    platform: Platform = NO_PLATFORM
    known: Known = field(default_factory=Known, init=False, compare=False, repr=False)

    def simulate(self, tape: Tape) -> Simulation:
        """Set one schedule up."""
        return Simulation(tape, self.definitions, self.script, self.names, self.platform, self.known)

    def play(self, tape: Tape) -> Outcome:
        """Go through one schedule."""
        simulation = self.simulate(tape)
        outcome = simulation.run()
        if not outcome.trouble:
            outcome.trouble += self._wrong(simulation, outcome)
        return outcome

    def _wrong(self, simulation: Simulation, outcome: Outcome) -> list[str]:
        if self.check is not None:
            return self.check(simulation, outcome)
        ends = whole(self)
        return [
            f"{run} ended {outcome.runs.get(run)}, and {end} without a fault"
            for run, end in ends.items() if plain(outcome.runs.get(run)) != plain(end)
        ]  # fmt: skip

    def __hash__(self) -> int:
        return hash(self.name)


@cache
def whole(scene: Scene) -> dict[str, tuple[str, Any]]:
    """Return how the runs of a scene end without a fault."""
    return scene.simulate(Tape()).run().runs


def plain(value: Any) -> Any:
    """Show a value so that two can be compared and stored."""
    return json.decode(json.encode(value))
