"""The memory store passes the suite, and shares what has a name."""

from pathlib import Path

import pytest

from windlass.core.clock import Clock
from windlass.core.errors import StoreUnknown
from windlass.core.queries import Runs
from windlass.stores.base import Store, open_store
from windlass.stores.memory import MemoryStore
from windlass.testing.conformance import StoreConformance
from windlass.testing.conformance_place import begun


class TestMemory(StoreConformance):
    def make(self, clock: Clock, folder: Path) -> Store:
        return MemoryStore(clock=clock)


async def test_every_plain_url_is_a_new_store() -> None:
    one, two = open_store("memory:"), open_store("memory:")
    await one.open()
    await two.open()
    await begun(one)
    assert await two.find(Runs()) == []


async def test_a_named_store_is_shared_and_outlives_its_stores() -> None:
    one, two = open_store("memory:shared"), open_store("memory:shared")
    await one.open()
    await begun(one)
    await one.close()
    await two.open()
    assert [record.id for record in await two.find(Runs())] == ["run-1"]


async def test_the_version_counts_writes() -> None:
    store = open_store("memory:")
    await store.open()
    before = store.version()
    await begun(store)
    assert store.version() > before


def test_another_scheme_is_refused() -> None:
    with pytest.raises(StoreUnknown, match="redis"):
        open_store("redis://localhost")
