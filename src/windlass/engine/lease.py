"""The heartbeat: keeps this process's lease alive from a thread of its own, whatever the event loop does (D2)."""

import asyncio

from windlass.core.clock import Seams, Signal
from windlass.core.records import Owner
from windlass.stores.base import RENEW_SECONDS, Store


class Heartbeat:
    """Renews one owner's lease every RENEW_SECONDS until it is stopped.

    A renewal that fails is tried again at the next beat: the epoch protects the runs, the lease only says when others
    may claim them.
    """

    def __init__(self, store: Store, seams: Seams, owner: Owner) -> None:
        self.store = store
        self.seams = seams
        self.owner = owner
        self.failures = 0
        self._stop = Signal()

    def start(self) -> None:
        """Begin to beat."""
        self.seams.thread(self._beat)

    def _beat(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                asyncio.run(self.store.renew(self.owner))
                self.failures = 0
            except Exception:  # noqa: BLE001 -- counted; told by `doctor`, and the epoch protects the runs meanwhile
                self.failures += 1

    def stop(self) -> None:
        """Stop beating."""
        self._stop.set()
