"""Turns: a drive goes on in a task that can be left behind; when a node holds it for ever, another task goes on.

A lone activation runs in that task, which saves a task for each step. One that ignores its cancellation keeps it; the
drive itself waits beside, so that it can begin another, and let go of the run when the process leaves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from windlass.core.clock import Seams

LEAVE_SECONDS = 5.0  # that a node, with its effects in flight, gets when the process leaves


class Turns:
    """Takes one turn after the other.

    Args:
        name: of the tasks.
        turn: takes the next one; False: it was the last. It may put another in its place.
        is_held: says whether a node runs in the task.
    """

    def __init__(
        self, seams: Seams, name: str, turn: Callable[[], Awaitable[bool]], is_held: Callable[[], bool]
    ) -> None:
        self.seams = seams
        self.name = name
        self.turn = turn
        self.is_held = is_held
        self.task: asyncio.Task[Any] | None = None  # the one that takes them now
        self._left: asyncio.Future[None]

    async def take(self) -> None:
        """Take all turns; what a turn raises is raised here."""
        is_over = False
        while not is_over:
            self._left = left = asyncio.get_running_loop().create_future()
            self.task = task = self.seams.spawn(self._take(), self.name)
            task.add_done_callback(partial(_let_go, left))
            try:
                await left
            except asyncio.CancelledError:  # the process leaves
                task.cancel()
                await asyncio.wait((task,), timeout=LEAVE_SECONDS if self.is_held() else None)
                raise
            is_over = task.done()
            if is_over:
                task.result()

    async def _take(self) -> None:
        me = asyncio.current_task()
        while self.task is me and await self.turn():
            pass

    def leave_behind(self) -> None:
        """Leave the task to whatever holds it; another takes the next turn."""
        self.task = None
        _let_go(self._left)


def _let_go(left: "asyncio.Future[None]", _: object = None) -> None:
    if not left.done():
        left.set_result(None)
