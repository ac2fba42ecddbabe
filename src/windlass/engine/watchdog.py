"""The watchdog: notices, from the heartbeat's thread, that the event loop has not turned for a while, and says why.

A node that computes or sleeps without awaiting holds up everything else that its process drives. Now and then the
watchdog puts a callback on the loop; when it has not run for BLOCKED_SECONDS, what the loop's thread is doing at that
moment is the culprit. The loop itself pays one empty callback a tick, and nothing while no run is driven. Native code
that does not let go of the interpreter is told of when it does.
"""

import asyncio
import sys
import traceback
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from windlass.core.clock import Clock, this_thread
from windlass.core.logs import logger
from windlass.engine.activation import Activation

BLOCKED_SECONDS = 0.25  # that the loop may go without a turn (FAULTS F28)
MOST_FRAMES = 8
IDLE = ("selectors", "asyncio")  # a loop whose innermost frame is in one of these is about to turn

LOG = logger("windlass.watchdog")


class Watchdog:
    """Watches one loop. Made on its thread; `look` is called on another.

    Args:
        running: returns the attempts under way in this process.
        is_busy: says whether any run is driven; only then the loop is watched.
    """

    def __init__(self, clock: Clock, running: Callable[[], Iterable[Activation]], is_busy: Callable[[], bool]) -> None:
        self.clock = clock
        self.running = running
        self.is_busy = is_busy
        self.blocks = 0  # how often the loop was found blocked
        self._loop = asyncio.get_running_loop()
        self._thread = this_thread()
        self._asked_at: float | None = None  # when the loop was asked for a turn that it has not made yet
        self._told = False

    def look(self) -> None:
        """Ask the loop for a turn; tell, once, if it has not made the last one for too long."""
        asked_at, now = self._asked_at, self.clock.monotonic()
        if asked_at is None:
            if self.is_busy():
                self._asked_at, self._told = now, False
                self._loop.call_soon_threadsafe(self._turned)
        elif now - asked_at >= BLOCKED_SECONDS and not self._told:
            frames = _frames(sys._current_frames().get(self._thread))  # noqa: SLF001 -- documented, for this purpose
            if frames and frames[-1].f_globals.get("__name__", "").partition(".")[0] not in IDLE:
                self._told = True
                self._tell(now - asked_at, frames)

    def _turned(self) -> None:
        self._asked_at = None

    def _tell(self, seconds: float, frames: list[FrameType]) -> None:
        """Log at once, for the loop may be stuck for ever; followers are told at the loop's next turn."""
        code = {frame.f_code for frame in frames}
        found = next((one for one in tuple(self.running()) if _code(one.node.fn) in code), None)
        stack = [f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" for frame in _users(frames)]
        run = found.journal.record.id if found is not None else ""
        where = f"run {run}, {found.address}," if found is not None else "something"
        said = "%s has blocked the event loop for %.2f s; a plain def node runs in a thread. Stack:\n%s"
        extra = {"run": run, "node": found.node.id if found else "", "seconds": seconds, "stack": stack}
        LOG.warning(said, where, seconds, "\n".join(f"  {line}" for line in stack), extra=extra)
        if found is not None:
            self._loop.call_soon_threadsafe(_show, found, round(seconds, 3), stack)
        self.blocks += 1  # last: whoever sees it finds the rest done


def _show(activation: Activation, seconds: float, stack: list[str]) -> None:
    activation.streams.tell("activation.blocking", activation, seconds=seconds, stack=stack)


def _frames(innermost: FrameType | None) -> list[FrameType]:
    """Return a thread's frames, the outermost first."""
    return [frame for frame, _ in traceback.walk_stack(innermost)][::-1] if innermost is not None else []


def _users(frames: list[FrameType]) -> list[FrameType]:
    """Leave out what led to the user's code: everything up to the engine's last frame before it."""
    inner = [place for place, frame in enumerate(frames) if _is_ours(frame)]
    after = frames[inner[-1] + 1 :] if inner else frames
    return (after or frames)[-MOST_FRAMES:]


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("windlass.engine.")


def _code(fn: Callable[..., Any]) -> Any:
    """Return the code of a node's function, or of the method that it is."""
    return getattr(getattr(fn, "__func__", fn), "__code__", None)
