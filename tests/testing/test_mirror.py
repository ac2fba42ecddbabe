"""Two stores side by side pass as one, and no difference passes unseen."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from windlass import Pipeline, Runtime, task
from windlass.core.clock import Clock
from windlass.core.queries import Runs
from windlass.core.records import RunRecord
from windlass.stores.base import Store
from windlass.stores.memory import MemoryStore
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.conformance import StoreConformance
from windlass.testing.conformance_place import ME, begun
from windlass.testing.mirror import UNLIKE, MirrorStore, StoresDiffer
from windlass.testing.specimens import HandClock, a_write


def mirror(clock: Clock) -> MirrorStore:
    return MirrorStore(MemoryStore(clock=clock), SQLiteStore("sqlite:///:memory:", clock=clock))


class TestMirror(StoreConformance):
    def make(self, clock: Clock, folder: Path) -> Store:
        return mirror(clock)

    @pytest.fixture(autouse=True)
    def alike(self, request: pytest.FixtureRequest) -> None:
        if request.function.__name__ in UNLIKE:
            pytest.skip("it leaves the two stores unlike")


class Forgetful(MemoryStore):
    """Answers a claim with the epoch before."""

    async def claim(self, run: str, owner: Any) -> RunRecord:
        record = await super().claim(run, owner)
        return replace(record, epoch=record.epoch - 1)


async def test_a_difference_is_raised_and_stays() -> None:
    clock = HandClock()
    store = MirrorStore(MemoryStore(clock=clock), Forgetful("memory:forgetful", clock=clock))
    await store.open()
    await begun(store)
    with pytest.raises(StoresDiffer, match=r"claim.*\n.*memory:: .*epoch\":2.*\n.*memory:forgetful: .*epoch\":1"):
        await store.claim("run-1", ME)
    with pytest.raises(StoresDiffer):
        await store.find(Runs())


async def test_errors_are_compared_too() -> None:
    clock = HandClock()
    one, two = MemoryStore(clock=clock), MemoryStore(clock=clock)
    store = MirrorStore(one, two)
    await store.open()
    await begun(store)
    await two.commit(a_write(after=1))
    with pytest.raises(StoresDiffer, match="StaleLease"):
        await store.commit(a_write(after=1))


async def test_whoever_is_cancelled_leaves_neither_without_the_other() -> None:
    store = mirror(HandClock())
    await store.open()
    await begun(store)
    call = asyncio.ensure_future(store.commit(a_write(after=1)))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert (await store.load("run-1")).record.head.seq == 2
    await store.close()


async def test_a_runtime_runs_on_it() -> None:
    @task
    async def double(input: int) -> int:
        return input * 2

    clock = HandClock()
    store = mirror(clock)
    await store.open()
    async with Runtime(store) as runtime:
        assert (await runtime.run(Pipeline("double", tasks=[double]), 21)).output == 42
    await store.close()
    assert store.difference is None
