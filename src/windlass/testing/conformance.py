"""Judge a store: the checks that every store of Windlass passes, for yours to pass too.

Subclass `StoreConformance` in a test file, say how to make a store, and run pytest (with pytest-asyncio):

    class TestMyStore(StoreConformance):
        def make(self, clock: Clock, folder: Path) -> Store:
            return MyStore(folder / "runs", clock=clock)

Each check gets a store of its own, opened and later closed, whose leases are told the time by `clock`; a store that
lives elsewhere is to be emptied in `make`, and `again` then makes another one of the same place without emptying it.
The store's capabilities decide what applies: checks of reopening need `durable`, those of several stores of one place
need `multi_process`; what does not apply is skipped, with the reason. What the checks expect is written down in
`windlass.stores.base.Store`, and done in the plainest way by `windlass.stores.memory`.
"""

import pytest

from windlass.testing.conformance_beside import BesideChecks
from windlass.testing.conformance_children import ChildChecks
from windlass.testing.conformance_crowd import CrowdChecks
from windlass.testing.conformance_ends import EndChecks
from windlass.testing.conformance_find import FindChecks
from windlass.testing.conformance_kept import KeptChecks
from windlass.testing.conformance_leases import LeaseChecks
from windlass.testing.conformance_letters import LetterChecks
from windlass.testing.conformance_order import OrderChecks
from windlass.testing.conformance_retention import RetentionChecks
from windlass.testing.conformance_tallies import TallyChecks, TallyFindChecks
from windlass.testing.conformance_threads import ThreadChecks
from windlass.testing.conformance_tokens import TokenChecks
from windlass.testing.conformance_turns import TurnChecks
from windlass.testing.conformance_writes import WriteChecks


@pytest.mark.asyncio
class StoreConformance(
    WriteChecks, LeaseChecks, FindChecks, BesideChecks, TokenChecks, OrderChecks, KeptChecks, CrowdChecks, EndChecks,
    RetentionChecks, TallyChecks, TallyFindChecks, LetterChecks, TurnChecks, ChildChecks, ThreadChecks,
):  # fmt: skip
    """All checks; override `make`."""


def checks() -> list[str]:
    """Name every check of the suite; one with parameters counts once."""
    return sorted(name for name in dir(StoreConformance) if name.startswith("test_"))
