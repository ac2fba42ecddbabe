"""A run waits where it is, for a moment, for children that are driven here; and no store is asked about them."""

import asyncio
from typing import Any

import pytest

from windlass import Budget, Context, Pipeline, Runtime, task
from windlass.core import records as r
from windlass.core.origin import Origin
from windlass.core.states import WAITING
from windlass.engine import loop
from windlass.engine.near import is_below


@task
async def asks(number: int, ctx: Context) -> int:
    """Wait for a person."""
    return number + int(await ctx.ask("how many?", int))


@task
async def slow(number: int) -> int:
    """Take a while."""
    await asyncio.sleep(0.1)
    return number + 1


ASKS, SLOW = Pipeline("asks", [asks]), Pipeline("slow", [slow])


def above(child: Pipeline, **options: Any) -> Pipeline:
    """Make a pipeline that runs one child."""

    @task(id="work")
    async def work(number: int, ctx: Context) -> int:
        below: int = await ctx.run(child, number)
        return below

    return Pipeline("above", [work], children=[child], **options)


async def parked(runtime: Runtime, run: str) -> int:
    """Count how often a run has parked."""
    return [event.type async for event in runtime.events(run)].count("run.parked")


async def test_a_run_does_not_park_for_a_child_that_ends_soon(url: str) -> None:
    async with Runtime(url) as runtime:
        assert (await runtime.run(above(SLOW), 1, id="p")).output == 2
        assert await parked(runtime, "p") == 0
        assert (await runtime.get("p")).epoch == 1


async def test_it_parks_as_soon_as_its_child_has(url: str) -> None:
    async with Runtime(url) as runtime:
        async with asyncio.timeout(loop.SOON_SECONDS * 0.8):
            result = await runtime.run(above(ASKS), 1, id="p")
        assert (await runtime.get("p")).head.status == WAITING
        (asked,) = await runtime.questions("p")
        await runtime.answer(asked.id, 2)
        assert (await runtime.wait("p")).output == 3
        assert result.output is None


async def test_it_parks_for_a_child_that_takes_long(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SOON_SECONDS", 0.05)
    async with Runtime(url) as runtime:
        assert (await runtime.run(above(SLOW), 1, id="p")).output == 2
        assert await parked(runtime, "p") == 1


async def test_it_parks_where_it_holds_what_its_child_may_need(url: str) -> None:
    async with Runtime(url) as runtime:
        assert (await runtime.run(above(SLOW, budget=Budget(steps=50)), 1, id="p")).output == 2
        assert await parked(runtime, "p") == 1


async def test_it_parks_where_others_wait_for_its_slot(url: str) -> None:
    async with Runtime(url) as runtime:
        runtime.drive_at_most(2)
        assert (await runtime.run(above(SLOW), 1, id="p")).output == 2
        assert await parked(runtime, "p") == 1


def test_a_detached_child_and_what_is_below_it_are_not_waited_for() -> None:
    def record(run: str, origin: Origin | None = None) -> r.RunRecord:
        return r.RunRecord(id=run, definition="d", fingerprint="f", origin=origin)

    def child(run: str, *line: str, base: str) -> r.RunRecord:
        place = {"branch": 0, "address": "a#1", "key": "k", "path": "p", "names": ("d",) * len(line)}
        return record(run, Origin(run=line[-1], line=line, base=base, **place))  # type: ignore[arg-type]

    top, apart = record("top"), child("apart", "top", base="apart")
    assert is_below(top, child("b", "top", base="top"))
    assert is_below(top, child("c", "top", "b", base="top"))
    assert not is_below(top, apart)
    assert not is_below(top, child("d", "top", "apart", base="apart"))
    assert is_below(apart, child("d", "top", "apart", base="apart"))
    assert not is_below(top, top)
