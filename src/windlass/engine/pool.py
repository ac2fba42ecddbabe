"""Threads for sync tasks: few, daemonic, and never waited for at exit (D22)."""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from windlass.core.clock import Seams

MOST_THREADS = 32
MOST_ABANDONED = 256  # threads that hang without holding a place; one more keeps its place until it ends


@dataclass(slots=True, eq=False)
class Call:
    """A function to be called on a thread, and who waits for it."""

    future: "asyncio.Future[Any]"
    fn: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    is_running: bool = False
    is_abandoned: bool = False


class Pool:
    """Run plain functions on at most MOST_THREADS threads; what is above that queues.

    A cancelled call abandons its thread: it cannot be stopped, its result is dropped, and it counts in `abandoned`
    until it ends. Its place is given to another, so that calls that hang do not hold up all others.
    """

    def __init__(self, seams: Seams) -> None:
        self.seams = seams
        self.busy = 0
        self.abandoned = 0
        self._queue: deque[Call] = deque()

    async def run(self, fn: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Return what `fn` returns, or raise what it raises; context variables are copied."""
        loop = asyncio.get_running_loop()
        call = Call(loop.create_future(), fn, arguments, named)
        self._queue.append(call)
        self._start(loop)
        try:
            return await call.future
        finally:
            if call.is_running and self.abandoned < MOST_ABANDONED:
                call.is_abandoned = True
                self.abandoned += 1
                self.busy -= 1
                self._start(loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._queue and self.busy < MOST_THREADS:
            call = self._queue.popleft()
            if not call.future.done():
                call.is_running = True
                self.busy += 1
                self.seams.thread(self._work, loop, call)

    def _work(self, loop: asyncio.AbstractEventLoop, call: "Call") -> None:
        try:
            result, error = call.context.run(call.fn, *call.arguments, **call.named), None
        except BaseException as raised:  # noqa: BLE001 -- handed to the waiter on the loop
            result, error = None, raised
        try:
            loop.call_soon_threadsafe(self._finish, loop, call, result, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _finish(self, loop: asyncio.AbstractEventLoop, call: "Call", result: Any, error: BaseException | None) -> None:
        call.is_running = False
        if call.is_abandoned:
            self.abandoned -= 1
        else:
            self.busy -= 1
        if call.future.cancelled():
            pass  # nobody waits any more
        elif isinstance(error, StopIteration):
            call.future.set_exception(RuntimeError(f"the function raised {error!r}"))  # a Future cannot carry it
        elif error is not None:
            call.future.set_exception(error)
        else:
            call.future.set_result(result)
        self._start(loop)
