"""Whose run the worker takes next: tenants in turn, the longest waiting first, and nothing blocks what is behind it."""

import asyncio
from pathlib import Path

import pytest

from windlass import Pipeline, Runtime, task
from windlass.core.errors import StoreUnavailable
from windlass.worker.worker import PAGE, PAGES, Worker


@task
async def stay() -> str:
    await asyncio.Event().wait()
    return "never"


@task
async def pass_by() -> str:
    return "done"


passing = Pipeline("passing", tasks=[pass_by])
staying = Pipeline("staying", tasks=[stay])
other = Pipeline("other", tasks=[pass_by])
MANY = PAGE * 2 + 5


@pytest.fixture(params=["sqlite", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/w.db" if request.param == "sqlite" else f"memory://{tmp_path}"


async def submit(url: str, tenant: str, *names: str, definition: Pipeline = passing) -> None:
    """Leave runs that nobody has begun."""
    async with Runtime(url, [definition]) as runtime:
        if f"first of {tenant}" not in {record.id for record in await runtime.runs(tenant=tenant)}:
            first = await runtime.start(definition, id=f"first of {tenant}", tenant=tenant)
            if definition is staying:
                await runtime.cancel(first)
            await runtime.wait(first)
    async with Runtime(url) as runtime:
        for name in names:
            await runtime.fork(f"first of {tenant}", at=1, id=name)


def names(letter: str, number: int) -> list[str]:
    return [f"{letter}{n}" for n in range(number)]


async def test_the_turn_goes_on_from_look_to_look(url: str) -> None:
    await submit(url, "a", *names("a", 9))
    await submit(url, "b", *names("b", 3))
    await submit(url, "c", *names("c", 2))
    taken: list[str] = []
    async with Runtime(url, [passing]) as runtime:
        work = Worker(runtime, [passing], concurrency=1)
        while picked := await work.tick():
            taken += picked
            await runtime.wait(picked[0])
    assert taken == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", *names("a", 9)[3:]]


async def test_whoever_comes_later_has_its_turn_next(url: str) -> None:
    await submit(url, "a", *names("a", 20))
    async with Runtime(url, [passing]) as runtime:
        work = Worker(runtime, [passing], concurrency=4)
        assert await work.tick() == names("a", 4)
        await asyncio.gather(*map(runtime.wait, names("a", 4)))
        await submit(url, "b", "b0")
        assert await work.tick() == ["b0", "a4", "a5", "a6"]


async def test_the_oldest_of_a_backlog_begins_first(url: str) -> None:
    await submit(url, "a", *names("a", MANY))
    async with Runtime(url, [passing]) as runtime:
        assert await Worker(runtime, [passing], concurrency=3).tick() == ["a0", "a1", "a2"]


async def test_one_tick_fills_all_the_room_that_there_is(url: str) -> None:
    await submit(url, "a", *names("a", MANY), definition=staying)
    await submit(url, "b", "b0", definition=staying)
    async with Runtime(url, [staying]) as runtime:
        picked = await Worker(runtime, [staying], concurrency=MANY - 1).tick()
        assert picked == ["a0", "b0", *names("a", MANY - 2)[1:]]


async def test_runs_that_cannot_be_driven_do_not_block_those_behind(url: str) -> None:
    await submit(url, "a", *names("a", MANY), "fine")
    async with Runtime(url, [passing]) as runtime:
        work, pick_up = Worker(runtime, [passing]), runtime.pick_up

        async def mostly_refuse(run: str) -> None:
            if run != "fine":
                raise StoreUnavailable(f"{run} cannot be loaded")
            await pick_up(run)

        runtime.pick_up = mostly_refuse  # type: ignore[method-assign]
        assert await work.tick() == ["fine"]
        assert (await runtime.wait("fine")).output == "done"


async def test_more_of_them_than_one_tick_looks_at_are_passed_in_the_next(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windlass.worker.worker.PAGE", 2)
    await submit(url, "a", *names("a", PAGES * 2 + 3), "fine")
    async with Runtime(url, [passing]) as runtime:
        work, pick_up = Worker(runtime, [passing]), runtime.pick_up

        async def mostly_refuse(run: str) -> None:
            if run != "fine":
                raise StoreUnavailable(f"{run} cannot be loaded")
            await pick_up(run)

        runtime.pick_up = mostly_refuse  # type: ignore[method-assign]
        assert await work.tick() == []
        assert await work.tick() == ["fine"]


async def test_runs_of_other_definitions_do_not_block_those_behind(url: str) -> None:
    await submit(url, "a", *names("a", MANY), definition=other)
    await submit(url, "b", "b0")
    async with Runtime(url, [passing]) as runtime:
        assert await Worker(runtime, [passing]).tick() == ["b0"]


async def test_two_workers_divide_a_backlog(url: str) -> None:
    await submit(url, "a", *names("a", 12), definition=staying)
    async with Runtime(url, [staying]) as one, Runtime(url, [staying]) as two:
        first, second = Worker(one, [staying], concurrency=6), Worker(two, [staying], concurrency=6)
        taken = await asyncio.gather(first.tick(), second.tick())
        assert sorted(taken[0] + taken[1]) == sorted(names("a", 12))
