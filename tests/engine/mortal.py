"""Processes in simulated time, one after the other or together, on one store; any may die at a call of its store.

What dies gets no turn any more and nothing of it is unwound, as after SIGKILL. What the store had applied stays.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, NamedTuple

import msgspec

from windlass import Context as TaskContext
from windlass import Pipeline, Platform, RunFailed, Runtime, task
from windlass.core import queries
from windlass.core.letters import DeadLetter
from windlass.core.tallies import BreakerState, BudgetState, LimitState
from windlass.stores.memory import MemoryStore
from windlass.stores.memory_world import World
from windlass.testing.sim_process import bury
from windlass.testing.simloop import Callback, SimulatedLoop, simulated_seams

HERE: ContextVar[int] = ContextVar("here", default=0)
STATES: dict[str, Any] = {"budget": BudgetState, "breaker": BreakerState, "limit": LimitState}


class Death(NamedTuple):
    """When a process dies: at its n-th call of a verb of its store, before that is applied or after."""

    verb: str
    number: int = 1
    after: bool = False


KILLS = [None, *(Death(verb, number, after) for verb in ("commit", "adjust") for number in (1, 2, 3, 4)
                 for after in (False, True))]  # fmt: skip


class MortalLoop(SimulatedLoop):
    """Gives no turn to what is dead."""

    def __init__(self, choose: Callable[[int], int]) -> None:
        super().__init__(choose)
        self.dead: set[int] = set()
        self.tasks: list[asyncio.Task[Any]] = []

    def may_go(self, callback: Callback) -> bool:
        return callback.context.get(HERE, 0) not in self.dead

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        self.tasks.append(super().create_task(coro, name=name, context=context))
        return self.tasks[-1]


class MortalStore:
    """A process's way to the store; counts what is asked, and ends its process when its time has come."""

    def __init__(self, inner: MemoryStore, death: Death | None, die: Callable[[], Awaitable[None]]) -> None:
        self.inner, self.death, self.die = inner, death, die
        self.asked: dict[str, int] = {}
        self.owner: Any = None

    async def renew(self, owner: Any) -> None:
        self.owner = owner
        await self.inner.renew(owner)

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.inner, name)
        if name not in ("create", "commit", "adjust", "claim", "release", "find", "post", "load"):
            return real

        async def call(*arguments: Any, **named: Any) -> Any:
            self.asked[name] = self.asked.get(name, 0) + 1
            is_due = self.death is not None and (name, self.asked[name]) == self.death[:2]
            if is_due and self.death is not None and not self.death.after:
                await self.die()
            result = await real(*arguments, **named)
            if is_due:
                await self.die()
            return result

        return call


class House:
    """Where the processes of a test live."""

    def __init__(self, seed: int = 0) -> None:
        self.loop = MortalLoop(Random(seed).randrange)
        self.seams = simulated_seams(self.loop, seed)
        self.clock = self.loop.clock
        self.world = World()
        self.store = MemoryStore("memory:house", clock=self.seams.clock, world=self.world)
        self.lives = 0
        self.asked: dict[str, int] = {}  # of the last process

    async def live(
        self, work: Callable[[Runtime], Awaitable[Any]], *definitions: Any, platform: Platform | None = None,
        death: Death | None = None,
    ) -> Any:  # fmt: skip
        """Let a process do its work; returns None if it died of it."""
        self.lives += 1
        here, died = self.lives, self.loop.create_future()

        async def die() -> None:
            self.loop.dead.add(here)
            owner = self.world.leases.pop(store.owner.id)[0]
            self.world.leases[owner.id] = (owner, 0.0)  # whoever comes next finds it dead at once
            died.set_result(None)
            await self.loop.create_future()

        inner = MemoryStore("memory:house", clock=self.seams.clock, world=self.world)
        await inner.open()
        store: Any = MortalStore(inner, death, die)
        self.asked = store.asked

        async def process() -> Any:
            options: dict[str, Any] = {} if platform is None else {"platform": platform}
            async with Runtime(store, list(definitions), seams=self.seams, **options) as runtime:
                return await work(runtime)

        context = copy_context()
        context.run(HERE.set, here)
        task = self.loop.create_task(process(), context=context)
        await asyncio.wait([task, died], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None

    async def tally(self, key: str) -> Any:
        """Return the state of a tally, or that of one which was never touched."""
        found = await self.store.find(queries.Tallies(keys=(key,)))
        kind = STATES[key.partition("|")[0]]
        return msgspec.json.decode(found[0].body, type=kind) if found else kind()

    async def letters(self, **filters: Any) -> list[DeadLetter]:
        """Return dead letters."""
        return await self.store.find(queries.Letters(**filters))


def simulate(main: Callable[[House], Awaitable[None]], seed: int = 0) -> None:
    """Let `main` go on in a house of its own."""
    house = House(seed)

    async def whole() -> None:
        await house.store.open()
        try:
            await main(house)
        finally:  # what is left of the dead, before the garbage collector finds it
            left = [task for task in house.loop.tasks if task is not asyncio.current_task()]
            bury(left, copy_context())

    house.loop.run(whole())


async def told(house: House, kind: str, run: str = "r") -> list[dict[str, Any]]:
    """Return the details of a run's events of a kind."""
    async with Runtime(house.store, seams=house.seams) as runtime:
        return [event.data async for event in runtime.events(run) if event.type == kind]


async def end(runtime: Runtime, run: str) -> Any:
    """Wait for a run's end: its result, or its failure."""
    try:
        return await runtime.wait(run)
    except RunFailed as failed:
        return failed.failure


def begin(definition: Any, given: Any, run: str = "r", **options: Any) -> Callable[[Runtime], Awaitable[Any]]:
    """Make the work of a process that starts a run and waits for its end."""

    async def work(runtime: Runtime) -> Any:
        return await end(runtime, await runtime.start(definition, given, run, **options))

    return work


def go_on(run: str = "r") -> Callable[[Runtime], Awaitable[Any]]:
    """Make the work of a process that takes a run over and waits for its end."""

    async def work(runtime: Runtime) -> Any:
        await runtime.pick_up(run)
        return await end(runtime, run)

    return work


async def whole(house: House, definition: Any, death: Death | None, **options: Any) -> Any:
    """Run a definition to its end in a process; another goes on if that one dies."""
    found = await house.live(begin(definition, 1), death=death, **options)
    return found if found is not None else await house.live(go_on(), definition, **options)


def lasting(seconds: float, signs: int = 1, **options: Any) -> Pipeline:
    """Make a task that takes so long, and gives so many signs of life meanwhile."""

    @task(**options)
    async def work(n: int, ctx: TaskContext) -> int:
        for place in range(signs):
            await asyncio.sleep(seconds / signs)
            await ctx.call(f"sign {place}", int)
        return n

    return Pipeline("p", [work])


def flaky(times: int, error: Any = ConnectionError, **options: Any) -> tuple[Pipeline, list[float]]:
    """Make a task that fails so often, and a list of when it was tried."""
    at: list[float] = []

    @task(**options)
    async def work(n: int) -> int:
        at.append(asyncio.get_running_loop().time())
        if len(at) <= times:
            raise error("down")
        return n

    return Pipeline("p", [work]), at
