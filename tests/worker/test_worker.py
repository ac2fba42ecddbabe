"""The loop around a runtime: what it claims, what it leaves alone, and how it stops."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from windlass import Context, Pipeline, Runtime, task
from windlass.core.clock import Seams
from windlass.core.errors import StoreUnavailable
from windlass.core.queries import Runs, Work
from windlass.core.states import Status
from windlass.engine import notifier
from windlass.worker.worker import FIRST_PAUSE, Worker


@task
async def gate(ctx: Context) -> str:
    await ctx.ask("Go on?", bool)
    return "through"


@task
async def rest(seconds: float, ctx: Context) -> str:
    await ctx.sleep(seconds)
    return "rested"


@task
async def stay() -> str:
    await asyncio.Event().wait()
    return "never"


gated = Pipeline("gated", tasks=[gate])
resting = Pipeline("resting", tasks=[rest])
staying = Pipeline("staying", tasks=[stay])
DEFINITIONS = [gated, resting, staying]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/w.db"


@pytest.fixture
async def runtime(url: str) -> AsyncIterator[Runtime]:
    async with Runtime(url, list(DEFINITIONS)) as opened:
        yield opened


async def leave(url: str, definition: Pipeline, *ids: str, input: Any = None) -> None:
    """Start runs in a runtime that closes: they are interrupted, or wait."""
    async with Runtime(url) as elsewhere:
        for id_ in ids:
            await elsewhere.start(definition, input, id_)
            await asyncio.sleep(0.02)


async def status(runtime: Runtime, run: str) -> Status:
    return (await runtime.get(run)).head.status


async def test_interrupted_runs_are_claimed_the_oldest_first(runtime: Runtime, url: str) -> None:
    await leave(url, staying, "a", "b", "c")
    work = Worker(runtime, DEFINITIONS, concurrency=2)
    assert await work.tick() == ["a", "b"]
    assert await work.tick() == []  # there is no room
    assert sorted(runtime.driving) == ["a", "b"]


async def test_only_definitions_that_it_knows(runtime: Runtime, url: str) -> None:
    await leave(url, staying, "a")
    assert await Worker(runtime, [gated]).tick() == []


async def test_a_run_is_not_picked_up_before_its_time(runtime: Runtime, url: str) -> None:
    await leave(url, resting, "r", input=1.1)
    assert await status(runtime, "r") is Status.WAITING
    clock = Clock()
    due_at = (await runtime.get("r")).head.due_at
    assert due_at is not None
    work = Worker(runtime, DEFINITIONS, seams=Seams(clock=clock))
    clock.seconds = due_at - 0.1
    assert await work.tick() == []
    clock.seconds = due_at
    assert await work.tick() == ["r"]


async def test_an_answer_makes_a_run_claimable(runtime: Runtime, url: str) -> None:
    await leave(url, gated, "g")
    work = Worker(runtime, DEFINITIONS)
    assert await work.tick() == []
    async with Runtime(url) as elsewhere:
        (question,) = await elsewhere.questions("g")
        await elsewhere.answer(question.id, value=True)
    assert await work.tick() == ["g"]
    assert (await runtime.wait("g")).output == "through"


async def test_a_run_that_does_not_move_is_tried_less_and_less_often(runtime: Runtime, url: str) -> None:
    await leave(url, staying, "a")
    clock, told = Clock(), []
    work = Worker(runtime, DEFINITIONS, told=lambda what, **_: told.append(what), seams=Seams(clock=clock))

    async def refuse(run: str) -> None:
        raise StoreUnavailable(f"{run} cannot be loaded")

    runtime.pick_up = refuse  # type: ignore[method-assign]
    tries = []
    for _ in range(100):
        before = len(told)
        assert await work.tick() == []
        if len(told) > before:
            tries.append(clock.seconds)
        clock.seconds += FIRST_PAUSE / 2
    assert set(told) == {"run.refused"}
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps == sorted(gaps)
    assert 4 <= len(tries) <= 8


async def test_it_wakes_when_another_process_starts_something(
    runtime: Runtime, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "IDLE_POLL_SECONDS", 0.001)
    picked = asyncio.Event()
    work = Worker(runtime, DEFINITIONS, told=lambda *_, **__: picked.set())
    looping = asyncio.create_task(work.run())
    await leave(url, staying, "s")
    async with asyncio.timeout(10):
        await picked.wait()
    work.stop()
    await looping
    assert runtime.driving == ["s"]


async def test_a_store_that_fails_is_tried_again(runtime: Runtime, url: str) -> None:
    await leave(url, staying, "s")
    told: list[str] = []
    work = Worker(runtime, DEFINITIONS, seams=Seams(clock=Clock()))
    find, failures = runtime.store.find, 2

    def tell(what: str, **_: Any) -> None:
        told.append(what)
        if what == "run.picked_up":
            work.stop()

    async def sometimes(query: Any) -> Any:
        nonlocal failures
        if isinstance(query, Work) and failures:
            failures -= 1
            raise StoreUnavailable("the disk is away")
        return await find(query)

    work.told = tell
    runtime.store.find = sometimes  # type: ignore[method-assign]
    async with asyncio.timeout(10):
        await work.run()
    assert told == ["store.failed", "store.failed", "run.picked_up"]


async def test_draining_claims_nothing_more_and_leaves_the_rest_claimable(url: str) -> None:
    await leave(url, staying, "a", "b")
    async with Runtime(url, list(DEFINITIONS)) as opened:
        work = Worker(opened, DEFINITIONS, concurrency=1, seams=Seams(clock=Clock()))
        await work.tick()
        assert await work.drain(grace=5.0) == ["a"]
        assert await work.tick() == []
    async with Runtime(url) as after:
        claimable = await after.store.find(Runs(claimable=True))
        assert {record.id for record in claimable} == {"a", "b"}
        assert await status(after, "a") is Status.RUNNING
