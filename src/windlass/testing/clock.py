"""A clock that stands still until it is told to go on."""

import asyncio
from heapq import heappop, heappush
from itertools import count

START = 1_750_000_000.0  # 2025-06-15 15:06:40 UTC


class ManualClock:
    """Tells the time that a test has set; a `core.clock.Clock`.

    Args:
        start: what `now` says at first, in seconds since the Unix epoch.
    """

    def __init__(self, start: float = START) -> None:
        self._offset = start
        self._passed = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._offset + self._passed

    def monotonic(self) -> float:
        """Return the seconds that have passed, whatever `jump` did."""
        return self._passed

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced so far."""
        awake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._sleepers, (self._passed + seconds, next(self._order), awake))
        self.advance_to(self._passed)
        await awake

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.advance_to(self._passed + seconds)

    def advance_to(self, time: float) -> None:
        """Let time pass until `monotonic` says `time`, and wake who has slept long enough, the first due first."""
        self._passed = max(self._passed, time)
        while (due := self.next_due()) is not None and due <= self._passed:
            heappop(self._sleepers)[2].set_result(None)

    def jump(self, seconds: float) -> None:
        """Set `now` forward or back, as an administrator or a time server may; nothing passes."""
        self._offset += seconds

    def next_due(self) -> float | None:
        """Return when the next sleeper is to wake, by `monotonic`; None if nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():  # cancelled
            heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None
