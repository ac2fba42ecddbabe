"""Threads for sync tasks: few, daemonic, and never waited for at exit (D22)."""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import Any

from windlass.core.clock import Seams

MOST_THREADS = 32


class Pool:
    """Run plain functions on at most MOST_THREADS threads; what is above that queues.

    A cancelled call abandons its thread: it cannot be stopped, its result is dropped, and it counts in `abandoned`
    until it ends.
    """

    def __init__(self, seams: Seams) -> None:
        self.seams = seams
        self.busy = 0
        self.abandoned = 0
        self._queue: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()

    async def run(self, fn: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Return what `fn` returns, or raise what it raises; context variables are copied."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()
        self._queue.append((lambda: context.run(fn, *arguments, **named), future))
        self._start(loop)
        return await future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._queue and self.busy < MOST_THREADS:
            call, future = self._queue.popleft()
            if future.done():
                continue
            self.busy += 1
            self.seams.thread(self._work, loop, call, future)

    def _work(self, loop: asyncio.AbstractEventLoop, call: Callable[[], Any], future: "asyncio.Future[Any]") -> None:
        try:
            result, error = call(), None
        except BaseException as raised:  # noqa: BLE001 -- handed to the waiter on the loop
            result, error = None, raised
        try:
            loop.call_soon_threadsafe(self._finish, loop, future, result, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _finish(
        self, loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", result: Any, error: BaseException | None
    ) -> None:
        self.busy -= 1
        if future.cancelled():
            self.abandoned += 1
        elif isinstance(error, StopIteration):
            future.set_exception(RuntimeError(f"the function raised {error!r}"))  # a Future cannot carry it
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
        self._start(loop)
