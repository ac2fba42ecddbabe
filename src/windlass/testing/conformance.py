"""Judge a store: the checks that every store of Windlass passes, for yours to pass too.

Subclass `StoreConformance` in a test file, say how to make a store, and run pytest (with pytest-asyncio):

    class TestMyStore(StoreConformance):
        def make(self, clock: Clock, folder: Path) -> Store:
            return MyStore(folder / "runs", clock=clock)

Each check gets a store of its own, opened and later closed, whose leases are told the time by `clock`; a store that
lives elsewhere is to be emptied in `make`. What the checks expect is written down in `windlass.stores.base.Store`, and
done in the plainest way by `windlass.stores.memory`.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from windlass.core.clock import Clock
from windlass.stores.base import Store
from windlass.testing.conformance_beside import BesideChecks
from windlass.testing.conformance_find import FindChecks
from windlass.testing.conformance_leases import LeaseChecks
from windlass.testing.conformance_writes import WriteChecks
from windlass.testing.specimens import HandClock


@pytest.mark.asyncio
class StoreConformance(WriteChecks, LeaseChecks, FindChecks, BesideChecks):
    """All checks; override `make`."""

    def make(self, clock: Clock, folder: Path) -> Store:
        """Make an empty store, not yet open."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> HandClock:
        """Give a clock that stands still until a check moves it."""
        return HandClock()

    @pytest_asyncio.fixture
    async def store(self, clock: HandClock, tmp_path: Path) -> AsyncIterator[Store]:
        """Give an open store."""
        store = self.make(clock, tmp_path)
        await store.open()
        yield store
        await store.close()
