"""Child runs: started once, awaited without a process, stopped with their parents, and bounded by them."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from msgspec import json

from windlass import (
    Allow,
    Budget,
    Context,
    Cost,
    Failed,
    Pipeline,
    Quorum,
    Retry,
    RunFailed,
    Runtime,
    Usage,
    task,
    tool,
)
from windlass.core.child_errors import ChildNameTaken
from windlass.core.errors import BudgetExceeded, DefinitionUnknown, InputError
from windlass.core.queries import Commands, Runs, Tallies
from windlass.core.records import Command
from windlass.core.states import CANCELLED, COMPLETED, PAUSED, WAITING
from windlass.engine.family import is_going_on


@task
async def double(number: int, ctx: Context) -> int:
    """Double a number."""
    await ctx.call("double", lambda: number * 2, key="d")
    return number * 2


DOUBLE = Pipeline("double", [double])


def parent(body: Callable[..., Any], *children: Any, name: str = "parent", **options: Any) -> Pipeline:
    """Make a pipeline of one task that starts children."""

    @task(id="work")
    async def work(number: int, ctx: Context) -> Any:
        return await body(ctx, number)

    return Pipeline(name, [work], children=children or (DOUBLE,), **options)


async def children_of(runtime: Runtime, run: str) -> list[Any]:
    """List the children of a run, oldest first."""
    return (await runtime.store.find(Runs(parent=run)))[::-1]


async def until(runtime: Runtime, run: str, status: str) -> None:
    """Wait until a run stands so in the store."""
    for _ in range(400):
        if (await runtime.get(run)).head.status == status:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{run} is {(await runtime.get(run)).head.status}, not {status}")


async def test_a_child_is_a_run_of_its_own_and_its_output_comes_back(url: str) -> None:
    async def body(ctx: Context, number: int) -> Any:
        return await ctx.run(DOUBLE, number) + await ctx.run("double", number + 1)

    async with Runtime(url) as runtime:
        result = await runtime.run(parent(body), 5, id="p")
        assert (result.status, result.output) == ("completed", 22)
        found = await children_of(runtime, "p")
        assert [child.head.status for child in found] == [COMPLETED, COMPLETED]
        assert [child.origin.path for child in found] == ["work#1/double", "work#1/double~2"]
        assert all(child.id.startswith("p.") for child in found)
        types = [event.type async for event in runtime.events("p")]
        assert types.count("child.started") == types.count("child.ended") == 2
        below = {event.type for child in found async for event in runtime.events(child.id)}
        assert "lease.taken_over" not in below
        assert (await runtime.replay("p")).differing == ()
        assert await runtime.store.find(Commands(run="p")) == []


async def test_children_at_once_and_within_children(url: str) -> None:
    async def inner(ctx: Context, number: int) -> Any:
        return sum(await asyncio.gather(*(ctx.run(DOUBLE, number + n) for n in range(3))))

    middle = parent(inner, name="middle")

    async def outer(ctx: Context, number: int) -> Any:
        return await ctx.run_all([(middle, number), (middle, number + 1)])

    async with Runtime(url) as runtime:
        result = await runtime.run(parent(outer, middle), 1, id="p")
        assert result.output == [12, 18]
        assert len(await runtime.store.find(Runs(under="p"))) == 8
        assert len(await children_of(runtime, "p")) == 2


async def test_a_failed_child_fails_its_parent_with_what_failed_it(url: str) -> None:
    @task
    async def bad(number: int) -> int:
        raise ValueError(f"no {number}")

    broken = Pipeline("broken", [bad])

    async def body(ctx: Context, number: int) -> Any:
        return await ctx.run(broken, number)

    async def outer(ctx: Context, number: int) -> Any:
        return await ctx.run(middle, number)

    middle = parent(body, broken, name="middle")
    async with Runtime(url) as runtime:
        with pytest.raises(RunFailed, match=r"child run p\.\w+ \(broken\) failed: ValueError: no 7") as caught:
            await runtime.run(parent(outer, middle), 7, id="p")
        assert caught.value.failure["kind"] == "ChildFailed"


async def test_a_retry_of_the_parent_starts_what_failed_once_more_and_adopts_its_effects(url: str) -> None:
    happened: list[int] = []
    fails = [True]

    @task
    async def act(number: int, ctx: Context) -> int:
        await ctx.effect("act", happened.append, number)
        if fails:
            fails.pop()
            raise ValueError("not yet")
        return number

    acting = Pipeline("acting", [act])

    @task(id="work", retry=Retry(on=RunFailed, initial=0))
    async def work(number: int, ctx: Context) -> list[int]:
        return [await ctx.run(DOUBLE, number), await ctx.run(acting, number)]

    async with Runtime(url) as runtime:
        result = await runtime.run(Pipeline("parent", [work], children=[DOUBLE, acting]), 3, id="p")
        assert result.output == [6, 3]
        assert happened == [3]
        assert [child.definition for child in await children_of(runtime, "p")] == ["double", "acting", "acting"]


async def test_a_resumed_parent_starts_what_failed_once_more(url: str) -> None:
    broken = [True]

    @task
    async def flaky(number: int) -> int:
        if broken:
            raise ValueError("not yet")
        return number

    child = Pipeline("flaky", [flaky])

    async def body(ctx: Context, number: int) -> Any:
        return await ctx.run_all([(child, number), (DOUBLE, number)])

    async with Runtime(url) as runtime:
        with pytest.raises(RunFailed):
            await runtime.run(parent(body, child, DOUBLE), 4, id="p")
        broken.clear()
        await runtime.resume("p")
        assert (await runtime.wait("p")).output == [4, 8]


@task
async def asking(number: int, ctx: Context) -> int:
    """Ask a person for a number to add."""
    return number + await ctx.ask(f"how much for {number}?", int)


ASKING = Pipeline("asking", [asking])


async def test_both_park_while_a_child_waits_for_a_person(url: str) -> None:
    async def body(ctx: Context, number: int) -> Any:
        return await ctx.run(ASKING, number)

    definition = parent(body, ASKING)
    async with Runtime(url) as runtime:
        result = await runtime.run(definition, 5, id="p")
        assert result.status == "waiting"
        assert runtime.driving == []
        assert len(result.waiting) == 1
        child = (await children_of(runtime, "p"))[0]
        assert child.head.status == WAITING
        await runtime.answer(result.waiting[0], 10)
        assert (await runtime.wait("p")).output == 15


async def test_a_worker_process_of_another_runtime_may_go_on_with_either(url: str) -> None:
    async def body(ctx: Context, number: int) -> Any:
        return await ctx.run(ASKING, number)

    definition = parent(body, ASKING)
    if url == "memory:":
        url = "memory:shared-children"
    async with Runtime(url) as runtime:
        asked = (await runtime.run(definition, 5, id="p")).waiting[0]
    async with Runtime(url, [definition]) as other:
        await other.answer(asked, 1)
        assert (await other.wait("p")).output == 6


@pytest.mark.parametrize("idle", [True, False], ids=["parked", "live"])
async def test_cancel_reaches_children(url: str, *, idle: bool) -> None:
    @task
    async def slow(number: int, ctx: Context) -> int:
        if idle:
            await ctx.ask("well?")
        await asyncio.sleep(30)
        return number

    child = Pipeline("slow", [slow])

    async def inner(ctx: Context, number: int) -> Any:
        return await ctx.run(child, number)

    middle = parent(inner, child, name="middle")

    async def body(ctx: Context, number: int) -> Any:
        await ctx.start(child, number, name="apart")
        return await ctx.run(middle, number)

    async with Runtime(url) as runtime:
        await runtime.start(parent(body, middle, child), 1, id="p")
        await until(runtime, "p", WAITING)
        await asyncio.sleep(0.05)
        found = await runtime.store.find(Runs(under="p"))
        assert len(found) == 3
        await runtime.cancel("p")
        for one in found:
            if one.origin and not one.origin.detached:
                await until(runtime, one.id, CANCELLED)
        apart = next(one for one in found if one.origin and one.origin.detached)
        assert (await runtime.get(apart.id)).head.status != CANCELLED
        for one in found:
            assert await runtime.store.find(Commands(run=one.id)) == []
        await runtime.cancel(apart.id)


async def test_pause_and_resume_reach_children(url: str) -> None:
    async def body(ctx: Context, number: int) -> Any:
        return await ctx.run(ASKING, number)

    async with Runtime(url) as runtime:
        asked = (await runtime.run(parent(body, ASKING), 1, id="p")).waiting[0]
        child = (await children_of(runtime, "p"))[0].id
        await runtime.pause("p")
        await until(runtime, child, PAUSED)
        await runtime.resume("p")
        await until(runtime, child, WAITING)
        await runtime.answer(asked, 1)
        assert (await runtime.wait("p")).output == 2


async def test_a_run_that_is_resumed_waits_for_children_that_were_paused_with_it(url: str) -> None:
    async def body(ctx: Context, number: int) -> Any:
        return await ctx.run(ASKING, number)

    family = parent(body, ASKING)
    async with Runtime(url) as runtime:
        await runtime.run(family, 3, id="p")
        (asked,) = await runtime.questions("p")
        await runtime.pause("p")
        await until(runtime, asked.run, "paused")
    async with Runtime(url) as stranger:
        await stranger.answer(asked.id, 5)
    async with Runtime(url, [family]) as runtime:
        await runtime.resume("p")
        assert (await runtime.wait("p")).output == 8


async def test_a_paused_child_that_is_asked_to_go_on_is_going_on(url: str) -> None:
    async def body(ctx: Context, number: int) -> Any:
        return await ctx.run(ASKING, number)

    async with Runtime(url) as runtime:
        await runtime.run(parent(body, ASKING), 3, id="p")
        (child,) = await children_of(runtime, "p")
        await runtime.pause(child.id)
        await until(runtime, child.id, PAUSED)
    async with Runtime(url) as stranger:
        record = await stranger.get("p")
        assert await is_going_on(stranger.services, record, timers=False) is False
        await stranger.store.post(Command(id="c", run=child.id, verb="resume", at=1.0))
        assert await is_going_on(stranger.services, record, timers=False) is True


@task
async def picky(number: int, ctx: Context) -> int:
    """Fail for odd numbers; wait for long for those above ten."""
    if number > 10:
        await ctx.sleep(3600)
    if number % 2:
        raise ValueError(f"odd: {number}")
    return number


PICKY = Pipeline("picky", [picky])


async def test_a_fan_out_fails_fast(url: str) -> None:
    async def body(ctx: Context, _: int) -> Any:
        return await ctx.run_all([(PICKY, 20), (PICKY, 1), (PICKY, 2)], name="team")

    async with Runtime(url) as runtime:
        with pytest.raises(RunFailed, match="odd: 1"):
            await runtime.run(parent(body, PICKY), 1, id="p")
        found = await children_of(runtime, "p")
        assert [child.origin.path for child in found] == [f"work#1/team[{n}]" for n in range(3)]
        await until(runtime, found[0].id, CANCELLED)


async def test_a_fan_out_collects(url: str) -> None:
    async def body(ctx: Context, _: int) -> Any:
        return await ctx.run_all([(PICKY, 4), (PICKY, 1), (PICKY, 2)], "collect")

    async with Runtime(url) as runtime:
        output = (await runtime.run(parent(body, PICKY), 1)).output
        assert (output[0], output[2]) == (4, 2)
        assert isinstance(output[1], Failed)
        assert output[1].kind == "ValueError"


async def test_a_quorum_is_enough(url: str) -> None:
    async def body(ctx: Context, _: int) -> Any:
        return await ctx.run_all([(PICKY, 4), (PICKY, 20), (PICKY, 2), (PICKY, 1)], Quorum(2))

    async with Runtime(url) as runtime:
        output = (await runtime.run(parent(body, PICKY), 1, id="p")).output
        assert (output[0], output[2]) == (4, 2)
        assert isinstance(output[1], Failed)
        await until(runtime, (await children_of(runtime, "p"))[1].id, CANCELLED)


async def test_a_quorum_that_cannot_be_reached_fails(url: str) -> None:
    async def body(ctx: Context, _: int) -> Any:
        return await ctx.run_all([(PICKY, 1), (PICKY, 20), (PICKY, 3)], Quorum(2))

    async with Runtime(url) as runtime:
        with pytest.raises(RunFailed, match="odd"):
            await runtime.run(parent(body, PICKY), 1, id="p")


async def test_a_detached_child_goes_on_without_its_parent(url: str) -> None:
    async def body(ctx: Context, number: int) -> Any:
        return await ctx.start(DOUBLE, number)

    async with Runtime(url) as runtime:
        child = (await runtime.run(parent(body), 4)).output
        assert (await runtime.wait(child)).output == 8


async def test_children_that_nobody_waits_for_any_more_are_cancelled(url: str) -> None:
    async def body(ctx: Context, _: int) -> Any:
        pending = [asyncio.ensure_future(ctx.run(PICKY, number)) for number in (20, 2)]
        done, left = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for one in left:
            one.cancel()
        return int(done.pop().result())

    async with Runtime(url) as runtime:
        assert (await runtime.run(parent(body, PICKY), 1, id="p")).output == 2
        await until(runtime, (await children_of(runtime, "p"))[0].id, CANCELLED)


async def test_what_cannot_be_started(url: str) -> None:
    stranger = Pipeline("stranger", [double])
    seen: list[type] = []

    async def body(ctx: Context, number: int) -> Any:
        for bad in (
            lambda: ctx.run(stranger, number), lambda: ctx.run("nobody", 1), lambda: ctx.run(DOUBLE, "x"),
            lambda: ctx.run_all([(DOUBLE, 1)], Quorum(2)), lambda: ctx.run_all([(DOUBLE, 1)], cast("Any", "most")),
        ):  # fmt: skip
            with pytest.raises((DefinitionUnknown, InputError)) as caught:
                await bad()
            seen.append(caught.type)
        await ctx.run(DOUBLE, 1, name="a")
        with pytest.raises(ChildNameTaken):
            await ctx.run(DOUBLE, 2, name="a")
        return number

    async with Runtime(url) as runtime:
        await runtime.run(parent(body), 1, id="p")
        assert seen[:5] == [DefinitionUnknown, DefinitionUnknown, InputError, InputError, InputError]
        assert len(await children_of(runtime, "p")) == 1


async def test_a_cycle_of_children_ends_at_its_depth(url: str) -> None:
    async def body(ctx: Context, number: int) -> Any:
        return await ctx.run("parent", number + 1)

    async with Runtime(url) as runtime:
        with pytest.raises(RunFailed, match=r"parent → parent → parent → parent is deeper than 3"):
            await runtime.run(parent(body, budget=Budget(depth=3)), 1, id="p")
        assert len(await runtime.store.find(Runs(under="p"))) == 3
        with pytest.raises(RunFailed, match="is deeper than 16"):
            await runtime.run(parent(lambda ctx, n: ctx.run("endless", n), name="endless"), 1, id="q")


@task
async def consult(number: int, ctx: Context) -> int:
    """Make a call that costs."""
    await ctx.call("model", lambda: None, key="m", cost=Cost(estimate=Usage(model_calls=1)))
    return number


CONSULT = Pipeline("consult", [consult])


async def test_children_and_theirs_spend_their_parents_budget(url: str) -> None:
    async def inner(ctx: Context, number: int) -> Any:
        return await ctx.run_all([(CONSULT, number), (CONSULT, number + 1)], "collect")

    team = parent(inner, CONSULT, name="team", budget=Budget(model_calls=2))

    async def body(ctx: Context, _: int) -> Any:
        found = await ctx.run_all([(team, n) for n in range(0, 8, 2)])
        return [one for pair in found for one in pair]

    async with Runtime(url) as runtime:
        output = (await runtime.run(parent(body, team, budget=Budget(model_calls=5)), 1, id="p")).output
        assert sum(not isinstance(one, Failed) for one in output) == 5
        assert {one.kind for one in output if isinstance(one, Failed)} == {BudgetExceeded.__name__}
        spent = {tally.key: tally.body for tally in await runtime.store.find(Tallies(prefix="budget|run|p"))}
        assert json.decode(spent["budget|run|p"])["spent"]["model_calls"] == 5
        assert "held" not in json.decode(spent["budget|run|p"])


async def test_a_child_may_do_what_its_parent_may_do_too(url: str) -> None:
    @tool
    def price(item: str) -> int:
        """Say what it costs."""
        return len(item)

    @tool
    def order(item: str) -> str:
        """Order it."""
        return item

    @task
    async def buy(item: str, ctx: Context) -> list[str]:
        said = []
        for name in ("price", "order"):
            try:
                said.append(str(await ctx.tool(name, item=item)))
            except Exception as error:  # noqa: BLE001 -- what it is, is told
                said.append(type(error).__name__)
        return said

    shop = Pipeline("shop", [buy], tools=[price, order], grants=[Allow("price"), Allow("order")])

    @task
    async def work(number: int, ctx: Context) -> list[str]:
        said: list[str] = await ctx.run(shop, "x" * number)
        return said

    async with Runtime(url) as runtime:
        lead = Pipeline("lead", [work], children=[shop], tools=[price], grants=[Allow("price")])
        assert (await runtime.run(lead, 3)).output == ["3", "PermissionDenied"]
        bare = Pipeline("bare", [work], children=[shop])
        assert (await runtime.run(bare, 3)).output == ["PermissionDenied", "PermissionDenied"]


async def test_one_slot_is_enough(url: str) -> None:
    async def inner(ctx: Context, number: int) -> Any:
        return sum(await asyncio.gather(*(ctx.run(DOUBLE, number + n) for n in range(3))))

    middle = parent(inner, name="middle")

    async def outer(ctx: Context, number: int) -> Any:
        return await ctx.run_all([(middle, number), (middle, number + 1)])

    async with Runtime(url) as runtime:
        runtime.drive_at_most(1)
        assert (await runtime.run(parent(outer, middle), 1, id="p")).output == [12, 18]


async def test_large_values_go_in_and_out(url: str) -> None:
    @task
    async def grow(text: str) -> str:
        return text * 2

    big = Pipeline("big", [grow])

    async def body(ctx: Context, number: int) -> Any:
        return len(await ctx.run(big, "x" * number))

    async with Runtime(url) as runtime:
        assert (await runtime.run(parent(body, big), 200_000)).output == 400_000


async def test_a_rollback_cancels_what_goes_on_and_adopts_what_was_done(url: str) -> None:
    happened: list[int] = []

    @task
    async def act(number: int, ctx: Context) -> int:
        await ctx.effect("act", happened.append, number)
        if number > 5:
            await ctx.ask("go on?")
        return number

    acting = Pipeline("acting", [act])

    @task
    async def first(number: int, ctx: Context) -> int:
        return int(await ctx.run(acting, number))

    @task
    async def second(first: int, ctx: Context) -> int:
        return int(await ctx.run(acting, first + 5))

    definition = Pipeline("parent", [first, second], [(first, second)], children=[acting])
    async with Runtime(url) as runtime:
        await runtime.run(definition, 1, id="p")
        one, other = await children_of(runtime, "p")
        await runtime.rollback("p", "first")
        await until(runtime, other.id, CANCELLED)
        [back] = [event async for event in runtime.events("p") if event.type == "run.rolled_back"]
        assert back.data["children_cancelled"] == [other.id]
        assert back.data["children_standing"] == [one.id]
        await runtime.resume("p")
        asked = (await runtime.wait("p")).waiting
        assert happened == [1, 6]
        await runtime.answer(asked[0], "yes")
        assert (await runtime.wait("p")).output == 6
        assert happened == [1, 6]


@pytest.mark.parametrize("follow", [True, False])
async def test_one_stream_of_events_with_a_path_on_each(url: str, *, follow: bool) -> None:
    async def inner(ctx: Context, number: int) -> Any:
        return await ctx.run(DOUBLE, number, name="two")

    middle = parent(inner, name="middle")

    async def outer(ctx: Context, number: int) -> Any:
        return await ctx.run(middle, number)

    async with Runtime(url) as runtime:
        await runtime.start(parent(outer, middle), 1, id="p")
        if not follow:
            await runtime.wait("p")
        told = [event async for event in runtime.events("p", follow=follow, children=True)]
        paths = list(dict.fromkeys(event.path for event in told if event.seq))
        assert paths == ["", "work#1/middle", "work#1/middle/work#1/two"]
        assert [event.path for event in told if event.type == "run.completed"] == paths[::-1]
