"""A run whose store failed on the way does not stay owned by a process that does not drive it."""

import asyncio
from typing import Any

import pytest

from tests.laws.stores import Between
from windlass import Pipeline, Runtime, task
from windlass.core.errors import StoreError, StoreUnavailable
from windlass.engine.letgo import let_go
from windlass.testing.clock import ManualClock


@task
async def first(n: int) -> int:
    return n + 1


@task
async def second(first: int) -> int:
    return first * 2


steps = Pipeline("steps", [first, second])


class Failing(Between):
    """Fails one verb a few times, before or after it is done."""

    def __init__(self, verb: str, times: int, *, applied: bool) -> None:
        super().__init__(ManualClock())
        self.verb, self.times, self.applied = verb, times, applied

    async def write(self, verb: str, *arguments: Any) -> Any:
        if verb == self.verb and self.times:
            self.times -= 1
            if self.applied:
                await super().write(verb, *arguments)
            raise StoreUnavailable("the disk is full")
        return await super().write(verb, *arguments)


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("verb", ["create", "commit"])
async def test_a_run_is_given_up_when_its_store_has_failed(verb: str, applied: bool) -> None:
    store = Failing(verb, 1, applied=applied)
    await store.open()
    async with Runtime(store, [steps]) as one:
        with pytest.raises(StoreError):
            await one.run(steps, 1, id="r")
        for _ in range(100):
            await asyncio.sleep(0)  # it lets go in the background
        async with Runtime(store, [steps]) as two:  # the first one lives on, and keeps its lease
            assert (await two.run(steps, 1, id="r")).output == 4


async def test_what_nobody_owns_needs_no_letting_go() -> None:
    store = Failing("claim", 1, applied=True)
    await store.open()
    async with Runtime(store, [steps]) as one:
        assert await let_go(one.services, "nobody", lambda: False)
        run = await one.start(steps, 1)
        await one.wait(run)
        assert await let_go(one.services, run, lambda: True)
