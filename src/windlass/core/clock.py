"""The seams to the outside: time, ids, dice and tasks come in as arguments, so that tests and simulations own them.

This is the only file of `core` and `engine` that may read a clock, draw a random number or start a task.
"""

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Signal = threading.Event  # for a thread that waits and is told to stop
this_thread = threading.get_ident
LOOK_SECONDS = 60.0  # the time of day may jump: whoever waits for a time that is far looks at it so often


class Clock(Protocol):
    """Tell the time and wait for it."""

    def now(self) -> float:
        """Return seconds since the Unix epoch; may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the loop."""
        ...


class SystemClock:
    """Take the time from the operating system."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)


def random_id() -> str:
    """Draw 64 random bits as 16 hex digits: a collision among a million runs has odds below 1 in 10 million."""
    return os.urandom(8).hex()


def start_task(work: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
    """Start `work` on the running loop, and hold on to it while it runs: the loop itself does not."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _RUNNING.add(task)
    task.add_done_callback(_RUNNING.discard)
    return task


_RUNNING: set["asyncio.Task[Any]"] = set()


def start_thread(work: Callable[..., Any], *arguments: Any) -> None:
    """Start a daemon thread: the process may end while it runs."""
    threading.Thread(target=work, args=arguments, daemon=True).start()


@dataclass(frozen=True, slots=True)
class Seams:
    """Everything that the engine takes from outside besides its store.

    Args:
        clock: time, for due dates, leases and timeouts.
        ids: makes a name that never repeats.
        dice: draws a number in 0..1, for jitter.
        spawn: starts a task.
        thread: starts a daemon thread, for sync tasks and the heartbeat.
    """

    clock: Clock = SystemClock()
    ids: Callable[[], str] = random_id
    dice: Callable[[], float] = random.random
    spawn: Callable[..., "asyncio.Task[Any]"] = start_task
    thread: Callable[..., None] = start_thread

    def background(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Start a task that nobody waits for; what it raises has been told elsewhere by then."""
        self.spawn(work, name).add_done_callback(_look_at)


def _look_at(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
