# ruff: noqa: SLF001 -- a loop is made of what asyncio keeps for its own loops
"""A simulated event loop: one callback at a time, in an order that the test chooses, and time that jumps.

Nothing waits for real. When no callback is ready, the clock jumps to the next timer or sleeper. The same choices give
the same run, turn by turn, so what a seed has found can be looked at again. `simulated_seams` makes a runtime live in
it:

    loop = SimulatedLoop(Random(seed).randrange)
    loop.run(main(Runtime("memory:", seams=simulated_seams(loop, seed))))
"""

import asyncio
from asyncio import events
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, TypeVar, TypeVarTuple

from msgspec import Struct

from windlass.core.clock import Seams
from windlass.engine.lease import Heartbeat
from windlass.engine.notifier import Notifier
from windlass.testing.clock import ManualClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Parent: Any = asyncio.AbstractEventLoop  # Any, because a simulation leaves out sockets, processes and signals
LAST_TURNS = 10_000  # for a simulation that is given up to close what it has open
MOST_POLLS = 100  # in a row with nothing else in between: then nothing will ever happen


class Stuck(Exception):
    """The simulation cannot come to an end, or does not."""


class Callback(Struct, eq=False):
    """What a loop is to call: a handle that costs little, as a simulation does hardly anything but make these."""

    function: Callable[..., object]
    arguments: tuple[Any, ...]
    context: Context
    due: float = 0.0  # of one that waits for its time
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Leave it where it is: it is passed over when its turn comes."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """Say whether it was cancelled."""
        return self.is_cancelled

    def when(self) -> float:
        """Return its time."""
        return self.due


class SimulatedLoop(Parent):  # type: ignore[misc]  # see Parent
    """Runs one coroutine, and everything that it starts, in simulated time.

    Args:
        choose: picks one of n ready callbacks, 0 to n - 1; by default the first, as asyncio does.
        clock: is moved on by the loop; its `monotonic` is the loop's time.
        most_turns: callbacks after which the simulation is given up.
    """

    def __init__(
        self, choose: Callable[[int], int] = lambda _: 0, *, clock: ManualClock | None = None,
        most_turns: int = 1_000_000,
    ) -> None:  # fmt: skip
        self.choose = choose
        self.clock = clock or ManualClock()
        self.time: Callable[[], float] = self.clock.monotonic  # the seconds that have passed
        self.most_turns = most_turns
        self.turns = 0
        self.is_calm = True  # every callback may go: nobody need ask `may_go`
        self.failures: list[dict[str, Any]] = []  # what nobody handled
        self._ready: list[Callback] = []  # always the same list: `_go` holds on to it
        self._timers: list[tuple[float, int, Callback]] = []
        self._order = count()
        self._polls: list[asyncio.Future[None]] = []
        self._polled = 0
        self._is_closed = False

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end, and return what it returns.

        Raises:
            Stuck: it cannot end, or has not ended after `most_turns` callbacks.
        """
        around = events._get_running_loop()
        events._set_running_loop(self)
        try:
            task: asyncio.Task[T] = self.create_task(main)
            try:
                self._go(task)
            except Stuck:
                task.cancel()  # so that it closes what it has open
                self.most_turns = self.turns + LAST_TURNS
                with suppress(Stuck):
                    self._go(task)
                raise
            return task.result()
        finally:
            events._set_running_loop(around)
            self._is_closed = True

    def _go(self, task: "asyncio.Task[Any]") -> None:
        ready, choose, done = self._ready, self.choose, task.done
        while not done():
            if not ready:
                self._jump()
            if self.turns >= self.most_turns:
                raise Stuck(f"no end after {self.turns:,} turns, at {self.time():,.3f} s")
            self.turns += 1
            number = len(ready)
            callback = ready.pop(choose(number)) if number > 1 else ready.pop()
            if not callback.is_cancelled and (self.is_calm or self.may_go(callback)):
                try:
                    callback.context.run(callback.function, *callback.arguments)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 -- as asyncio does
                    said = f"Exception in callback {callback.function!r}"
                    self.call_exception_handler({"message": said, "exception": error})

    def may_go(self, callback: Callback) -> bool:
        """Say whether a callback gets its turn now."""
        del callback
        return True

    def _jump(self) -> None:
        """Go to the next timer or sleeper; then, or if there is none, whoever polls looks."""
        while self._timers and self._timers[0][2].is_cancelled:
            heappop(self._timers)
        due = self.clock.next_due()
        if self._timers and (due is None or self._timers[0][0] < due):
            due = self._timers[0][0]
        self._polled = self._polled + 1 if due is None else 0
        if due is not None:
            self.clock.advance_to(due)
        elif not self._polls or self._polled > MOST_POLLS:
            raise Stuck(f"nothing is ready, and nothing is due after {self.time():,.3f} s")
        while self._timers and self._timers[0][0] <= self.time():
            self._ready.append(heappop(self._timers)[2])
        polls, self._polls = self._polls, []
        for poll in polls:
            if not poll.done():
                poll.set_result(None)

    async def poll(self) -> None:
        """Wait until time has moved on by itself: who only looks now and then shall not make it crawl."""
        self._polls.append(self.create_future())
        await self._polls[-1]

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> Callback:
        """Make a callback ready."""
        made = Callback(callback, args, copy_context() if context is None else context)
        self._ready.append(made)
        return made

    call_soon_threadsafe = call_soon  # there is one thread

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Callback:
        """Make a callback ready at a time."""
        made = Callback(callback, args, copy_context() if context is None else context, when)
        heappush(self._timers, (when, next(self._order), made))
        return made

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Callback:
        """Make a callback ready after a time."""
        when = self.time() + delay
        made = Callback(callback, args, copy_context() if context is None else context, when)
        heappush(self._timers, (when, next(self._order), made))
        return made

    def create_future(self) -> "asyncio.Future[Any]":
        """Make a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        """Start a task on this loop."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody handled, for the test to look at."""
        self.failures.append(context)

    get_debug = staticmethod(bool)  # says no; each future and handle asks, and this way Python is not entered for it

    def is_running(self) -> bool:
        """Say whether it runs."""
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        """Say whether `run` has ended."""
        return self._is_closed


class LoopClock:
    """A simulated loop's clock as a runtime sees it: the watch over the store polls, and moves no time."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.now = loop.clock.now
        self.monotonic = loop.clock.monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait in simulated time."""
        task = asyncio.current_task()
        is_watch = task is not None and getattr(task.get_coro(), "cr_code", None) is Notifier._poll.__code__
        await (self._loop.poll() if is_watch else self._loop.clock.sleep(seconds))


def simulated_seams(loop: SimulatedLoop, seed: int = 0) -> Seams:
    """Make the seams of a runtime that lives in a simulation: its clock, ids that count, dice by the seed.

    A thread is a callback of the loop, so a sync task takes one turn. There is no heartbeat: nothing here can die
    without its lease.
    """
    numbers = count(1)

    def thread(work: Callable[..., Any], *arguments: Any) -> None:
        if not isinstance(getattr(work, "__self__", None), Heartbeat):
            loop.call_soon(work, *arguments)

    ids = lambda: f"{next(numbers):016x}"  # noqa: E731
    return Seams(clock=LoopClock(loop), ids=ids, dice=Random(seed).random, thread=thread)  # noqa: S311 -- no secret
