# ruff: noqa: SLF001 -- a loop is made of what asyncio keeps for its own loops
"""Simulated processes: several workers on one loop, each with its clock and its lease, that can die and stand still.

A process is what runs in its context variable. One that is dead is never given another turn: its tasks are left where
they stand, nothing of them is unwound, and what it asks of its store is never answered. One that stands still gets its
turns when it wakes, as after SIGSTOP: all that it had decided before is still on its mind.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from functools import cache
from itertools import count
from random import Random
from typing import Any, TypeVar

from windlass.core.clock import Seams
from windlass.core.errors import StoreError, StoreUnavailable
from windlass.engine.lease import Heartbeat
from windlass.engine.notifier import IDLE_POLL_SECONDS, Notifier
from windlass.engine.runtime import Runtime
from windlass.testing.clock import ManualClock
from windlass.testing.sim_tape import Fault, Tape, Turn
from windlass.testing.simloop import Callback, SimulatedLoop
from windlass.worker.worker import Worker

T = TypeVar("T")
NEVER = -1  # what is done outside by who is dead
MOST_IN_TURN = 1_000  # things that a process does without giving the loop a turn: more, and it spins for ever
PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)
SHORT, LONG_STALL = 0.3, 25.0  # seconds: a slow answer; longer than a lease
RESTARTS = (0.5, 5.0, 30.0)  # seconds after a death
FIRST_REST, LONGEST_REST = 3.0, 48.0  # seconds between two looks for work, longer when nothing happens
JUMP = 40.0  # seconds that a clock jumps: more than a lease


class ProcessLoop(SimulatedLoop):
    """A simulated loop that gives no turn to what is dead, and keeps the turns of what stands still."""

    def __init__(self, choose: Callable[[int], int], most_turns: int) -> None:
        super().__init__(choose, most_turns=most_turns)
        self.tasks: list[asyncio.Task[Any]] = []  # of no process

    def may_go(self, callback: Callback) -> bool:
        """Give no turn to what is dead, and put off what stands still."""
        process = callback.context.get(PROCESS)
        if process is None or process.state == "live":
            return True
        if process.state == "stalled":
            process.held.append(callback)
        return False

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        """Start a task; it belongs to the process that starts it."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        (self.tasks if process is None else process.tasks).append(task)
        return task

    def forget(self) -> None:
        """Let go of what would have been done next."""
        self._ready.clear()
        self._timers.clear()
        self._polls.clear()
        self.clock._sleepers.clear()

    def wake(self, callbacks: list[Callback]) -> None:
        """Give the turns that were kept."""
        self._ready += callbacks


class ProcessClock:
    """A simulated clock as one process sees it: `now` may be off by what it has jumped."""

    def __init__(self, loop: ProcessLoop) -> None:
        self._loop = loop
        self._clock: ManualClock = loop.clock
        self.monotonic = loop.clock.monotonic
        self.offset = 0.0

    def now(self) -> float:
        """Return seconds since the Unix epoch, as this process believes."""
        clock = self._clock
        return clock._offset + clock._passed + self.offset

    async def sleep(self, seconds: float) -> None:
        """Wait in simulated time; the watch over the store only looks when time has moved on."""
        task = asyncio.current_task() if seconds <= IDLE_POLL_SECONDS else None
        is_watch = task is not None and getattr(task.get_coro(), "cr_code", None) is Notifier._poll.__code__
        await (self._loop.poll() if is_watch else self._clock.sleep(seconds))


def rolls(seed: int) -> Callable[[], float]:
    """Return what `Random(seed).random` would be; seeding one for each process costs more than all of its rolls."""
    kept, dice = _rolled(seed)
    place = count()

    def roll() -> float:
        at = next(place)
        if at == len(kept):
            kept.append(dice())
        return kept[at]

    return roll


@cache
def _rolled(seed: int) -> tuple[list[float], Callable[[], float]]:
    return [], Random(seed).random  # noqa: S311 -- no secret


class Gone(Exception):
    """The process that was asked died before it answered."""


class Process:
    """One simulated process: a Runtime, and the loop of a worker around it.

    Args:
        told: called with a name for each thing that is to be counted.
        died: called when it crashes, before anything else.
    """

    def __init__(
        self, name: str, loop: ProcessLoop, tape: Tape, told: Callable[[str], None], died: Callable[["Process"], None],
        numbers: "count[int]",
    ) -> None:  # fmt: skip
        self.name = name
        self.loop = loop
        self.tape = tape
        self.told = told
        self.died = died
        self.clock = ProcessClock(loop)
        self.state = "live"
        self.held: list[Callback] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.asked: list[asyncio.Future[Any]] = []
        self.beat: Callable[[], None] = lambda: None  # its heartbeat's last beat; the store sets it
        self.overtaken = False  # it has stood still, or its clock was wrong: others may have taken its runs
        self.runtime: Runtime | None = None
        self._turn = self._in_turn = 0
        self.around = copy_context()  # of the loop's own, for what has to go on when the process does not
        self.within = copy_context()
        self.within.run(PROCESS.set, self)
        self.seams = Seams(self.clock, lambda: f"{next(numbers):016x}", rolls(len(name)), self._spawn, self._thread)

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        return self.loop.create_task(work, name=name)

    def _thread(self, work: Callable[..., Any], *arguments: Any) -> None:
        if not isinstance(getattr(work, "__self__", None), Heartbeat):  # the store renews for it: `SimStore`
            self.loop.call_soon(work, *arguments)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start a task in this process, from wherever."""
        return self.within.run(self.loop.create_task, work)

    def ask(self, work: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        """Let this process do something; the future gets the result, or `Gone` when the process dies first."""
        answer: asyncio.Future[T] = self.loop.create_future()
        self.asked.append(answer)
        task = self.spawn(work)

        def ended(_: object) -> None:
            error = None if task.cancelled() else task.exception()
            if not answer.done() and not task.cancelled():
                answer.set_result(task.result()) if error is None else answer.set_exception(error)

        task.add_done_callback(ended, context=self.around)
        return answer

    async def forever(self) -> Any:
        """Never return: nobody is there any more to whom it could be returned."""
        await self.loop.create_future()

    async def touch(
        self, what: str, work: Callable[[], Awaitable[T]], refusal: Callable[[str], BaseException] = StoreUnavailable
    ) -> T:
        """Do something to the world outside the process, as the tape says: late, twice in doubt, or not at all."""
        digit = self.meet()
        return await (self.suffer(digit, what, work, refusal) if digit else work())

    def meet(self) -> int:
        """Say what happens to the next thing that the process does outside; 0: nothing."""
        turn = self.loop.turns
        self._in_turn = self._in_turn + 1 if self._turn == turn else 0
        self._turn = turn
        return NEVER if self.state == "dead" or self._in_turn > MOST_IN_TURN else self.tape.fault()

    async def suffer(
        self, digit: int, what: str, work: Callable[[], Awaitable[T]],
        refusal: Callable[[str], BaseException] = StoreUnavailable,
    ) -> T:  # fmt: skip
        """Do something that meets a fault."""
        if digit == NEVER:
            await self.forever()
        await self._before(digit, what, refusal)
        result = await work()
        await self._after(digit, what, refusal)
        return result

    async def _before(self, digit: int, what: str, refusal: Callable[[str], BaseException]) -> None:
        if digit == Fault.CRASH_BEFORE:
            self.crash()
            await self.forever()
        elif digit == Fault.STALL_BEFORE:
            self.stall()
            await asyncio.sleep(0)
        elif digit == Fault.YIELD_BEFORE:
            await asyncio.sleep(0)
        elif digit == Fault.DELAY:
            await self.clock.sleep(SHORT)
        elif digit == Fault.REFUSED:
            self.told(f"{what} refused")
            raise refusal(f"{what}: refused by the simulation")

    async def _after(self, digit: int, what: str, refusal: Callable[[str], BaseException]) -> None:
        if digit == Fault.CRASH_AFTER:
            self.crash()
            await self.forever()
        elif digit == Fault.STALL_AFTER:
            self.stall()
            await asyncio.sleep(0)
        elif digit == Fault.YIELD_AFTER:
            await asyncio.sleep(0)
        elif digit == Fault.DELAY:
            await self.clock.sleep(SHORT)
        elif digit == Fault.AMBIGUOUS:
            self.told(f"{what} ambiguous, applied")
            raise refusal(f"{what}: done, but the answer was lost")

    def crash(self) -> None:
        """Die here and now; nothing is unwound."""
        self.told("crash")
        self.beat()
        self.end()

    def end(self) -> None:
        """Be no more; whoever waits for an answer hears that."""
        self.state = "dead"
        self.loop.is_calm = False
        self.died(self)
        self.held.clear()
        for answer in self.asked:
            if not answer.done():
                answer.set_exception(Gone(self.name))

    def stall(self) -> None:
        """Stand still, longer than the lease."""
        self.told("stall")
        self.beat()
        self.state = "stalled"
        self.loop.is_calm = False
        self.overtaken = True
        self.loop.call_later(LONG_STALL, self._wake, context=self.around)

    def _wake(self) -> None:
        if self.state == "stalled":
            self.state = "live"
            held, self.held = self.held, []
            self.loop.wake(held)

    async def live(self, runtime: Runtime, definitions: list[Any]) -> None:
        """Look for work on an open runtime, until told to drain."""
        self.runtime = runtime
        worker = Worker(runtime, definitions, seams=self.seams)
        rest, version = FIRST_REST, -1
        while True:
            turn = self.tape.turn()
            if turn == Turn.DRAIN:
                self.told("drain")
                await worker.drain(1.0)
                with suppress(StoreError):
                    await runtime.__aexit__(None, None, None)
                self.end()
                await self.forever()
            self._befall(turn)
            await asyncio.sleep(0)
            try:  # noqa: SIM105 -- a `suppress` costs more than most of these looks
                await worker.tick()
            except StoreError:
                pass
            before, version = version, runtime.store.version()
            rest = FIRST_REST if version != before else min(LONGEST_REST, rest * 2)
            await self.clock.sleep(rest * (1 + self.seams.dice() / 8))

    def _befall(self, turn: int) -> None:
        if turn in (Turn.FORWARD, Turn.BACK):
            self.told("clock jumped")
            self.overtaken = True
            self.clock.offset += JUMP if turn == Turn.FORWARD else -JUMP
        elif turn == Turn.CRASH:
            self.crash()
        elif turn == Turn.STALL:
            self.stall()

    def bury(self) -> None:
        """Unwind what is left, at the end of the simulation."""
        self.state = "dead"
        bury(self.tasks, self.within)

    def forget(self) -> None:
        """Let go of everything, so that little is left to the garbage collector."""
        self.__dict__.clear()


def bury(tasks: "list[asyncio.Task[Any]]", context: Context) -> None:
    """Unwind tasks without another turn; what has failed and was not looked at yet is not told."""
    for task in tasks:  # unwinding may start others
        if not task.done():
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            work: Any = task.get_coro()
            with suppress(BaseException):
                context.run(work.close)
        elif not task.cancelled():
            task.exception()
    tasks.clear()
