"""The heartbeat: keeps this process's lease alive from a thread of its own, whatever the event loop does (D2).

A loop that is blocked keeps its lease on purpose: its node still runs, and a second owner would run it again beside
it. The watchdog, on the same thread, says what blocks it.
"""

import asyncio
from collections.abc import Callable

from windlass.core.clock import Seams, Signal
from windlass.core.records import Owner
from windlass.stores.base import RENEW_SECONDS, Store

TICK_SECONDS = 0.1
JUMP_SECONDS = 1.0  # that the time of day may gain or lose between two ticks without being taken for a jump


class Heartbeat:
    """Renews one owner's lease every RENEW_SECONDS until it is stopped, and at once when the time of day has jumped.

    Leases end by the time of day, the only time that hosts share. A jump forward makes every lease look over, one back
    makes it last too long; the renewal sets both right within a tick. A renewal that fails is tried again at the next
    beat: the epoch protects the runs, the lease only says when others may claim them.

    Args:
        look: called at every tick, on the heartbeat's thread: the watchdog.
    """

    def __init__(self, store: Store, seams: Seams, owner: Owner, look: Callable[[], None]) -> None:
        self.store = store
        self.seams = seams
        self.owner = owner
        self.look = look
        self.failures = 0
        self._stop = Signal()

    def start(self) -> None:
        """Begin to beat."""
        self.seams.thread(self._beat)

    def _beat(self) -> None:
        clock = self.seams.clock
        renewed, offset = clock.monotonic(), clock.now() - clock.monotonic()
        while not self._stop.wait(TICK_SECONDS):
            try:
                now, before = clock.monotonic(), offset
                offset = clock.now() - now
                if now - renewed >= RENEW_SECONDS or abs(offset - before) > JUMP_SECONDS:
                    renewed = now
                    asyncio.run(self.store.renew(self.owner))
                    self.failures = 0
                self.look()
            except Exception:  # noqa: BLE001 -- counted; told by `doctor`, and the epoch protects the runs meanwhile
                self.failures += 1

    def stop(self) -> None:
        """Stop beating."""
        self._stop.set()
