"""The pruner: beside a worker it drops runs that ended long ago, once in a while."""

from collections.abc import Callable
from typing import Any

from windlass.core.clock import Seams
from windlass.core.errors import StoreError
from windlass.stores.base import Store

EVERY = 3_600.0  # seconds between two prunes; the large values of one are deleted by the next


class Pruner:
    """Prunes whole runs that completed or were cancelled longer than `age` seconds ago.

    Several pruners of one store do no harm: what one has dropped the others do not find.
    """

    def __init__(
        self, store: Store, age: float, *, told: Callable[..., None] = lambda *_, **__: None, seams: Seams | None = None
    ) -> None:
        self.store = store
        self.age = age
        self.told = told
        self.seams = seams or Seams()

    async def run(self) -> None:
        """Prune now and once an hour, until it is cancelled; a store that cannot be pruned is tried the next time."""
        while True:
            await self.once()
            await self.seams.clock.sleep(EVERY * (0.9 + self.seams.dice() / 5))  # jittered: not all workers at once

    async def once(self) -> dict[str, Any] | None:
        """Prune once and tell what was dropped; None if it failed, which is told, too."""
        try:
            done = await self.store.maintain("prune", older_than=self.age)
        except StoreError as error:
            self.told("store.failed", error=error)
            return None
        self.told("store.pruned", runs=done["runs"], rows=done["rows"], blobs=done["blobs"], kept=done["kept"])
        return done
